"""Numbers that know how well they are known: a value with its standard error, and the one way to print it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from functools import cache
from numbers import Real
from typing import Any

import numpy
import xarray
from numpy.typing import ArrayLike
from scipy.stats import binom, binomtest, norm, t

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_count, check_filled, check_integer, check_limit, check_number

# How many standard errors away from a limit a value must lie for it to be on one side of it, where the error itself is
# known; from few repetitions it is not, and `margin` asks for more.
RESOLVED = 2.0
# A number without a standard error is printed to this part of the decade of its scale.
ROUNDING = 1e-3
# A spread below this part of the mean is rounding: the values are equal.
ROUNDING_ERROR = 1e-12
# Below it a number is printed with an exponent.
SMALLEST_PLAIN = 1e-5
# Of larger values a spread leaves the numbers.
LARGEST_VALUE = 1e150


@dataclass(frozen=True, repr=False)
class Measurement:
    """A value and how well it is known.

    - `standard_error` > 0: sampled, over repetitions or over tasks. Printed to two digits of it: `0.0161 ± 0.0077`.
    - `scale` > 0: trained, fitted or drawn, but without an error; known on the scale of what it is read against (of a
      difference of losses the loss, of a ratio 1). Printed to a thousandth of the scale's decade: `≈ 0.316`.
    - neither: a closed form or a parameter, printed to four significant digits.

    `freedom` is the number of degrees of freedom of the standard error: one less than the repetitions it is taken from,
    infinite where it comes from so many samples that it is as good as known.

    The text decides how closely another run must agree: within a tenth of the error, or 1 in the last digit.
    Raises `ValueError` for a value that is not finite, a negative error or scale, both of them, and a freedom below 1.
    """

    value: float
    standard_error: float = 0.0
    scale: float = 0.0
    freedom: float = math.inf

    def __post_init__(self) -> None:
        for name in ("value", "standard_error", "scale"):
            object.__setattr__(self, name, number_of(getattr(self, name)))
        check_number("value", self.value)
        check_number("standard_error", self.standard_error, minimum=0)
        check_number("scale", self.scale, minimum=0)
        if self.standard_error and self.scale:
            raise ValueError(f"scale must be 0 beside a standard error ({self.standard_error:g}), got {self.scale:g}")
        check_limit("freedom", self.freedom)
        if not self.freedom >= 1:
            raise ValueError(f"freedom must be at least 1 degree of freedom, got {self.freedom}")

    @property
    def is_exact(self) -> bool:
        """Whether the value is known as it stands."""
        return not (self.standard_error or self.scale)

    def margin(self, limit: float = RESOLVED) -> float:
        """How far off a value must lie to be told from this one, as surely as at `limit` known standard errors.

        With few degrees of freedom it is more of them, by Student's t: 2.3 for ten repetitions instead of 2.
        """
        return _quantile(limit, self.freedom) * self.standard_error

    def __repr__(self) -> str:
        if self.is_exact:
            return f"{self.value:.4g}"
        unit = (
            _decade(float(f"{self.standard_error:.1e}")) - 1 if self.standard_error else _decade(ROUNDING * self.scale)
        )
        exponent = _exponent(max(abs(self.value), self.standard_error), unit)
        value = _rounded(self.value, unit, exponent)
        return f"{value} ± {_rounded(self.standard_error, unit, exponent)}" if self.standard_error else f"≈ {value}"

    def __format__(self, spec: str) -> str:
        """The printed form, padded; it has no other number of digits."""
        return format(str(self), spec)

    def __float__(self) -> float:
        return self.value

    # By value, so that a column has a largest and a least one; whether they are apart is another question: `within`.
    def __lt__(self, other: "Measurement") -> bool:
        return self.value < other.value

    def __le__(self, other: "Measurement") -> bool:
        return self.value <= other.value

    def __gt__(self, other: "Measurement") -> bool:
        return self.value > other.value

    def __ge__(self, other: "Measurement") -> bool:
        return self.value >= other.value

    def __neg__(self) -> "Measurement":
        return replace(self, value=-self.value)

    def times(self, factor: float) -> "Measurement":
        """The same in another unit."""
        errors = {"standard_error": abs(factor) * self.standard_error, "scale": abs(factor) * self.scale}
        return replace(self, value=factor * self.value, **errors)

    def minus(self, other: "Measurement") -> "Measurement":
        """The difference from an independent one; degrees of freedom by Welch and Satterthwaite."""
        value, error = self.value - other.value, math.hypot(self.standard_error, other.standard_error)
        shares = sum((one.standard_error / error) ** 4 / one.freedom for one in (self, other)) if error else 0.0
        return Measurement(value, error, freedom=1 / shares if shares else math.inf)


def _check_scale(scale: float | None) -> None:
    if scale is not None:
        check_number("scale", scale, minimum=0)


@checked()
def rounded(value: float, scale: float | None = None) -> Measurement:
    """A trained, fitted or drawn number without an error, read against `scale` (its own size if not given)."""
    value, scale = number_of(value), None if scale is None else number_of(scale)
    check_number("value", value)
    _check_scale(scale)
    return Measurement(float(value), scale=abs(float(value)) if scale is None else float(scale))


@cache
def _quantile(limit: float, freedom: float) -> float:
    """Student's t with as much beyond it as a normal has beyond `limit`."""
    return limit if math.isinf(freedom) else float(t.isf(norm.sf(limit), freedom))


def number_of(value: Any) -> Any:
    """What an array of no dimension holds, of whatever library; all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def finite_array(values: ArrayLike) -> numpy.ndarray:
    """All values in a row; raises unless there is one and all are finite numbers."""
    try:
        array = numpy.asarray(values)
    except ValueError:
        raise ValueError("values must be numbers in an array, got rows of unequal length") from None
    odd = isinstance(values, list | tuple) and not all(
        isinstance(v, Real | list | tuple | numpy.ndarray) for v in values
    )
    if array.dtype.kind not in "bfiu" or odd or (isinstance(values, list) and any(isinstance(v, bool) for v in values)):
        raise TypeError(f"values must be numbers, got an array of {array.dtype}")
    if not array.ndim and isinstance(values, int | float) and not isinstance(values, numpy.number):
        raise TypeError(f"values must be numbers in an array, got {values!r}")
    if not array.size or not numpy.isfinite(array).all():
        raise ValueError(f"values must hold at least one number, all finite, got shape {array.shape}")
    numbers = array.astype(float).ravel()
    if not numpy.abs(numbers).max() <= LARGEST_VALUE:
        raise ValueError(f"values must be at most {LARGEST_VALUE:g} in size, got {numpy.abs(numbers).max():g}")
    return numbers


@checked()
def over_repetitions(values: ArrayLike, scale: float | None = None) -> Measurement:
    """Mean over repetitions and its standard error; a single one has none and is read against `scale`, as `rounded`.

    `values` (repetition,). Equal ones have no error either and are read against their own size.
    """
    array = finite_array(values)
    _check_scale(scale)
    if array.size < 2:
        return rounded(float(array.mean()), scale)
    if array.std() <= ROUNDING_ERROR * abs(array.mean()):
        return rounded(float(array.mean()))
    error = float(array.std(ddof=1)) / math.sqrt(array.size)
    return Measurement(float(array.mean()), error, freedom=array.size - 1)


@checked()
def median(values: ArrayLike, scale: float | None = None) -> Measurement:
    """Median and its standard error, from two order statistics around it (Price and Bonett, 2001).

    A few values far out move neither. `values` (sample,); equal ones, or a single one, are read against `scale`.
    """
    array = numpy.sort(finite_array(values))
    _check_scale(scale)
    middle, size = float(numpy.median(array)), array.size
    rank = max(1, round((size + 1) / 2 - math.sqrt(size)))
    apart = float(array[size - rank] - array[rank - 1])
    if apart <= ROUNDING_ERROR * abs(middle):
        return rounded(middle, scale)
    # Between the two lies the true median with the probability 1 - 2 binom.cdf.
    error = apart / (2 * float(norm.isf(binom.cdf(rank - 1, size, 0.5))))
    return Measurement(middle, error, freedom=size - 1)


def over_runs(
    statistic: Callable[[xarray.Dataset], Mapping[str, float]], result: xarray.Dataset, along: str = "repetition"
) -> dict[str, Measurement]:
    """Any numbers that `statistic` takes from all repetitions together, each with its jackknife standard error.

    The jackknife leaves out one entry of `along` at a time (Efron and Stein, 1981). With a single entry the numbers
    have no error and are read against their own size.
    """
    whole = statistic(result)
    size = result.sizes[along]
    if size < 2:
        return {name: rounded(value) for name, value in whole.items()}
    others = [statistic(result.isel({along: [k for k in range(size) if k != left_out]})) for left_out in range(size)]
    return {name: _jackknifed(value, [other[name] for other in others]) for name, value in whole.items()}


def _jackknifed(value: float, without_one: list[float]) -> Measurement:
    left = numpy.asarray(without_one, dtype=float)
    error = math.sqrt((left.size - 1) / left.size * float(((left - left.mean()) ** 2).sum()))
    return Measurement(value, error, freedom=left.size - 1) if error > ROUNDING_ERROR * abs(value) else rounded(value)


@checked()
def least(cases: Mapping[str, Measurement]) -> tuple[str, Measurement]:
    """The case with the smallest value, by name."""
    check_filled("cases", cases)
    return min(cases.items(), key=lambda case: case[1].value)


@checked()
def largest(cases: Mapping[str, Measurement]) -> tuple[str, Measurement]:
    """The case with the largest value, by name."""
    check_filled("cases", cases)
    return max(cases.items(), key=lambda case: case[1].value)


@checked(result="any")
def within(measured: Measurement, low: float, high: float) -> bool | None:
    """Whether the value lies in [low, high]; None, not resolved, where a limit is within the value's `margin`."""
    check_limit("low", low)
    check_limit("high", high)
    margin = measured.margin()
    if low <= measured.value - margin and measured.value + margin <= high:
        return True
    return False if measured.value + margin < low or measured.value - margin > high else None


@checked()
def not_resolved_from(cases: Mapping[str, Measurement], chosen: str) -> list[str]:
    """The other cases whose difference from the one called `chosen` lies within its `margin`."""
    check_choice("chosen", chosen, cases)
    apart = {name: other.minus(cases[chosen]) for name, other in cases.items() if name != chosen}
    return [name for name, difference in apart.items() if abs(difference.value) <= difference.margin()]


@checked()
def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: all p with |successes/trials − p| ≤ z √(p(1 − p)/trials).

    Its length is not 0 where the share seen is 0 or 1.
    """
    check_count("trials", trials)
    check_integer("successes", successes, 0, trials)
    check_number("level", level, above=0, maximum=0.9999)
    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def _decade(size: float) -> int:
    """The exponent of the leading digit."""
    return math.floor(math.log10(size)) if size else 0


def _exponent(size: float, unit: int) -> int:
    """The power of ten with which a small number is printed, 0 for none: value and error have the same one."""
    return _decade(max(size, 10.0 ** (unit + 1))) if size < SMALLEST_PLAIN and unit < _decade(SMALLEST_PLAIN) - 2 else 0


def _rounded(value: float, unit: int, exponent: int) -> str:
    """`value` to 10**unit; never `-0.0`."""
    # As many digits as lie between the largest float and the least.
    with localcontext(prec=700):
        number = round(Decimal(repr(value)).scaleb(-exponent), exponent - unit)
    text = f"{number:f}" if unit < exponent else f"{number:.0f}"
    return (text.lstrip("-") if not number else text) + (f"e{exponent:+03d}" if exponent else "")

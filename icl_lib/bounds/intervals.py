"""A second proof of the range of λ(B), by other means: boxes and float64 intervals rounded outward.

The polynomials are those of `certificate.py`. A box is a product of intervals for (p, t, τ), its corners dyadic
and therefore exact. On it a polynomial is bounded monomial by monomial, twice: in (p, t, τ), and in the barycentric
coordinates (1 − p − t − τ, p, t, τ); the smaller bound counts. Every product and every sum is moved to the
next number up where it must not be too small, to the next one down where it must not be too large. So what is
proved does not rest on a margin for rounding.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import factorial

import numpy
from numpy.typing import NDArray

from icl_lib.bounds.certificate import Polynomial
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_integer

Array = NDArray[numpy.float64]

#: Coefficient of each monomial in any number of variables.
Terms = Mapping[tuple[int, ...], int]

DEGREE = 4

#: After so many halvings corners are multiples of 2⁻⁵¹, so that sums of three of them are still exact.
HALVINGS = 51


@dataclass(frozen=True)
class Outcome:
    """Whether polynomial ≤ limit on the whole simplex, and how many boxes were bounded to see it."""

    proved: bool
    boxes: int


@checked()
def prove(polynomial: Polynomial, limit: Fraction, most: int = 20_000_000) -> Outcome:
    """Whether polynomial ≤ limit on the simplex p, t, τ ≥ 0, p + t + τ ≤ 1, by halving boxes.

    `proved=False` only says that `most` boxes, or 51 halvings, are not enough. See `thm-curvature`.
    """
    check_integer("most", most, 1)
    plain = in_three_variables(polynomial)
    if not plain:
        raise ValueError("polynomial must have a coefficient that is not 0, got none")
    barycentric: Terms = {exponents: k for exponents, k in polynomial.items() if k}
    # A float just below the limit, so that what is compared is never too generous.
    below = numpy.nextafter(float(limit), -numpy.inf)
    occurring = numpy.array(list(plain)).max(0) > 0
    low, high, boxes = numpy.zeros((3, 1)), numpy.ones((3, 1)), 0
    for _ in range(HALVINGS + 1):
        boxes += low.shape[1]
        if boxes > most:
            break
        rest = numpy.stack([(1 - high.sum(0)).clip(0), 1 - low.sum(0)])
        above = numpy.minimum(
            upper_bound(plain, low, high),
            upper_bound(barycentric, numpy.vstack([rest[:1], low]), numpy.vstack([rest[1:], high])),
        )
        open_ = above > below
        if not open_.any():
            return Outcome(True, boxes)
        low, high = _halve(low[:, open_], high[:, open_], occurring)
    return Outcome(False, boxes)


@checked()
def in_three_variables(polynomial: Polynomial) -> Terms:
    """The polynomial in (p, t, τ) alone, 1 − p − t − τ multiplied out; the coefficients stay integers."""
    total: Counter[tuple[int, ...]] = Counter()
    for (rest, *exponents), coefficient in polynomial.items():
        for powers in numpy.ndindex(rest + 1, rest + 1, rest + 1):
            one = rest - sum(powers)
            if one >= 0:
                count = factorial(rest) // factorial(one)
                for k in powers:
                    count //= factorial(k)
                key = tuple(e + k for e, k in zip(exponents, powers, strict=True))
                total[key] += (-1) ** sum(powers) * count * coefficient
    return {key: coefficient for key, coefficient in total.items() if coefficient}


@checked()
def upper_bound(terms: Terms, low: Array, high: Array) -> Array:
    """At least the maximum of Σ k Π v_i^e_i over 0 ≤ low ≤ v ≤ high, for boxes (variables, boxes), shape (boxes).

    Rounded outward: a term with k > 0 is taken at the upper corner and rounded up, one with k < 0 at the lower
    corner, its size rounded down.
    """
    tops, bottoms = _powers(high, _up), _powers(low, _down)
    total = numpy.zeros(low.shape[1])
    for exponents, coefficient in terms.items():
        powers, rounded = (tops, _up) if coefficient > 0 else (bottoms, _down)
        size = numpy.full(low.shape[1], float(abs(coefficient)))
        for i, e in enumerate(exponents):
            if e:
                size = rounded(size * powers[i][e])
        total = _up(total + size if coefficient > 0 else total - size)
    return total


def _powers(values: Array, rounded: Callable[[Array], Array]) -> list[list[Array]]:
    """values_i^e for e = 0 … 4, each product rounded by `rounded`."""
    table = []
    for value in values:
        row = [numpy.ones_like(value), value]
        while len(row) <= DEGREE:
            row.append(rounded(row[-1] * value))
        table.append(row)
    return table


def _up(value: Array) -> Array:
    return numpy.nextafter(value, numpy.inf)


def _down(value: Array) -> Array:
    """The next number down, but not below 0: the sizes rounded here are not negative."""
    return numpy.nextafter(value, -numpy.inf).clip(0)


def _halve(low: Array, high: Array, occurring: NDArray[numpy.bool_]) -> tuple[Array, Array]:
    """Both halves of each box across its widest side, cut to the box around their part of the simplex.

    A variable that the polynomial does not contain is left alone.
    """
    which, widest = numpy.arange(low.shape[1]), ((high - low) * occurring[:, None]).argmax(0)
    middle = 0.5 * (low[widest, which] + high[widest, which])
    left, right = high.copy(), low.copy()
    left[widest, which], right[widest, which] = middle, middle
    low, high = numpy.hstack([low, right]), numpy.hstack([left, high])
    inside = low.sum(0) <= 1
    low, high = low[:, inside], high[:, inside]
    return low, numpy.minimum(high, low + (1 - low.sum(0)))

"""When two printed texts agree: words exactly, numbers as closely as they are printed.

- Integers agree when they are equal, and so do all words.
- Numbers with a decimal point or an exponent agree within a relative tolerance.
- Rounded numbers also agree when they differ by 1 in the last printed digit, if that digit is worth little: both show
  the same number of decimals, and at least three of them or three significant digits; or, where trailing zeros are left
  out, the longer shows at least three decimals or four significant digits. `0.5` and `0.4` never agree.
- Runs of blanks and of dashes count as one: they follow the width of a column.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

DEFAULT_RTOL = 1e-6
TAG = re.compile(r"rtol-(\d+(?:\.\d+)?(?:e-?\d+)?)")
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.\d+|\.\d+|\d+\.(?=[\s,\])]|$)|\d+)(?:[eE][-+]?\d+)?(?!\w)(?!\.\d)")
FILLER = re.compile(r"[ \t]+|-{3,}")


@dataclass(frozen=True)
class Number:
    """A number as it was printed."""

    text: str
    value: Decimal
    is_integer: bool
    decimals: int
    significant: int
    unit: Decimal

    @classmethod
    def read(cls, text: str) -> "Number":
        """Read a token that `NUMBER` matches."""
        plain = text.replace("−", "-").lower()
        mantissa, _, exponent = plain.partition("e")
        whole, _, fraction = mantissa.partition(".")
        digits = (whole.lstrip("+-") + fraction).lstrip("0")
        unit = Decimal(1).scaleb(int(exponent or 0) - len(fraction))
        return cls(text, Decimal(plain), "." not in plain and "e" not in plain, len(fraction), len(digits), unit)


def rtol_of(tags: list[str]) -> float:
    """The relative tolerance that a cell asks for by a tag such as `rtol-1e-4`."""
    found = [match[1] for tag in tags if (match := TAG.fullmatch(tag))]
    return max((float(value) for value in found), default=DEFAULT_RTOL)


def numbers_agree(expected: str, got: str, rtol: float) -> bool:
    """Whether two printed numbers agree."""
    a, b = Number.read(expected), Number.read(got)
    if a.is_integer or b.is_integer:
        return a.is_integer and b.is_integer and a.value == b.value
    difference = abs(a.value - b.value)
    return difference <= Decimal(repr(rtol)) * abs(a.value) or difference <= _last_digit(a, b)


def _last_digit(a: Number, b: Number) -> Decimal:
    """What 1 in the last printed digit is worth, 0 where that would hide a real difference."""
    if a.decimals == b.decimals and a.decimals > 0:
        shown = max(a.decimals, a.significant, b.significant)
        return max(a.unit, b.unit) if shown >= 3 else Decimal(0)
    longer = a if a.decimals > b.decimals else b
    return longer.unit if longer.decimals >= 3 or longer.significant >= 4 else Decimal(0)


def agree(expected: str, got: str, rtol: float = DEFAULT_RTOL) -> bool:
    """Whether two texts agree."""
    if expected == got:
        return True
    if _words(expected) != _words(got):
        return False
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(got), strict=True)
    return all(one == other or numbers_agree(one, other, rtol) for one, other in pairs)


def _words(text: str) -> list[str]:
    """What stands between the numbers."""
    return [FILLER.sub(lambda match: match[0][0], part).strip(" ") for part in NUMBER.split(text)]


def first_difference(expected: str, got: str, rtol: float = DEFAULT_RTOL) -> tuple[str, str]:
    """The first pair of lines that do not agree."""
    ours, theirs = expected.splitlines(), got.splitlines()
    for index in range(max(len(ours), len(theirs))):
        a = ours[index] if index < len(ours) else "(nothing)"
        b = theirs[index] if index < len(theirs) else "(nothing)"
        if not agree(a, b, rtol):
            return a, b
    return expected, got

"""When two printed texts agree: words exactly, numbers as closely as they are known.

- Integers agree when they are equal, and so do all words.
- `0.0161 ± 0.0077`, a value with its standard error: within a tenth of the reference's error, or 1 in the last printed
  digit. The errors agree within a tenth of themselves, or 1 in their last digit. In a cell tagged `amplifies`, where
  training multiplies rounding so that another processor gives another sample: within 3 combined standard errors.
- `≈ 0.316`, a number that was trained, fitted or drawn and has no error: 1 in the last printed digit.
- In a cell tagged `amplifies-singles`, which lists what single trainings came to, another sample has other numbers, and
  an error over test contexts does not tell by how much: they agree within a thousand of their last digit.
- Every other number with a decimal point or an exponent is a closed form and agrees to 1e-6; or it is rounded, and then
  1 in the last digit is allowed where at least three significant digits show, so that the digit is worth 1 % at most.
  `0.001` and `0.002` do not agree, nor do `0.5` and `0.4`.
- Runs of blanks and of dashes count as one: they follow the width of a column.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest

DEFAULT_RTOL = 1e-6
# The part of a standard error within which two runs must agree.
PART_OF_ERROR = Decimal("0.1")
COMBINED_ERRORS = 3
AMPLIFIES, SINGLES = "amplifies", "amplifies-singles"
TAG = re.compile(rf"rtol-(\d+(?:\.\d+)?(?:e-?\d+)?)|{AMPLIFIES}|{SINGLES}")
# A number is printed to this part of the decade of its scale.
DIGITS_OF_A_SCALE = 1000
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.\d+|\.\d+|\d+\.(?=[\s,\])]|$)|\d+)(?:[eE][-+]?\d+)?(?!\w)(?!\.\d)")
FILLER = re.compile(r"[ \t]+|-{3,}")
# Significant digits of a whole number that is known so far only.
DIGITS = {"error": 2, "rounded": 4}
PLUS_MINUS, ROUNDED = re.compile(r"\s*±\s*"), re.compile(r"≈\s*$")


@dataclass(frozen=True)
class Rule:
    """How the numbers of a cell are compared.

    With `by_digits` a number that was trained, fitted or drawn must show the same digits: that is for two runs on one
    machine, between which nothing but the code can differ.
    """

    rtol: float = DEFAULT_RTOL
    amplifies: bool = False
    by_digits: bool = False
    singles: bool = False

    @classmethod
    def of(cls, tags: list[str], *, by_digits: bool = False) -> "Rule":
        """The rule that a cell's tags ask for."""
        found = [float(match[1]) for tag in tags if (match := TAG.fullmatch(tag)) and match[1]]
        amplifies = AMPLIFIES in tags or SINGLES in tags
        return cls(max(found, default=DEFAULT_RTOL), amplifies, by_digits, SINGLES in tags)


EXACT = Rule()


@dataclass(frozen=True)
class Number:
    """A number as it was printed; `kind` is `value` or `error` of a pair, `rounded`, or `exact`."""

    text: str
    value: Decimal
    is_integer: bool
    decimals: int
    significant: int
    unit: Decimal
    kind: str = "exact"

    @classmethod
    def read(cls, text: str, kind: str = "exact") -> "Number":
        """Read a token that `NUMBER` matches."""
        plain = text.replace("−", "-").lower()
        mantissa, _, exponent = plain.partition("e")
        whole, _, fraction = mantissa.partition(".")
        digits = (whole.lstrip("+-") + fraction).lstrip("0")
        power = int(exponent or 0) - len(fraction)
        if kind in DIGITS and not fraction and not exponent:
            # `12300 ± 450` is rounded to tens.
            power = max(0, len(digits) - DIGITS[kind])
        is_integer = kind == "exact" and "." not in plain and "e" not in plain
        return cls(text, Decimal(plain), is_integer, len(fraction), len(digits), Decimal(1).scaleb(power), kind)


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a text, in order."""
    found = list(NUMBER.finditer(text))
    for index, match in enumerate(found):
        between = [
            text[found[k].end() : found[k + 1].start()] if 0 <= k < len(found) - 1 else "" for k in (index - 1, index)
        ]
        if PLUS_MINUS.fullmatch(between[0]):
            kind = "error"
        elif PLUS_MINUS.fullmatch(between[1]):
            kind = "value"
        else:
            kind = "rounded" if ROUNDED.search(text[: match.start()]) else "exact"
        yield Number.read(match[0], kind)


def bad_errors(text: str) -> list[str]:
    """What stands as the standard error of a number and is none: negative, or no number at all."""
    found = []
    for match in NUMBER.finditer(text):
        behind = PLUS_MINUS.match(text, match.end())
        if behind is None:
            continue
        error = NUMBER.match(text, behind.end())
        if error is None or error[0].startswith(("-", "−")):
            token = text[behind.end() :].split(maxsplit=1)
            found.append(f"{match[0]} ± {token[0] if token else ''}".rstrip())
    return found


def _exact_agree(a: Number, b: Number, rtol: float) -> bool:
    if a.is_integer or b.is_integer:
        return a.is_integer and b.is_integer and a.value == b.value
    difference = abs(a.value - b.value)
    return difference <= Decimal(repr(rtol)) * abs(a.value) or difference <= _last_digit(a, b)


def _last_digit(a: Number, b: Number) -> Decimal:
    """What 1 in the last printed digit is worth, 0 where that would hide a real difference."""
    if a.decimals == b.decimals and a.decimals > 0:
        return max(a.unit, b.unit) if max(a.significant, b.significant) >= 3 else Decimal(0)
    # Trailing zeros left out: the longer one tells how far both were rounded.
    longer = a if a.decimals > b.decimals else b
    return longer.unit if longer.significant >= (3 if longer.decimals >= 3 else 4) else Decimal(0)


def _pair_agrees(ours: tuple[Number, Number], theirs: tuple[Number, Number], rule: Rule) -> bool:
    """Whether two values with their standard errors agree."""
    (a, a_error), (b, b_error) = ours, theirs
    error_unit = max(a_error.unit, b_error.unit)
    unit = max(a.unit, b.unit, error_unit)
    if rule.amplifies:
        allowed = COMBINED_ERRORS * Decimal(repr(math.hypot(float(a_error.value), float(b_error.value))))
        return abs(a.value - b.value) <= max(allowed, unit)
    part = PART_OF_ERROR * a_error.value
    return abs(a.value - b.value) <= max(part, unit) and abs(a_error.value - b_error.value) <= max(part, error_unit)


def agree(expected: str, got: str, rule: Rule = EXACT) -> bool:
    """Whether two texts agree."""
    if expected == got:
        return True
    if _words(expected) != _words(got):
        return False
    ours, theirs = list(numbers(expected)), list(numbers(got))
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.text == b.text and a.kind == b.kind:
            same = True
        elif a.kind != b.kind or (rule.by_digits and a.kind != "exact"):
            same = False
        elif a.kind != "exact" and rule.singles:
            same = abs(a.value - b.value) <= DIGITS_OF_A_SCALE * max(a.unit, b.unit)
        elif a.kind == "rounded":
            same = abs(a.value - b.value) <= max(a.unit, b.unit)
        elif a.kind == "exact":
            same = _exact_agree(a, b, rule.rtol)
        else:
            first = index - (a.kind == "error")
            same = _pair_agrees((ours[first], ours[first + 1]), (theirs[first], theirs[first + 1]), rule)
        if not same:
            return False
    return True


def _words(text: str) -> list[str]:
    """What stands between the numbers."""
    return [FILLER.sub(lambda match: match[0][0], part).strip(" ") for part in NUMBER.split(text)]


def differing_lines(expected: str, got: str, rule: Rule = EXACT) -> list[tuple[str, str]]:
    """The pairs of lines that do not agree; the whole texts where only together they do not."""
    ours, theirs = expected.splitlines(), got.splitlines()
    pairs = list(zip_longest(ours, theirs, fillvalue="(nothing)"))
    return [(a, b) for a, b in pairs if not agree(a, b, rule)] or [(expected, got)]

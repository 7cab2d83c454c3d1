"""Which printed texts agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.tolerance import agree, first_difference, rtol_of

SAME = [
    ("slope 0.16666666666666666", "slope 0.16666668333333333"),  # 1e-7 relative
    ("loss 0.123", "loss 0.124"),
    ("loss 0.0120", "loss 0.0121"),
    ("0.001", "0.002"),  # the price of the last digit: three decimals of a small number say little
    ("scale 1.00", "scale 0.99 "),
    ("9.999e-06", "1.000e-05"),
    ("0.1239", "0.124"),  # trailing zeros left out
    ("0.209", "0.21"),
    ("-0.000", "0.000"),
    ("− 1.250", "− 1.251"),
    ("| a |  9.999 |", "| a | 10.000 |"),
    ("|:-----|-----:|", "|:------|----:|"),
    ("array([1.00000000e+00, 2.])", "array([1.00000001e+00, 2.])"),
    ("nan", "nan"),
]
DIFFERENT = [
    ("slope 0.16666666666666666", "slope 0.16668333333333334"),  # 1e-4 relative
    ("loss 0.123", "loss 0.125"),
    ("loss 0.1230", "loss 0.1232"),
    ("rate 0.5", "rate 0.4"),
    ("rate 1.0", "rate 1.01"),
    ("0.209", "0.212"),
    ("0.21", "0.2"),
    ("n = 20", "n = 21"),
    ("n = 20", "n = 20.0"),
    ("repetitions 10", "repetitions"),
    ("holds", "fails"),
    ("holds 0.1234", "fails 0.1234"),
    ("0.1234", "-0.1234"),
    ("0.1234", "nan"),
    ("0.1234 0.5678", "0.1234"),
    ("version 1.2.3", "version 1.2.4"),
    ("float64", "float32"),
    ("True", "False"),
]


@pytest.mark.parametrize(("expected", "got"), SAME)
def test_agreeing(expected: str, got: str) -> None:
    assert agree(expected, got)


@pytest.mark.parametrize(("expected", "got"), DIFFERENT)
def test_not_agreeing(expected: str, got: str) -> None:
    assert not agree(expected, got)


@given(st.floats(min_value=1e-12, max_value=1e12), st.booleans())
def test_full_precision_has_a_relative_tolerance(value: float, up: bool) -> None:
    sign = 1 if up else -1
    assert agree(repr(value), repr(value * (1 + sign * 9e-7))) or "." not in repr(value)
    text = f"{value:.15e}"
    assert agree(text, f"{value * (1 + sign * 9e-7):.15e}")
    assert not agree(text, f"{value * (1 + sign * 2e-6):.15e}")


@given(st.floats(min_value=1.0, max_value=999.0))
def test_one_per_cent_is_seen_in_four_digits(value: float) -> None:
    assert not agree(f"{value:.3f}", f"{value * 1.01:.3f}")


@pytest.mark.parametrize(
    ("tags", "rtol"),
    [([], 1e-6), (["hide-input"], 1e-6), (["rtol-1e-4"], 1e-4), (["rtol-0.01", "x"], 0.01), (["rtol-"], 1e-6)],
)
def test_a_tag_widens_the_tolerance(tags: list[str], rtol: float) -> None:
    assert rtol_of(tags) == rtol


def test_a_wider_tolerance_is_used() -> None:
    assert agree("0.16666666666666666", "0.16667500000000000", rtol=1e-4)
    assert not agree("20", "21", rtol=0.5)


def test_the_first_difference_is_a_pair_of_lines() -> None:
    assert first_difference("a 1\nb 2\nc 3", "a 1\nb 4\nc 5") == ("b 2", "b 4")
    assert first_difference("a\nb", "a") == ("b", "(nothing)")

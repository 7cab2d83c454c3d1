"""Which printed texts agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.statistics import Measurement, rounded
from tools.tolerance import Rule, agree, bad_errors, differing_lines

SAME = [
    ("slope 0.16666666666666666", "slope 0.16666668333333333"),  # 1e-7 relative
    ("loss 0.123", "loss 0.124"),
    ("loss 0.0120", "loss 0.0121"),
    ("0.0161 ± 0.0077", "0.0168 ± 0.0070"),  # a tenth of the error
    ("0.0161 ± 0.0010", "0.0162 ± 0.0010"),  # the last digit
    ("12340 ± 680", "12400 ± 690"),
    ("12300 ± 400", "12340 ± 398"),
    ("1.200e-07 ± 3.0e-09", "1.203e-07 ± 3.0e-09"),
    ("-0.00114 ± 0.0010", "-0.001137 ± 0.00099"),  # an error that crosses a power of ten
    ("rel ≈ 0.001", "rel ≈ 0.002"),
    ("a ≈ 3.214, b 2", "a ≈ 3.215, b 2"),
    ("≈ 316200", "≈ 316300"),
    ("scale 1.00", "scale 0.99 "),
    ("9.999e-06", "1.000e-05"),
    ("0.1239", "0.124"),  # trailing zeros left out
    ("0.209", "0.21"),
    ("-0.000", "0.000"),
    ("0.00123", "0.00124"),
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
    ("0.001", "0.002"),
    ("0.000", "0.001"),
    ("0.0161 ± 0.0077", "0.0170 ± 0.0077"),
    ("0.0161 ± 0.0077", "0.0161 ± 0.0086"),
    ("0.0161 ± 0.0077", "0.0161 0.0077"),
    ("0.0161 ± 0.0077", "≈ 0.0161, 0.0077"),
    ("a ≈ 3.214", "a ≈ 3.216"),
    ("a ≈ 3.214", "a 3.214"),
    ("12300 ± 400", "12400 ± 400"),
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


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 10), st.floats(-0.04, 0.04))
def test_a_twentieth_of_the_error_is_allowed_and_a_quarter_is_not(value: float, error: float, moved: float) -> None:
    text = str(Measurement(value, error))
    assert agree(text, str(Measurement(value + moved * error, error)))
    assert not agree(text, str(Measurement(value + 0.25 * error, error)))


@given(st.floats(1e-3, 1e3), st.sampled_from([-1, 1]))
def test_what_has_no_error_moves_by_a_thousandth_and_not_by_a_hundredth(size: float, sign: int) -> None:
    value = sign * size
    assert agree(str(rounded(value)), str(rounded(value * (1 + 1e-5))))
    assert not agree(str(rounded(value, 10.0)), str(rounded(value + 0.1, 10.0)))


def test_where_training_amplifies_rounding_samples_are_compared() -> None:
    rule = Rule.of(["amplifies"])
    assert agree("0.50 ± 0.10", "0.85 ± 0.07", rule)
    assert not agree("0.50 ± 0.10", "0.95 ± 0.07", rule)
    assert not agree("a ≈ 0.500", "a ≈ 0.510", rule)
    assert not agree("yes 0.50 ± 0.10", "no 0.50 ± 0.10", rule)


def test_single_trainings_are_compared_within_their_scale() -> None:
    rule = Rule.of(["amplifies-singles"])
    assert agree("0.50 ± 0.10, ≈ -2.30", "0.85 ± 0.07, ≈ 2.47", rule)
    assert not agree("≈ -2.30", "≈ 9.00", rule)
    assert not agree("cosine ≈ 0.999", "cosine ≈ -0.111", rule)
    assert not agree("yes ≈ 2.30", "no ≈ 2.30", rule)
    assert agree("0.136 ± 0.015", "0.0024 ± 0.0057", rule)
    assert not agree("0.136 ± 0.015", "1.200 ± 0.015", rule)
    assert not agree("7 of 10, 0.5", "6 of 10, 0.5", rule)


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ([], Rule()),
        (["hide-input"], Rule()),
        (["rtol-1e-4"], Rule(1e-4)),
        (["rtol-0.01", "x"], Rule(0.01)),
        (["rtol-"], Rule()),
        (["amplifies"], Rule(amplifies=True)),
        (["amplifies-singles"], Rule(amplifies=True, singles=True)),
    ],
)
def test_a_tag_changes_the_rule(tags: list[str], rule: Rule) -> None:
    assert Rule.of(tags) == rule


def test_on_one_machine_the_digits_of_measured_numbers_are_compared() -> None:
    rule = Rule.of([], by_digits=True)
    assert agree("0.50 ± 0.10 at ≈ 0.300, 0.16666666666666666", "0.50 ± 0.10 at ≈ 0.300, 0.16666668333333333", rule)
    for other in ("0.51 ± 0.10", "0.50 ± 0.11"):
        assert agree("0.50 ± 0.10", other)
        assert not agree("0.50 ± 0.10", other, rule)
    assert not agree("≈ 0.300", "≈ 0.301", rule)


def test_a_wider_tolerance_is_used() -> None:
    assert agree("0.16666666666666666", "0.16667500000000000", Rule(1e-4))
    assert not agree("20", "21", Rule(0.5))


def test_differences_are_pairs_of_lines() -> None:
    assert differing_lines("a 1\nb 2\nc 3", "a 1\nb 4\nc 5") == [("b 2", "b 4"), ("c 3", "c 5")]
    assert differing_lines("a\nb", "a") == [("b", "(nothing)")]


def test_a_standard_error_is_a_number_that_is_not_negative() -> None:
    assert bad_errors("| 0.5 ± 0.1 | 1 ± 0 | mean ± 1 standard deviation | ± SE | 1e-3 ± 2e-4 |") == []
    assert bad_errors("0.5 ± -0.1, 0.5 ± nan, 3 ±") == ["0.5 ± -0.1,", "0.5 ± nan,", "3 ±"]

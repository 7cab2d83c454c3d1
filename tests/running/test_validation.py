import math
from typing import Any

import pytest
import torch

from icl_lib.running.validation import check_choice, check_integer, check_last_dimensions, check_number


@pytest.mark.parametrize(("value", "maximum"), [(1, None), (7, None), (7, 7)])
def test_integer_in_range_passes(value: int, maximum: int | None) -> None:
    check_integer("n", value, 1, maximum)


@pytest.mark.parametrize("value", [1.0, "1", None, True])
def test_integer_of_another_type_is_named(value: object) -> None:
    with pytest.raises(TypeError, match=rf"n must be an integer >= 1, got {value!r} of type {type(value).__name__}"):
        check_integer("n", value, 1)


def test_integer_out_of_range_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        check_integer("n", 0, 1)
    with pytest.raises(ValueError, match=r"paper must be an integer in \[1, 2\], got 3"):
        check_integer("paper", 3, 1, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match=f"rate must be a finite number, got {value}"):
        check_number("rate", value)


@pytest.mark.parametrize("value", ["1", None, True, 1j])
def test_number_of_another_type_is_named(value: object) -> None:
    with pytest.raises(TypeError, match=f"of type {type(value).__name__}"):
        check_number("rate", value)


def test_number_limits_are_open_above_and_closed_at_minimum_and_maximum() -> None:
    check_number("rate", 0, minimum=0, maximum=1)
    check_number("rate", 1.0, minimum=0, maximum=1)
    with pytest.raises(ValueError, match="rate must be a finite number > 0, got 0"):
        check_number("rate", 0, above=0)
    with pytest.raises(ValueError, match=r"rate must be a finite number >= 0 and <= 1, got 1\.5"):
        check_number("rate", 1.5, minimum=0, maximum=1)


def test_choice_lists_what_is_allowed() -> None:
    check_choice("kind", "linear", ("linear", "softmax"))
    with pytest.raises(ValueError, match="kind must be one of 'linear', 'softmax', got 'cubic'"):
        check_choice("kind", "cubic", ("linear", "softmax"))


def test_last_dimensions_fit_or_are_named() -> None:
    A = torch.zeros(2, 3, 4)
    check_last_dimensions("A", A, n=3, d=4)
    check_last_dimensions("A", A, d=None)
    with pytest.raises(ValueError, match=r"A must have shape \(\.\.\., n, d=5\) with sizes >= 1, got \(2, 3, 4\)"):
        check_last_dimensions("A", A, n=None, d=5)
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        check_last_dimensions("A", torch.zeros(3), n=None, d=None)
    with pytest.raises(ValueError, match=r"sizes >= 1, got \(0, 4\)"):
        check_last_dimensions("A", torch.zeros(0, 4), n=None, d=None)
    rows: Any = [[1.0]]
    with pytest.raises(TypeError, match=r"A must be a tensor of shape .*, got list"):
        check_last_dimensions("A", rows, n=None, d=None)

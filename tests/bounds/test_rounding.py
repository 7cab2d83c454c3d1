"""What rounding is allowed where two sides are compared, and that a fault beyond it shows in both dtypes."""

import math

import pytest
import torch

from icl_lib.bounds import statements
from icl_lib.bounds.inequality import Inequality, Setting, Side, rounding
from tests import bound_settings

DTYPES = (torch.float32, torch.float64)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def setting(dtype: torch.dtype, R: float = 3.0) -> Setting:
    """Four settings of three words in two dimensions."""
    return bound_settings.make("gaussian", 3, 2, R, 0.5, 0, 4, dtype)


def statement(left: Side, right: Side, *, log: bool = False, magnitude: Side | None = None) -> Inequality:
    """An inequality of these two sides."""
    words = dict.fromkeys(("key", "statement", "bound", "constant", "label", "page"), "")
    return Inequality(**words, left=left, right=right, fails_at=0.5, log=log, magnitude=magnitude)


def constant(value: float) -> Side:
    """A side that is this number everywhere."""
    return lambda p: torch.full_like(p.R, value)


@dtypes
def test_rounding_is_what_it_is_said_to_be(dtype: torch.dtype) -> None:
    p = setting(dtype)
    expected = 8 * (3 + 2) * torch.finfo(dtype).eps * (1 + p.z.abs().max(-1).values)
    assert torch.equal(rounding(p), expected.to(dtype))
    assert len(set(rounding(p).tolist())) == 4


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("subtracted", [None, 3.0])
def test_left_may_exceed_right_by_rounding_and_not_by_more(log: bool, subtracted: float | None) -> None:
    p = setting(torch.float64)
    magnitude = None if subtracted is None else constant(subtracted)
    allowed = rounding(p) * ((1 if log else 7) + (subtracted or 0))

    def left(part: float) -> Side:
        return lambda p: 7 + part * allowed

    within, beyond = (statement(left(part), constant(7.0), log=log, magnitude=magnitude) for part in (0.9, 1.1))
    assert bool((within.excess(p) <= 0).all())
    assert bool((beyond.excess(p) > 0).all())


def test_a_left_side_of_nothing_holds() -> None:
    p = setting(torch.float64)
    assert torch.equal(statement(constant(-math.inf), constant(-math.inf), log=True).excess(p), -torch.inf * p.R)
    assert torch.equal(statement(constant(-1.0), constant(2.0)).log_ratio(p), -torch.inf * p.R)
    torch.testing.assert_close(statement(constant(1.0), constant(2.0)).log_ratio(p), p.R * 0 - math.log(2))


@dtypes
@pytest.mark.parametrize("n", [2, 25])
def test_a_bound_two_hundredths_too_small_shows(n: int, dtype: torch.dtype) -> None:
    """Where it is attained, up to the largest radius at which a dtype is asked."""
    small = statements.by_key("normaliser-sharp").with_factor(0.98)
    for R in (0.02, 1.0, bound_settings.largest_radius(n, 2, dtype)):
        p = bound_settings.make("constant", n, 2, R, 0.5, 0, 8, dtype)
        assert bool((small.excess(p) > 0).any()), f"R = {R}"


@dtypes
def test_so_does_one_that_is_no_logarithm(dtype: torch.dtype) -> None:
    p = bound_settings.make("two words", 2, 2, 0.02, 0.5, 0, 8, dtype)
    assert bool((statements.by_key("shift-x").with_factor(0.98).excess(p) > 0).any())

"""Every inequality of the part on bounds, over lengths, dimensions, radii, extreme inputs and both dtypes."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from icl_lib.bounds import statements
from icl_lib.bounds.inequality import Inequality, rounding
from tests import bound_settings

DTYPES = (torch.float32, torch.float64)
theorems = pytest.mark.parametrize("inequality", statements.THEOREMS, ids=lambda q: q.key)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@theorems
@dtypes
@given(data=st.data())
@hypothesis_settings(max_examples=25)
def test_left_is_at_most_right(inequality: Inequality, dtype: torch.dtype, data: st.DataObject) -> None:
    setting = data.draw(bound_settings.settings(dtype, inequality.least_n))
    assert float(rounding(setting).max()) <= bound_settings.SLACK
    excess = inequality.excess(setting)
    assert excess.shape == setting.R.shape
    assert bool((excess <= 0).all()), f"{inequality.key}: left exceeds right by {excess.max():.3g}"


@theorems
@dtypes
def test_both_sides_keep_the_dtype_and_never_overflow(inequality: Inequality, dtype: torch.dtype) -> None:
    for kind, R in itertools.product(bound_settings.KINDS, (0.02, 100.0)):
        setting = bound_settings.make(kind, 5, 3, R, 0.5, 7, 8, dtype)
        assert float(setting.z.abs().max()) <= 1e4
        for side in (inequality.left(setting), inequality.right(setting)):
            assert side.dtype == dtype
            assert side.shape == setting.R.shape
            # The logarithm of 0 is −∞; no other value may leave the range of the dtype.
            fits = torch.isfinite(side) | (side == -torch.inf if inequality.log else False)
            assert bool(fits.all())


def test_keys_are_unique_and_every_page_is_one_of_the_part() -> None:
    keys = [q.key for q in statements.ALL]
    assert len(set(keys)) == len(keys)
    assert {q.page for q in statements.ALL} <= {
        f"bounds/{name}"
        for name in ("published-chain", "sharp-bounds", "shifts-and-closeness", "curvature", "landscape")
    }


def test_a_conjecture_is_marked_and_is_no_theorem() -> None:
    assert all(q.proved != q.label.startswith("conj-") for q in statements.ALL)
    assert not any(q.bound == "conjecture" for q in statements.THEOREMS)


def test_an_unknown_key_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"key must be one of .*, got 'unknown'"):
        statements.by_key("unknown")

"""The written-out space of the exponential kernel has the kernel as its inner product, and errors as documented."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.exponential_features import exponential_features
from icl_lib.running.streams import stream


@given(d=st.integers(2, 4), beta=st.floats(0, 3), degree=st.integers(0, 8), seed=st.integers(0, 99))
def test_inner_products_are_the_series_of_the_kernel(d: int, beta: float, degree: int, seed: int) -> None:
    x = SphereClassification(6, d, 2, balance="none").sample(2, stream(seed, "test"), dtype=torch.float64).x
    phi, gram = exponential_features(x, beta, degree), beta * x @ x.mT
    assert phi.shape == (2, 6, math.comb(d + degree, degree))
    series = torch.stack([gram**k / math.factorial(k) for k in range(degree + 1)]).sum(0)
    torch.testing.assert_close(phi @ phi.mT, series, rtol=1e-12, atol=1e-12)
    left_out = (gram.exp() - phi @ phi.mT).abs().max()
    assert left_out <= beta ** (degree + 1) * math.exp(beta) / math.factorial(degree + 1) + 1e-12


def test_bad_features_are_refused() -> None:
    with pytest.raises(ValueError, match="beta must be a finite number >= 0, got -1"):
        exponential_features(torch.ones(2, 3), -1.0, 2)
    with pytest.raises(ValueError, match=r"degree must be an integer in \[0, 150\], got 151"):
        exponential_features(torch.ones(2, 3), 1.0, 151)
    with pytest.raises(TypeError, match="x must be a tensor"):
        exponential_features([1.0], 1.0, 2)  # type: ignore[arg-type]

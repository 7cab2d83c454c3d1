import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds

from icl_lib.matrices import distance_from_identity, nearest_multiple, spectrum


@given(st.integers(1, 6), seeds, st.floats(-3, 3))
def test_the_nearest_multiple_is_nearest(d: int, seed: int, other: float) -> None:
    M, identity = normal(seed, 4, d, d), torch.eye(d).double()
    c = nearest_multiple(M)
    gap = (M - c[:, None, None] * identity).norm(dim=(-2, -1))
    assert (gap <= (M - other * identity).norm(dim=(-2, -1)) + 1e-12).all()
    torch.testing.assert_close(distance_from_identity(M), gap / M.norm(dim=(-2, -1)), rtol=1e-6, atol=1e-7)


@given(st.integers(1, 6), st.floats(0.1, 5))
def test_a_multiple_of_the_identity_is_recognised(d: int, c: float) -> None:
    for sign in (1, -1):
        M = sign * c * torch.eye(d).double()
        assert distance_from_identity(M) < 1e-7
        torch.testing.assert_close(spectrum(M), torch.ones(d).double())


def test_noise_is_as_far_as_said() -> None:
    d, sigma, c = 40, 0.01, 0.5
    M = c * torch.eye(d).double() + sigma * normal(0, 50, d, d)
    assert abs(float(distance_from_identity(M).mean()) / (d**0.5 * sigma / c) - 1) < 0.05


def test_no_trace_is_farthest_and_nothing_is_nowhere() -> None:
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert distance_from_identity(turn) == 1
    assert distance_from_identity(torch.zeros(3, 3)) == 0


def test_a_matrix_that_is_not_square_is_refused() -> None:
    for function in (nearest_multiple, distance_from_identity, spectrum):
        with pytest.raises(ValueError, match="M must have shape"):
            function(torch.ones(2, 3))

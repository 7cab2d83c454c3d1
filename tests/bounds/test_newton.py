"""The solvers: they agree with scipy, descend, leave saddles, and refuse bad input."""

import math

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from icl_lib.bounds.curvature import safe_rate
from icl_lib.bounds.newton import (
    _minimise_in_ball,
    gradient_descent,
    gradient_operations,
    line_search_descent,
    newton,
    newton_operations,
)
from icl_lib.bounds.newton_reference import trust_exact
from icl_lib.bounds.spread import norm
from icl_lib.softmax_regression import problem as softmax_regression
from icl_lib.softmax_regression.documents import Documents, SoftmaxRegression
from tests.random_documents import normal, seeds


def _documents(n: int, d: int, batch: int, seed: int = 0) -> Documents:
    return SoftmaxRegression(n, d).sample(batch, torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "d"), [(10, 3), (25, 20), (60, 5)])
def test_newton_finds_the_exact_fit_in_few_iterations(n: int, d: int) -> None:
    documents = _documents(n, d, 4)
    path = newton(documents.A, documents.b, torch.zeros(4, d, dtype=torch.float64), tolerance=1e-12)
    assert bool(path.converged.all())
    assert int(path.iterations.max()) <= 20
    assert float(path.losses[-1].max()) < 1e-20
    assert bool((path.losses[1:] <= path.losses[:-1] + 1e-16).all())


def test_newton_agrees_with_scipy() -> None:
    documents = _documents(12, 4, 1, seed=3)
    A, b, x0 = documents.A[0], torch.softmax(normal(9, 12), -1), torch.zeros(4, dtype=torch.float64)
    found = trust_exact(A, b, x0, tolerance=1e-12)
    path = newton(A, b, x0, tolerance=1e-12)
    numpy.testing.assert_allclose(path.x.numpy(), found.x.numpy(), rtol=1e-7, atol=1e-9)
    assert float(path.losses[-1]) == pytest.approx(float(softmax_regression.loss(A, found.x, b)), rel=1e-12)
    assert found.success
    assert found.iterations == len(found.gradient_norms) - 1 > 1
    assert found.gradient_norms[-1] < 1e-12 < found.gradient_norms[0]


@given(st.integers(2, 6), st.integers(1, 4), seeds)
@hypothesis_settings(max_examples=20)
def test_newton_never_climbs_and_ends_where_the_hessian_is_not_negative(n: int, d: int, seed: int) -> None:
    A, x0, b = 2 * normal(seed, n, d), 0.3 * normal(seed + 1, d), torch.softmax(3 * normal(seed + 2, n), -1)
    path = newton(A, b, x0, tolerance=1e-9, iterations=300)
    assert bool((path.losses[1:] <= path.losses[:-1] + 1e-15).all())
    if bool(path.converged):
        least = torch.linalg.eigvalsh(softmax_regression.hessian(A, path.x, b))[0]
        assert float(least) >= -1e-4


@given(st.integers(1, 5), seeds, st.floats(0.01, 10.0), st.booleans())
@hypothesis_settings(max_examples=40)
def test_the_model_is_minimised_in_the_ball(d: int, seed: int, radius: float, hard: bool) -> None:
    H, g = normal(seed, d, d), normal(seed + 1, d)
    H = H + H.mT
    lowest = torch.linalg.eigh(H)[1][:, 0]
    # In the hard case the slope has no part along the direction of least curvature.
    g = g - (g @ lowest) * lowest if hard else g

    def model(p: Tensor) -> Tensor:
        return p @ g + 0.5 * torch.einsum("...i,ij,...j->...", p, H, p)

    step = _minimise_in_ball(g, H, torch.tensor(radius, dtype=torch.float64))
    assert float(norm(step)) <= radius * (1 + 1e-6)
    others = normal(seed + 2, 500, d)
    others = others * radius / norm(others).unsqueeze(-1) * torch.rand(500, 1, dtype=torch.float64)
    assert float(model(step)) <= float(model(others).min()) + 1e-6 * radius * (1 + radius)


def test_each_problem_of_a_batch_is_solved_as_if_alone() -> None:
    documents = _documents(15, 4, 3)
    x0 = torch.zeros(3, 4, dtype=torch.float64)
    together = newton(documents.A, documents.b, x0)
    for i in range(3):
        alone = newton(documents.A[i], documents.b[i], x0[i])
        assert int(alone.iterations) == int(together.iterations[i])
        torch.testing.assert_close(alone.x, together.x[i], rtol=1e-9, atol=1e-9)
        assert float(alone.operations[-1]) == float(together.operations[-1][i])


@pytest.mark.parametrize("solver", [gradient_descent, line_search_descent])
def test_descent_descends_as_far_as_promised(solver) -> None:
    documents = _documents(20, 3, 5)
    rate = safe_rate(documents.A)
    path = solver(documents.A, documents.b, torch.zeros(5, 3, dtype=torch.float64), rate, iterations=200)
    assert bool((path.losses[1:] <= path.losses[:-1] + 1e-16).all())
    smallest = path.gradient_norms.min(0).values.square()
    assert bool((smallest <= 2 * path.losses[0] / (rate * 200) + 1e-18).all())


def test_line_search_reaches_the_minimiser_that_newton_finds() -> None:
    documents = _documents(20, 3, 3)
    x0 = torch.zeros(3, 3, dtype=torch.float64)
    slow = line_search_descent(documents.A, documents.b, x0, safe_rate(documents.A), tolerance=1e-9, iterations=3000)
    fast = newton(documents.A, documents.b, x0)
    assert bool(slow.converged.all())
    assert float(norm(slow.x - fast.x).max()) < 1e-5
    assert bool((slow.operations[-1] > fast.operations[-1]).all())


def test_operations_of_an_iteration() -> None:
    """Products of A with a vector 2nd each way, its Gram matrix, the softmax, and a decomposition of a d × d matrix."""
    assert newton_operations(5, 4) == gradient_operations(5, 4) + 2 * 20 + 10 * 5 + 4 * 80 + 6 * 20 + 9 * 64


def test_operations_are_counted() -> None:
    documents = _documents(20, 3, 1)
    x0 = torch.zeros(1, 3, dtype=torch.float64)
    path = gradient_descent(documents.A, documents.b, x0, safe_rate(documents.A), iterations=7)
    assert path.operations[:, 0].tolist() == [k * gradient_operations(20, 3) for k in range(8)]
    fast = newton(documents.A, documents.b, x0)
    assert float(fast.operations[-1, 0]) == int(fast.iterations[0]) * newton_operations(20, 3)


def test_float32_stays_float32() -> None:
    documents = SoftmaxRegression(20, 3).sample(2, torch.Generator().manual_seed(0), dtype=torch.float32)
    path = newton(documents.A, documents.b, torch.zeros(2, 3), tolerance=1e-5)
    assert path.x.dtype == path.losses.dtype == path.gradient_norms.dtype == torch.float32
    assert bool(path.converged.all())


@pytest.mark.parametrize("solver", [gradient_descent, line_search_descent])
def test_a_rate_that_climbs_is_refused(solver) -> None:
    A, b, x0 = normal(0, 4, 2), torch.full((4,), 0.25, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for rate in (-1.0, 0.0, math.nan):
        with pytest.raises(ValueError, match="rate must be finite and > 0 for every problem"):
            solver(A, b, x0, torch.tensor(rate, dtype=torch.float64))
    with pytest.raises(TypeError, match="rate must be a tensor of shape"):
        solver(A, b, x0, 0.5)


@pytest.mark.parametrize("solver", [newton, gradient_descent, line_search_descent])
def test_bad_input_is_one_clear_error(solver) -> None:
    A, b, x0 = normal(0, 4, 2), torch.full((4,), 0.25, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    extra = () if solver is newton else (torch.tensor(0.1, dtype=torch.float64),)
    with pytest.raises(ValueError, match=r"tolerance must be a finite number > 0, got 0"):
        solver(A, b, x0, *extra, tolerance=0)
    with pytest.raises(ValueError, match=r"iterations must be an integer >= 1, got 0"):
        solver(A, b, x0, *extra, iterations=0)
    with pytest.raises(ValueError, match="x0 must have shape"):
        solver(A, b, torch.zeros(3, dtype=torch.float64), *extra)

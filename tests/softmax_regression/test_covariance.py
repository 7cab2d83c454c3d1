import math
from dataclasses import replace

import pytest
import torch
from random_documents import normal

from icl_lib.running.streams import stream
from icl_lib.softmax_regression import covariance as cov
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.blocks import blocks
from icl_lib.softmax_regression.closeness import Closeness, initial_matrices, train_matrices
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout, predict

CPU = torch.device("cpu")


def some(d: int) -> torch.Tensor:
    """A covariance that is not diagonal."""
    B = normal(0, d, d)
    return B @ B.mT + 0.1 * torch.eye(d).double()


def test_the_root_is_symmetric_and_its_square_is_the_covariance() -> None:
    S = some(5)
    T = cov.root(S, 5)
    torch.testing.assert_close(T, T.mT, rtol=0, atol=1e-12)
    torch.testing.assert_close(T @ T, S, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cov.inverse(S, 5) @ S, torch.eye(5).double(), rtol=0, atol=1e-9)


def test_standard_deviations_are_evenly_spaced_and_one_in_the_mean() -> None:
    deviations = cov.spread_evenly(6, 9.0).diagonal().sqrt()
    torch.testing.assert_close(deviations.diff(), deviations.diff()[:1].expand(5))
    assert float(deviations.mean()) == pytest.approx(1)
    assert float(deviations[-1] / deviations[0]) == pytest.approx(3)
    assert torch.equal(cov.spread_evenly(4, 1.0), torch.eye(4).double())


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.ones(2, 3), r"covariance must have shape \(..., d=3, d_=3\)"),
        (torch.ones(2, 3, 3), "covariance must be one matrix"),
        (torch.eye(3) + torch.tensor([[0, 0.1, 0]] * 3), "covariance must be symmetric, got entries"),
        (torch.diag(torch.tensor([1.0, 2.0, 0.0])), "covariance must be positive definite, got the eigenvalue"),
        (torch.diag(torch.tensor([1.0, 2.0, -1.0])), "covariance must be positive definite, got the eigenvalue -1"),
        (torch.diag(torch.tensor([1.0, 2.0, math.nan])), "covariance must be finite"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cov.root(covariance, 3)


@pytest.mark.parametrize("condition", [0.9, 0.0, math.nan, math.inf])
def test_a_condition_below_one_is_refused(condition: float) -> None:
    with pytest.raises(ValueError, match="condition must be a finite number >= 1, got"):
        SoftmaxRegression(5, 3, condition=condition)


def test_one_dimension_has_the_condition_one() -> None:
    with pytest.raises(ValueError, match="condition must be 1 for d = 1, got 2"):
        cov.spread_evenly(1, 2.0)


@pytest.mark.parametrize("query", ["held", "same"])
def test_words_have_the_covariance_and_targets_stay(query: str) -> None:
    plain = SoftmaxRegression(8, 3, 1.0, query)
    task = replace(plain, condition=5.0)
    one, other = (t.sample(4000, stream(0, "test"), dtype=torch.float64) for t in (plain, task))
    torch.testing.assert_close(one.b, other.b, rtol=1e-9, atol=0)
    torch.testing.assert_close(one.b_query, other.b_query, rtol=1e-9, atol=0)
    torch.testing.assert_close(task.root, cov.root(task.covariance, 3))
    found = torch.cov(other.A.flatten(0, 1).mT)
    torch.testing.assert_close(found, task.covariance, rtol=0.05, atol=0.03)
    drawn = task.sample(50, stream(0, "test", 1))
    A, A_query, x = drawn.A.double(), drawn.A_query.double(), drawn.x.double()
    (block,) = blocks(task, 50, stream(0, "test", 1))
    torch.testing.assert_close(block.A_query, A_query, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(block.h, centred_readout(A, predict(A, x)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block.b_query, predict(A_query, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("query", ["held", "same"])
def test_training_goes_along_the_gradient_of_stretched_documents(query: str) -> None:
    """The mean gradient of one update, from Adam's first step: its sign, entry by entry, where it is clear."""
    config = Closeness(10, 3, query, repetitions=1, steps=1, batch=20_000, rate=0.1, condition=6.0, dtype="float64")
    start = initial_matrices(config, CPU)
    moved = train_matrices(config, CPU, [1])[0, 0] - start[0]
    tasks = config.task.sample(20_000, stream(3, "test"), dtype=torch.float64)
    M = start[0].clone().requires_grad_()
    f = predict(tasks.A_query, centred_readout(tasks.A, tasks.b) @ M.mT)
    (slope,) = torch.autograd.grad((f - tasks.b_query).square().sum(-1).mean(), M)
    clear = slope.abs() > 0.1 * slope.abs().max()
    assert clear.diagonal().all()
    assert torch.equal(moved.sign()[clear], -slope.sign()[clear])


@pytest.mark.parametrize("query", ["held", "same"])
def test_the_gradient_in_other_coordinates_is_that_of_stretched_documents(query: str) -> None:
    task = SoftmaxRegression(12, 3, 1.0, query)
    stretched, count = replace(task, condition=6.0), 40_000
    M, T = 0.3 * torch.eye(3).double() + 0.1 * normal(3, 3, 3), stretched.root
    reduced = reduced_sampling.draw(task, count, [stream(0, "train")], CPU, torch.float64)
    found = T @ reduced_sampling.matrix_gradient(reduced, (T @ M @ T).unsqueeze(0))[0] @ T / count
    tasks = stretched.sample(count, stream(3, "test"), dtype=torch.float64)
    own = M.clone().requires_grad_()
    f = predict(tasks.A_query, centred_readout(tasks.A, tasks.b) @ own.mT)
    (expected,) = torch.autograd.grad(6 * (f - tasks.b_query).square().sum(-1).mean(), own)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.04 * float(expected.abs().max()))

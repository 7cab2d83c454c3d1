"""The population's best matrix: excess loss is closeness, the overlap of two predictions, exact limits."""

import math

import pytest
import torch

from icl_lib.matrices import distance_from_identity
from icl_lib.softmax_regression import population
from icl_lib.softmax_regression.documents import Documents, SoftmaxRegression

EYE = torch.eye(3, dtype=torch.float64)


def _tasks(query: str = "held", n: int = 8, d: int = 3, count: int = 60, scale: float = 1.0) -> Documents:
    return SoftmaxRegression(n, d, scale, query).sample(count, torch.Generator().manual_seed(n), dtype=torch.float64)


def _random(seed: int, d: int = 3) -> torch.Tensor:
    return torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("query", ["held", "same"])
def test_excess_cross_entropy_is_the_mean_divergence(query: str) -> None:
    tasks = population.symmetrised(_tasks(query))
    c = population.best_multiple("cross-entropy", tasks)
    least = population.expected_loss("cross-entropy", c * EYE, tasks)
    for seed in range(4):
        M = c * EYE + _random(seed)
        excess = float(population.expected_loss("cross-entropy", M, tasks) - least)
        found = population.closeness(c * EYE, M, tasks)
        assert excess == pytest.approx(float(found.divergence), rel=1e-9)
        assert excess > float(found.squared_distance) > 0
    # The control: from another multiple the excess is something else.
    other = 1.3 * c * EYE
    gap = float(
        population.expected_loss("cross-entropy", M, tasks) - population.expected_loss("cross-entropy", other, tasks)
    )
    assert abs(gap / float(population.closeness(other, M, tasks).divergence) - 1) > 0.01


def test_descent_on_either_loss_ends_at_a_multiple_of_the_identity() -> None:
    tasks = population.symmetrised(_tasks(count=40))
    for loss in population.LOSSES:
        M = population.best_matrix(loss, tasks, 0.5 * _random(1))
        assert float(distance_from_identity(M)) < 1e-4
        assert float(M.diagonal().mean()) == pytest.approx(population.best_multiple(loss, tasks), rel=1e-4)


def test_with_two_words_an_antisymmetric_part_is_free_on_the_same_document_only() -> None:
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    for query, free in (("same", True), ("held", False)):
        tasks = _tasks(query, n=2, d=2)
        eye = torch.eye(2, dtype=torch.float64)
        gap = population.expected_loss("squared", eye + turn, tasks) - population.expected_loss("squared", eye, tasks)
        assert (abs(float(gap)) < 1e-14) is free


def test_the_overlap_grows_with_the_cosine_at_the_stated_slope() -> None:
    generator = torch.Generator().manual_seed(3)
    A = torch.randn(40_000, 4, 2, generator=generator, dtype=torch.float64)
    x = torch.tensor([1.2, 0.0], dtype=torch.float64)

    def overlap(angle: float) -> torch.Tensor:
        w = 0.8 * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
        return ((A @ w).softmax(-1) * (A @ x).softmax(-1)).sum(-1)

    w = 0.8 * torch.tensor([math.cos(1.0), math.sin(1.0)], dtype=torch.float64)
    slope = population.overlap_slope(A, w.expand(len(A), -1), x.expand(len(A), -1))
    assert bool((slope > 0).all())
    difference = (overlap(0.95) - overlap(1.05)) / (0.8 * 1.2 * (math.cos(0.95) - math.cos(1.05)))
    error = float((difference.mean() - slope.mean()).abs())
    assert error < 4 * float((difference.std() + slope.std()) / math.sqrt(len(A)))


def test_turning_the_readout_loses_overlap_and_turning_it_by_nothing_does_not() -> None:
    tasks = _tasks(n=10, d=4, count=4000)
    for rho in (0.3, 1.0, 3.0):
        lost = population.turned_overlap(tasks, rho, 1.0, torch.Generator().manual_seed(0))
        assert lost.difference > 3 * lost.standard_error
    assert abs(population.turned_overlap(tasks, 1.0, 0.0, torch.Generator().manual_seed(0)).difference) < 1e-15


@pytest.mark.parametrize(("n", "d"), [(25, 20), (6, 3)])
def test_small_logits_on_the_document_itself(n: int, d: int) -> None:
    tasks = _tasks("same", n, d, 2000, 1e-3)
    limit = population.same_document_limit(n, d)
    eye = torch.eye(d, dtype=torch.float64)
    losses = [float(population.expected_loss("squared", c * eye, tasks)) for c in (0.0, limit.c, 0.8 * limit.c)]
    assert 1 - losses[1] / losses[0] == pytest.approx(limit.gain, abs=0.02)
    assert population.best_multiple("squared", tasks) == pytest.approx(limit.c, rel=0.03)
    assert losses[2] > losses[1] * 1.05


def test_an_endless_document_is_read_in_closed_form() -> None:
    generator = torch.Generator().manual_seed(5)
    A = torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    x, q = torch.randn(2, 3, generator=generator, dtype=torch.float64) / 2
    values = len(A) * (A @ x).softmax(-1) - 1
    heads = [((s * (A @ q)).softmax(-1) * values).sum() for s in (0.9, -0.9)]
    t = q @ x
    assert float(heads[0]) == pytest.approx(float(population.endless_document(0.9, t)), abs=0.02)
    assert float(heads[0] - heads[1]) / 2 == pytest.approx(float(population.endless_document(0.9, t, 2)), abs=0.02)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="loss must be one of"):
        population.expected_loss("absolute", EYE, _tasks())
    with pytest.raises(ValueError, match=r"d must be an integer .* got 5"):
        population.symmetrised(_tasks(d=5))
    with pytest.raises(ValueError, match="M must"):
        population.layer_logits(torch.eye(2, dtype=torch.float64), _tasks())

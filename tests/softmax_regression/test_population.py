"""The population's best matrix: excess loss is closeness, the overlap of two predictions, exact limits."""

import math

import pytest
import torch

from icl_lib.matrices import distance_from_identity
from icl_lib.softmax_regression import population
from icl_lib.softmax_regression.documents import Documents, SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout

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


def test_in_the_plane_a_turn_is_the_rotation_by_its_angle() -> None:
    """Both signs are averaged, so that no draw is left."""
    tasks, rho, angle = _tasks(n=6, d=2, count=50), 0.8, 0.7
    h = rho * centred_readout(tasks.A, tasks.b)

    def overlap(turn: float) -> torch.Tensor:
        R = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
        return (torch.einsum("bnd,bd->bn", tasks.A_query, h @ R.T).softmax(-1) * tasks.b_query).sum(-1)

    lost = overlap(0) - (overlap(angle) + overlap(-angle)) / 2
    found = population.turned_overlap(tasks, rho, angle, torch.Generator().manual_seed(0))
    assert found.difference == pytest.approx(float(lost.mean()), rel=1e-9)
    assert found.standard_error == pytest.approx(float(lost.std() / math.sqrt(50)), rel=1e-9)


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


@pytest.mark.parametrize("d", [3, 20])
def test_long_documents_at_small_logits_are_the_small_logits_of_any_length(d: int) -> None:
    """n/(n + d) = 1 − d/n + …, and (d + 1)/(n + d) of the loss is left."""
    limit = population.long_documents(1e-3, d)
    assert limit.shortening == pytest.approx(d, rel=1e-5)
    assert limit.left == pytest.approx(d + 1, rel=1e-5)


def _terms(square: torch.Tensor, d: int) -> tuple[float, float]:
    """Γ and Λ as the theorem writes them, by traces of the matrices that it names, with weights along an axis."""
    eye, numerators, below = torch.eye(d, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), torch.zeros(2)
    for value in square:
        x, grown = math.sqrt(value) * eye[0], math.exp(value)
        H = grown * (eye + torch.outer(x, x))
        spread, bias = H - eye, -grown * x
        third = grown * (2 * value * torch.trace(spread) + (4 + 3 * value) * x @ spread @ x)
        numerators += torch.stack([x @ H @ bias + torch.trace(H @ spread) + third / 2, torch.trace(H @ spread)])
        below = below + torch.stack([x @ H @ x, torch.tensor(grown - 1, dtype=torch.float64)])
    return tuple((numerators / below).tolist())


def test_the_constants_of_long_documents_are_those_of_the_theorem() -> None:
    generator = torch.Generator().manual_seed(2)
    square = 0.25 * torch.randn(4000, 8, generator=generator, dtype=torch.float64).square().mean(-1)
    assert _terms(square, 8) == pytest.approx(population.long_documents(0.5, 8), rel=0.05)
    for length in (0.4, 1.1):
        one = torch.tensor([length**2], dtype=torch.float64)
        assert _terms(one, 8) == pytest.approx(population.long_documents_at(length, 8), rel=1e-9)


@pytest.mark.parametrize(("d", "finite"), [(4, False), (5, True)])
def test_heavy_weights_have_no_constants(d: int, finite: bool) -> None:
    limit = population.long_documents(1.0, d)
    assert math.isfinite(limit.shortening) is math.isfinite(limit.left) is finite


def test_the_third_derivative_of_the_limiting_loss() -> None:
    """T[ξ, ξ, x] = e^(τ²)(2τ²‖ξ‖² + (4 + 3τ²)⟨x, ξ⟩²), by differentiating Φ = ½(e^‖w‖² + e^‖x‖² − 2e^⟨w,x⟩)."""
    x, xi = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 2

    def phi(t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        w = x + t * xi + u * x
        return 0.5 * ((w @ w).exp() + (x @ x).exp()) - (w @ x).exp()

    zero = torch.tensor(0.0, dtype=torch.float64)
    second = torch.func.grad(torch.func.grad(phi, argnums=0), argnums=0)
    third = torch.func.grad(second, argnums=1)(zero, zero)
    square = x @ x
    expected = square.exp() * (2 * square * (xi @ xi) + (4 + 3 * square) * (x @ xi) ** 2)
    torch.testing.assert_close(third, expected)


def test_long_documents_come_to_their_limit() -> None:
    """n(1 − c*) at n and 2n, extrapolated: within its error of Γ, and the error is small enough to tell."""
    limit, found = population.long_documents(0.5, 8), {}
    for n in (60, 120):
        tasks = _tasks(n=n, d=8, count=8000, scale=0.5)
        z = population.layer_logits(torch.eye(8, dtype=torch.float64), tasks)
        fitted = population.fitted_multiple(z, tasks.b_query, population.of_mean_zero(tasks), start=0.9)
        found[n] = n * (1 - fitted.c.value), n * fitted.c.standard_error, n * fitted.left.value
    far = 2 * found[120][0] - found[60][0]
    error = math.hypot(2 * found[120][1], found[60][1])
    assert abs(far - limit.shortening) < 3 * error < 0.2 * limit.shortening
    assert 2 * found[120][2] - found[60][2] == pytest.approx(limit.left, rel=0.06)


def test_the_control_has_mean_zero_and_takes_scatter_out_of_the_rate() -> None:
    tasks = _tasks(n=60, d=4, count=8000, scale=0.5)
    control = population.of_mean_zero(tasks)
    assert abs(float(control.mean())) < 3 * float(control.std()) / math.sqrt(len(control))
    assert abs(float((control + 0.1).mean())) > 3 * float(control.std()) / math.sqrt(len(control))
    z = population.layer_logits(torch.eye(4, dtype=torch.float64), tasks)
    plain, less = (population.fitted_multiple(z, tasks.b_query, given, start=0.9).c for given in (None, control))
    assert less.standard_error < 0.9 * plain.standard_error
    assert abs(less.value - plain.value) < 3 * plain.standard_error


def test_the_fitted_multiple_is_the_best_one() -> None:
    tasks = _tasks(count=300)
    fitted = population.fitted_multiple(population.layer_logits(EYE, tasks), tasks.b_query, start=0.6)
    assert fitted.c.value == pytest.approx(population.best_multiple("squared", tasks), rel=1e-6)
    many = [population.best_multiple("squared", Documents(*(part[k::10] for part in tasks))) for k in range(10)]
    spread = float(torch.tensor(many).std()) / math.sqrt(10)
    assert 0.5 < spread / fitted.c.standard_error < 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="loss must be one of"):
        population.expected_loss("absolute", EYE, _tasks())
    with pytest.raises(ValueError, match=r"tasks must have d <= 4 dimensions, got 5"):
        population.symmetrised(_tasks(d=5))
    with pytest.raises(ValueError, match="M must"):
        population.layer_logits(torch.eye(2, dtype=torch.float64), _tasks())

"""Two solvers of softmax regression, min over x of ½‖f(Ax) − b‖²: trust-region Newton and gradient descent.

Both record loss, gradient norm and floating-point operations after every iteration. Leading dimensions are batch:
each problem has its own trust region or rate and stops on its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from icl_lib.bounds.shifts import prediction_shift
from icl_lib.bounds.spread import centred_norm, norm
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_number
from icl_lib.softmax_regression.problem import gradient, hessian, loss, predict


@dataclass(frozen=True)
class Path:
    """What a solver did. With T iterations and batch shape (...): `losses`, `gradient_norms` (T + 1, ...).

    `x` (..., d) is the last point; `iterations` (...) counts until the gradient was small enough (or until the
    end); `operations` (T + 1, ...) is the running total of floating-point operations; `converged` (...) is boolean.
    """

    x: Tensor
    losses: Tensor
    gradient_norms: Tensor
    operations: Tensor
    iterations: Tensor
    converged: Tensor


@checked(counts=("n", "d"))
def gradient_operations(n: int, d: int) -> int:
    """Operations of one gradient: Ax and Aᵀv, 2nd each, and about 10 for each word."""
    return 4 * n * d + 10 * n


@checked(counts=("n", "d"))
def newton_operations(n: int, d: int) -> int:
    """Operations of one Newton iteration: gradient, trial point, Hessian (4nd² + 6nd), eigenvectors (9d³)."""
    return gradient_operations(n, d) + 2 * n * d + 10 * n + 4 * n * d * d + 6 * n * d + 9 * d**3


@checked("A: ... n d, b: ... n, x0: ... d")
def newton(A: Tensor, b: Tensor, x0: Tensor, *, tolerance: float = 1e-10, iterations: int = 100) -> Path:
    """Newton's method in a trust region, from x0 (..., d), until ‖∇L‖ ≤ tolerance or for `iterations`.

    The quadratic model is minimised exactly in a ball (eigenvectors of the d × d Hessian), negative curvature and
    the hard case included, so a saddle that it comes near does not hold it; started exactly at one it stops, since
    the gradient is tested first. The decrease of L is computed without cancellation.
    Raises `ValueError` or `TypeError` for shapes that do not fit and for a tolerance or count out of range.
    """
    _check(tolerance, iterations)
    x, radius = x0, 2 / centred_norm(A).clamp_min(torch.finfo(A.dtype).tiny)
    record = _Record(A, b, tolerance)
    record.add(x, 0)
    for _ in range(iterations):
        if record.finished():
            break
        g, H = gradient(A, x, b), hessian(A, x, b)
        step = _minimise_in_ball(g, H, radius)
        model = -(g * step).sum(-1) - 0.5 * torch.einsum("...i,...ij,...j->...", step, H, step)
        ratio = _decrease(A, x, b, step) / model.clamp_min(torch.finfo(A.dtype).tiny)
        moves = (ratio > 1e-4) & record.open()
        x = torch.where(moves.unsqueeze(-1), x + step, x)
        wide = (ratio > 0.75) & (norm(step) > 0.99 * radius)
        radius = torch.where(ratio < 0.25, 0.25 * norm(step), torch.where(wide, 2 * radius, radius))
        record.add(x, newton_operations(*A.shape[-2:]))
    return record.path(x)


@checked("A: ... n d, b: ... n, x0: ... d, rate: ...", unread=("rate",))
def gradient_descent(
    A: Tensor, b: Tensor, x0: Tensor, rate: Tensor, *, tolerance: float = 1e-10, iterations: int = 10_000
) -> Path:
    """Gradient descent at a constant `rate` (...) > 0, from x0 (..., d), until ‖∇L‖ ≤ tolerance.

    Raises as `newton` does, and for a rate that is not positive. See `cor-descent`.
    """
    _check(tolerance, iterations)
    _check_rate(rate)
    x, record = torch.broadcast_tensors(x0, rate.unsqueeze(-1))[0], _Record(A, b, tolerance)
    record.add(x, 0)
    for _ in range(iterations):
        if record.finished():
            break
        moved = x - rate.unsqueeze(-1) * gradient(A, x, b)
        x = torch.where(record.open().unsqueeze(-1), moved, x)
        record.add(x, gradient_operations(*A.shape[-2:]))
    return record.path(x)


@checked("A: ... n d, b: ... n, x0: ... d, rate: ...", unread=("rate",))
def line_search_descent(
    A: Tensor, b: Tensor, x0: Tensor, rate: Tensor, *, tolerance: float = 1e-10, iterations: int = 10_000
) -> Path:
    """Gradient descent with Armijo's rule: each step starts at twice the last rate and halves it until
    L falls by at least ½ rate ‖∇L‖² · 10⁻¹. `rate` (...) > 0 starts. Raises as `gradient_descent` does.
    """
    _check(tolerance, iterations)
    _check_rate(rate)
    x, record = torch.broadcast_tensors(x0, rate.unsqueeze(-1))[0], _Record(A, b, tolerance)
    trial = 2 * A.shape[-2] * A.shape[-1] + 10 * A.shape[-2]
    record.add(x, 0)
    for _ in range(iterations):
        if record.finished():
            break
        g = gradient(A, x, b)
        rate, trials = _armijo(A, x, b, g, 2 * rate, record.open())
        x = torch.where(record.open().unsqueeze(-1), x - rate.unsqueeze(-1) * g, x)
        record.add(x, gradient_operations(*A.shape[-2:]) + trial * trials)
    return record.path(x)


def _armijo(
    A: Tensor, x: Tensor, b: Tensor, g: Tensor, rate: Tensor, active: Tensor, halvings: int = 60
) -> tuple[Tensor, Tensor]:
    """The first of rate, rate/2, … at which L falls enough, and how many were tried."""
    square, trials = g.square().sum(-1), torch.zeros_like(rate)
    short = active
    for _ in range(halvings):
        trials = trials + short
        short = short & (_decrease(A, x, b, -rate.unsqueeze(-1) * g) < 0.05 * rate * square)
        if not bool(short.any()):
            break
        rate = torch.where(short, 0.5 * rate, rate)
    return rate, trials


def _check(tolerance: float, iterations: int) -> None:
    check_number("tolerance", tolerance, above=0)
    check_count("iterations", iterations)


def _check_rate(rate: Tensor) -> None:
    if not bool((torch.isfinite(rate) & (rate > 0)).all()):
        raise ValueError("rate must be finite and > 0 for every problem, got another")


def _decrease(A: Tensor, x: Tensor, b: Tensor, step: Tensor) -> Tensor:
    """L(x) − L(x + step) = −⟨c, h⟩ − ½‖h‖², h the shift of f: accurate where the two losses agree to all digits."""
    z, delta = (torch.einsum("...nd,...d->...n", A, v) for v in (x, step))
    h = prediction_shift(z, delta)
    return -((predict(A, x) - b) * h).sum(-1) - 0.5 * h.square().sum(-1)


def _minimise_in_ball(g: Tensor, H: Tensor, radius: Tensor, bisections: int = 80) -> Tensor:
    """argmin ⟨g, p⟩ + ½pᵀHp over ‖p‖ ≤ radius, shape (..., d).

    p = −(H + μI)⁻¹g with the least μ ≥ max(0, −λ_min) for which p fits, found by bisection; where even that p is
    short (the hard case), a multiple of the lowest eigenvector fills it up to the boundary.
    """
    values, vectors = torch.linalg.eigh(H)
    slope = torch.einsum("...ij,...i->...j", vectors, g)
    floor = values.shape[-1] * torch.finfo(H.dtype).eps * values.abs().amax(-1, keepdim=True)

    def coordinates(mu: Tensor) -> Tensor:
        shifted = values + mu.unsqueeze(-1)
        safe = shifted > floor
        return torch.where(safe, -slope / torch.where(safe, shifted, 1.0), 0.0)

    low = (-values[..., 0]).clamp_min(0)
    high = low + norm(g) / radius
    inside = (values[..., 0] >= -floor.squeeze(-1)) & (norm(coordinates(low)) <= radius)
    for _ in range(bisections):
        middle = 0.5 * (low + high)
        long = norm(coordinates(middle)) > radius
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    p = coordinates(torch.where(inside, (-values[..., 0]).clamp_min(0), high))
    missing = torch.where(inside, 0.0, (radius.square() - p.square().sum(-1)).clamp_min(0).sqrt())
    lowest = torch.where(slope[..., 0] > 0, -missing, missing)
    short = missing > 1e-3 * radius
    p = torch.cat([(p[..., 0] + torch.where(short, lowest, 0.0)).unsqueeze(-1), p[..., 1:]], -1)
    return torch.einsum("...ij,...j->...i", vectors, p)


class _Record:
    """The history of one solver, problem by problem."""

    def __init__(self, A: Tensor, b: Tensor, tolerance: float) -> None:
        self.A, self.b, self.tolerance = A, b, tolerance
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.operations: list[Tensor] = []

    def add(self, x: Tensor, operations: int | Tensor) -> None:
        """Note the point x, reached at a cost of `operations`; a problem that was finished before pays nothing."""
        self.losses.append(loss(self.A, x, self.b))
        cost = torch.as_tensor(operations, dtype=self.losses[-1].dtype, device=x.device)
        before = self.operations[-1] + torch.where(self.open(), cost, 0.0) if self.operations else 0 * self.losses[-1]
        self.operations.append(before)
        self.norms.append(norm(gradient(self.A, x, self.b)))

    def open(self) -> Tensor:
        """Which problems are not finished yet."""
        return self.norms[-1] > self.tolerance

    def finished(self) -> bool:
        """Whether every problem is."""
        return not bool(self.open().any())

    def path(self, x: Tensor) -> Path:
        """The whole history."""
        norms = torch.stack(self.norms)
        working = (norms[:-1] > self.tolerance).sum(0)
        return Path(
            x, torch.stack(self.losses), norms, torch.stack(self.operations), working, norms[-1] <= self.tolerance
        )

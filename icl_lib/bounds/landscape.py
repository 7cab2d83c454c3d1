"""The shape of the loss of softmax regression: where it is convex, how fast descent converges, where it is caught.

Shapes as everywhere: A (..., n, d), x (..., d), b (..., n).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.bounds.cumulants import centred, covariance
from icl_lib.bounds.curvature import curvature_matrix, safe_rate
from icl_lib.bounds.inequality import Inequality, Setting, apply
from icl_lib.bounds.newton import line_search_descent, newton
from icl_lib.bounds.sharp import jacobian
from icl_lib.bounds.spread import centre, eigenvalues, norm, osc, spectral_norm
from icl_lib.running.checked import checked
from icl_lib.softmax_regression.problem import gradient, hessian, loss

PAGE = "bounds/landscape"


@checked("f: ... n, b: ... n")
def curvature_floor(f: Tensor, b: Tensor) -> Tensor:
    """min f − ‖c̃‖_∞, shape (...): B ⪰ this times J, so L is convex in the logits where it is ≥ 0.

    c = f − b, c̃ = c − E_f c. See `prop-local-convexity`.
    """
    return f.amin(-1) - centred(f, f - b).abs().amax(-1)


@checked("A: ... n d")
def least_singular_value(A: Tensor) -> Tensor:
    """σ of PA that belongs to rank n − 1, shape (...): 0 where the rank is less, and so for n > d + 1; n ≥ 2.

    See `thm-pl`.
    """
    n, d = A.shape[-2:]
    if n - 1 > d:
        return torch.zeros(A.shape[:-2], dtype=A.dtype, device=A.device)
    return torch.linalg.svdvals(centre(A, dim=-2))[..., n - 2]


@checked("A: ... n d, b: ... n, start: ...")
def pl_constant(A: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """μ = σ²(min b − √(2 L₀))₊², shape (...): along descent from a point of loss L₀, ‖∇L‖² ≥ 2μL.

    For distributions b that can be met; L₀ = `start` has shape (...). See `cor-linear-convergence`.
    """
    least = (b.amin(-1) - (2 * start).sqrt()).clamp_min(0)
    return (least_singular_value(A) * least).square()


class Spurious(NamedTuple):
    """Four words in two dimensions, a target that can be met at `met`, and a start in the basin of another minimum."""

    A: Tensor
    b: Tensor
    met: Tensor
    start: Tensor


def spurious_minimum() -> Spurious:
    """A (4, 2), b (4,), x* (2,) and a start (2,) from which descent ends at a local minimum that is not x*.

    See `prop-spurious`.
    """
    A = torch.tensor([[2.0, 1.0], [-2.0, 2.0], [-1.0, -2.0], [-1.0, -1.0]], dtype=torch.float64)
    met = torch.tensor([2.0, -2.0], dtype=torch.float64)
    return Spurious(A, (A @ met).softmax(-1), met, torch.tensor([-2.8, -1.0], dtype=torch.float64))


class Caught(NamedTuple):
    """Of tasks whose target can be met: which descent from 0 leaves at another minimum, and which are undecided."""

    caught: Tensor
    undecided: Tensor


@checked("A: ... n d, b: ... n")
def caught_from_zero(A: Tensor, b: Tensor, iterations: int = 300) -> Caught:
    """Whether descent with line search from 0, finished by Newton's method, ends at a local minimum with L > 1e-6.

    Both parts are boolean (...). Undecided: ‖∇L‖ > 1e-8 at the end, or a Hessian that is not positive definite there.
    See `prop-spurious`.
    """
    zero, rate = torch.zeros_like(A[..., 0, :]), safe_rate(A)
    if not bool((torch.isfinite(rate) & (rate > 0)).all()):
        raise ValueError("A must have words that differ by more than rounding, got a safe rate of 0 or infinity")
    near = line_search_descent(A, b, zero, rate, iterations=iterations).x
    x = newton(A, b, near, iterations=200).x
    high = loss(A, x, b) > 1e-6
    settled = (norm(gradient(A, x, b)) <= 1e-8) & (eigenvalues(hessian(A, x, b))[..., 0] > 0)
    return Caught(high & settled, high & ~settled)


def _f(p: Setting) -> Tensor:
    return p.z.softmax(-1)


def _target(p: Setting) -> Tensor:
    return p.b / p.b.sum(-1, keepdim=True)


def _toward(p: Setting) -> Tensor:
    """A target between f and b, so that the residual may be small beside min f."""
    return _f(p) + 0.01 * p.s.clamp_max(1).unsqueeze(-1) * (_target(p) - _f(p))


CONVEXITY = Inequality(
    key="convexity-local",
    statement="vᵀBv from below",
    bound="sharp",
    constant="(min f − ‖c̃‖∞) vᵀJv",
    label="prop-local-convexity",
    page=PAGE,
    left=lambda p: curvature_floor(_f(p), _toward(p)) * covariance(_f(p), p.by_A, p.by_A),
    right=lambda p: (curvature_matrix(_f(p), _toward(p)) @ p.by_A.unsqueeze(-1)).squeeze(-1).mul(p.by_A).sum(-1),
    fails_at=0.98,
    magnitude=lambda p: p.by_A.square().amax(-1),
)

PL = Inequality(
    key="pl",
    statement="loss by the gradient",
    bound="sharp",
    constant="2σ²(min f)² L ≤ ‖∇L‖²",
    label="thm-pl",
    page=PAGE,
    left=lambda p: 2 * (least_singular_value(p.A) * _f(p).amin(-1)).square() * loss(p.A, p.x, _target(p)),
    right=lambda p: norm(apply(centre(p.A, dim=-2).mT, apply(jacobian(_f(p)), _f(p) - _target(p)))).square(),
    fails_at=0.98,
    least_n=2,
    magnitude=lambda p: spectral_norm(p.A).square(),
)


@checked("f: ... n, b: ... n")
def convex_here(f: Tensor, b: Tensor) -> Tensor:
    """Whether osc(f − b) ≤ min f, shape (...): there L is convex. See `prop-local-convexity`."""
    return osc(f - b) <= f.amin(-1)


def _share_left(p: Setting) -> Tensor:
    """1 − ημ at the safe rate, the share of the loss that a step from x may leave."""
    b, rate = _toward(p), safe_rate(p.A).clamp_max(1e6)
    return 1 - rate * pl_constant(p.A, b, loss(p.A, p.x, b))


def _after(p: Setting) -> Tensor:
    """L after one step at the safe rate from x, with PA in the place of A: the same step, without cancellation."""
    A, b, rate = centre(p.A, dim=-2), _toward(p), safe_rate(p.A).clamp_max(1e6)
    return loss(A, p.x - rate.unsqueeze(-1) * gradient(A, p.x, b), b)


LINEAR = Inequality(
    key="linear-convergence",
    statement="loss after a step at the safe rate",
    bound="proved",
    constant="L(x − ηg) ≤ (1 − ημ)L(x)",
    label="cor-linear-convergence",
    page=PAGE,
    left=_after,
    right=lambda p: _share_left(p) * loss(p.A, p.x, _toward(p)),
    fails_at=0.98,
    least_n=2,
    magnitude=lambda p: torch.ones_like(p.R),
)

INEQUALITIES = [CONVEXITY, PL, LINEAR]

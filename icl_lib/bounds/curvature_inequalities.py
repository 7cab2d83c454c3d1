"""The inequalities of gradient, Hessian and safe steps of softmax regression (section 5 of the part on bounds).

The formulas are in `curvature`.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from icl_lib.bounds.cumulants import C_3, centred
from icl_lib.bounds.curvature import (
    LOWER,
    MASS,
    TWO_WORDS_THIRD,
    UPPER,
    curvature_matrix,
    gradient_lipschitz,
    local_safe_rate,
    safe_rate,
    third_derivative,
    third_derivative_bound,
)
from icl_lib.bounds.inequality import Inequality, Setting, Side, apply
from icl_lib.bounds.sharp import jacobian_norm
from icl_lib.bounds.shifts import prediction_shift
from icl_lib.bounds.spread import centre, centred_norm, diameter, eigenvalues, norm, osc, spectral_norm
from icl_lib.softmax_regression.problem import apply_softmax_jacobian, gradient, hessian, loss

PAGE = "bounds/curvature"


def _f(p: Setting) -> Tensor:
    return p.z.softmax(-1)


def _curvatures(p: Setting) -> Tensor:
    return eigenvalues(curvature_matrix(_f(p), p.b))


def _curvatures_of_residual(p: Setting) -> Tensor:
    """The curvatures for a target that is no distribution: f − b = `_any_residual`."""
    f = _f(p)
    return eigenvalues(curvature_matrix(f, f - _any_residual(p)))


def _any_residual(p: Setting) -> Tensor:
    """(B − A)x, which may be any vector, enlarged so that its part of the curvature outweighs J²."""
    return 1e4 * p.by_A / p.R.square().unsqueeze(-1)


def _any_target(p: Setting) -> Tensor:
    return _f(p) - _any_residual(p)


def _curvatures_in_range(p: Setting, b: Tensor) -> Tensor:
    """Eigenvalues of QᵀBQ in ascending order, Q an orthonormal basis of the range of A: hᵀ∇²L h over ‖Ah‖²."""
    Q = torch.linalg.qr(p.A).Q
    return eigenvalues(Q.mT @ curvature_matrix(_f(p), b) @ Q)


def _local_curvature(p: Setting) -> Tensor:
    f = _f(p)
    J = jacobian_norm(f)
    return J * (J + centred(f, f - p.b).abs().amax(-1))


def _direction(p: Setting) -> Tensor:
    """PA h for the unit vector h along y − x: the change of the logits per unit of x, centred."""
    step = p.y - p.x
    return centre(apply(p.A, step / norm(step).clamp_min(torch.finfo(step.dtype).tiny).unsqueeze(-1)))


def _centred(p: Setting) -> Tensor:
    """PA in place of A: the same gradient and Hessian, without the cancellation of a large mean row."""
    return centre(p.A, dim=-2)


def _hessian_ends(p: Setting) -> Tensor:
    """Eigenvalues of ∇²L in ascending order, (..., d)."""
    return eigenvalues(hessian(_centred(p), p.x, p.b))


def _gain(p: Setting, rate: Tensor) -> Tensor:
    """½η‖∇L(x)‖², what a step of `rate` from x must at least bring down."""
    return 0.5 * rate * gradient(_centred(p), p.x, p.b).square().sum(-1)


def _decrease(p: Setting, rate: Tensor) -> Tensor:
    """L(x) − L(x − η∇L(x)) = −⟨c, h⟩ − ½‖h‖² with h the shift of f."""
    A = _centred(p)
    h = prediction_shift(p.z, apply(A, -rate.unsqueeze(-1) * gradient(A, p.x, p.b)))
    return -((p.z.softmax(-1) - p.b) * h).sum(-1) - 0.5 * h.square().sum(-1)


def _least_gradient(p: Setting, rate: Tensor, steps: int) -> Tensor:
    """min over t < `steps` of ‖∇L(x_t)‖² along gradient descent from x."""
    A, x, squares = _centred(p), p.x, []
    for _ in range(steps):
        g = gradient(A, x, p.b)
        squares.append(g.square().sum(-1))
        x = x - rate.unsqueeze(-1) * g
    return torch.stack(squares).amin(0)


def _global_rate(p: Setting) -> Tensor:
    return _capped(safe_rate(p.A))


def _local_rate(p: Setting) -> Tensor:
    return _capped(local_safe_rate(p.A, p.b))


def _capped(rate: Tensor) -> Tensor:
    """A rate that stays finite where A is a multiple of 1: there ∇L = 0 and every rate is safe."""
    return rate.clamp_max(1e6)


def _from_zero(p: Setting) -> Setting:
    return replace(p, x=torch.zeros_like(p.x))


def _sharp(
    key: str,
    statement: str,
    constant: str,
    label: str,
    left: Side,
    right: Side,
    fails_at: float = 0.98,
    bound: str = "sharp",
    magnitude: Side | None = None,
    proved: bool = True,
) -> Inequality:
    return Inequality(
        key, statement, bound, constant, label, PAGE, left, right, fails_at, magnitude=magnitude, proved=proved
    )


def _one(p: Setting) -> Tensor:
    return torch.ones_like(p.R)


GRADIENTS = [
    _sharp(
        "gradient",
        "‖∇L‖",
        "(8√2/27)‖PA‖",
        "thm-gradient",
        lambda p: norm(gradient(_centred(p), p.x, p.b)),
        lambda p: math.sqrt(2) * MASS * centred_norm(p.A),
        magnitude=lambda p: spectral_norm(p.A),
    ),
    _sharp(
        "gradient-by-hand",
        "‖∇L‖",
        "‖PA‖/√2",
        "thm-gradient",
        lambda p: norm(gradient(_centred(p), p.x, p.b)),
        lambda p: math.sqrt(0.5) * centred_norm(p.A),
        fails_at=0.58,
        bound="by hand",
        magnitude=lambda p: spectral_norm(p.A),
    ),
    _sharp(
        "gradient-diameter",
        "‖∇L‖",
        "(8/27) diam(A)",
        "thm-gradient",
        lambda p: norm(gradient(_centred(p), p.x, p.b)),
        lambda p: MASS * diameter(p.A),
        bound="sharp, diameter",
        magnitude=lambda p: spectral_norm(p.A),
    ),
    _sharp(
        "gradient-any-target",
        "‖∇L‖, any target",
        "osc(c)‖PA‖/2√2",
        "thm-gradient",
        lambda p: norm(apply(_centred(p).mT, apply_softmax_jacobian(_f(p), p.by_A))),
        lambda p: osc(p.by_A) / (2 * math.sqrt(2)) * centred_norm(p.A),
        magnitude=lambda p: spectral_norm(p.A),
    ),
]

HESSIANS = [
    _sharp(
        "hessian-above",
        "λ(∇²L) from above",
        "0.30812 ‖PA‖²",
        "thm-curvature",
        lambda p: _hessian_ends(p)[..., -1],
        lambda p: gradient_lipschitz(p.A),
        magnitude=lambda p: spectral_norm(p.A).square(),
    ),
    _sharp(
        "hessian-below",
        "−λ(∇²L) from above",
        "0.24041 ‖PA‖²",
        "thm-curvature",
        lambda p: -_hessian_ends(p)[..., 0],
        lambda p: LOWER * centred_norm(p.A).square(),
        magnitude=lambda p: spectral_norm(p.A).square(),
    ),
    _sharp(
        "hessian-by-hand",
        "λ(∇²L) from above",
        "(¼ + 2/3√3)‖PA‖²",
        "thm-curvature",
        lambda p: _hessian_ends(p)[..., -1],
        lambda p: (0.25 + 4 * C_3) * centred_norm(p.A).square(),
        fails_at=0.48,
        bound="by hand",
        magnitude=lambda p: spectral_norm(p.A).square(),
    ),
    _sharp(
        "curvature-above",
        "λ(B) from above",
        "0.30812",
        "thm-curvature",
        lambda p: _curvatures(p)[..., -1],
        lambda p: UPPER * _one(p),
        magnitude=_one,
    ),
    _sharp(
        "curvature-below",
        "−λ(B) from above",
        "0.24041",
        "thm-curvature",
        lambda p: -_curvatures(p)[..., 0],
        lambda p: LOWER * _one(p),
        magnitude=_one,
    ),
    _sharp(
        "curvature-above-any-target",
        "λ(B) from above, any target",
        "¼ + osc(c)/3√3",
        "thm-curvature",
        lambda p: _curvatures_of_residual(p)[..., -1],
        lambda p: 0.25 + osc(_any_residual(p)) / (3 * math.sqrt(3)),
        magnitude=lambda p: 1 + _any_residual(p).abs().amax(-1),
    ),
    _sharp(
        "curvature-below-any-target",
        "−λ(B) from above, any target",
        "osc(c)/3√3",
        "thm-curvature",
        lambda p: -_curvatures_of_residual(p)[..., 0],
        lambda p: osc(_any_residual(p)) / (3 * math.sqrt(3)),
        magnitude=lambda p: 1 + _any_residual(p).abs().amax(-1),
    ),
    _sharp(
        "curvature-local",
        "‖B‖, local",
        "‖J‖(‖J‖ + ‖c̃‖∞)",
        "thm-curvature",
        lambda p: _curvatures(p).abs().amax(-1),
        _local_curvature,
        magnitude=_one,
    ),
    _sharp(
        "hessian-lipschitz",
        "d³L[v, v, v]",
        "(1/√6 + (1 + osc b)/2√2)‖PA‖³",
        "thm-hessian-lipschitz",
        lambda p: third_derivative(_f(p), p.b, _direction(p)).abs(),
        lambda p: third_derivative_bound(p.b) * centred_norm(p.A) ** 3,
        fails_at=0.51,
        bound="proved",
        magnitude=lambda p: spectral_norm(p.A) ** 3,
    ),
    _sharp(
        "hessian-lipschitz-conjecture",
        "d³L[v, v, v]",
        "0.5714 ‖PA‖³",
        "conj-hessian-lipschitz",
        lambda p: third_derivative(_f(p), p.b, _direction(p)).abs(),
        lambda p: TWO_WORDS_THIRD * centred_norm(p.A) ** 3,
        bound="conjecture",
        magnitude=lambda p: spectral_norm(p.A) ** 3,
        proved=False,
    ),
]

CONVEXITY = [
    _sharp(
        "convexity",
        "−hᵀ∇²L h / ‖Ah‖²",
        "0.24041",
        "cor-convexity",
        lambda p: -_curvatures_in_range(p, p.b)[..., 0],
        lambda p: LOWER * _one(p),
        magnitude=_one,
    ),
    _sharp(
        "convexity-any-target",
        "−hᵀ∇²L h / ‖Ah‖², any target",
        "(1 + osc b)/3√3",
        "cor-convexity",
        lambda p: -_curvatures_in_range(p, _any_target(p))[..., 0],
        lambda p: (1 + osc(_any_target(p))) / (3 * math.sqrt(3)),
        magnitude=lambda p: 1 + _any_target(p).abs().amax(-1),
    ),
]

DESCENT = [
    _sharp(
        "descent",
        "descent at the safe rate",
        "½η‖g‖² ≤ L(x) − L(x − ηg)",
        "cor-descent",
        lambda p: _gain(p, _global_rate(p)),
        lambda p: _decrease(p, _global_rate(p)),
        fails_at=0.9,
        bound="proved",
        magnitude=_one,
    ),
    _sharp(
        "descent-local",
        "descent at the local rate, x₀ = 0",
        "½η‖g‖² ≤ L(0) − L(−ηg)",
        "prop-first-step",
        lambda p: _gain(_from_zero(p), _local_rate(p)),
        lambda p: _decrease(_from_zero(p), _local_rate(p)),
        fails_at=0.66,
        bound="proved",
        magnitude=_one,
    ),
    _sharp(
        "descent-many",
        "least gradient of 3 steps",
        "min ‖g_t‖² ≤ 2L(x₀)/3η",
        "cor-descent",
        lambda p: _least_gradient(p, _global_rate(p), steps=3),
        lambda p: 2 * loss(_centred(p), p.x, p.b) / (3 * _global_rate(p)),
        fails_at=0.45,
        bound="proved",
        magnitude=lambda p: centred_norm(p.A).square(),
    ),
]

INEQUALITIES = [*GRADIENTS, *HESSIANS, *CONVEXITY, *DESCENT]

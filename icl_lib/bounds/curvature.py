"""Gradient, Hessian and safe steps of softmax regression (section 5 of the part on bounds).

L(x) = ½‖f(Ax) − b‖². Distributions and targets have shape (..., n); b is called sub-stochastic when b ≥ 0 and
Σ b ≤ 1.
"""

import math
from dataclasses import replace

import numpy
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from icl_lib.bounds.cumulants import C_3, C_4, centred, fourth_cumulant
from icl_lib.bounds.inequality import Inequality, Setting, Side, apply
from icl_lib.bounds.sharp import jacobian, jacobian_norm
from icl_lib.bounds.shifts import prediction_shift
from icl_lib.bounds.spread import centre, centred_norm, diameter, eigenvalues, norm, osc, spectral_norm
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number
from icl_lib.softmax_regression.problem import apply_softmax_jacobian, gradient, hessian, loss

PAGE = "bounds/curvature"

#: Largest Σ (Jc)_+ of a sub-stochastic target, 8/27; √2 times it bounds ‖∇_z L‖.
MASS = 8 / 27

#: λ(B) lies in [−LOWER, UPPER] for every sub-stochastic target: what `certificate.py` certifies.
UPPER = 0.30812
LOWER = 0.24041

#: Extreme curvatures of two words, 13/384 ± 55√33/1152: the range cannot be smaller.
ATTAINED_ABOVE = 13 / 384 + 55 * math.sqrt(33) / 1152
ATTAINED_BELOW = -(13 / 384 - 55 * math.sqrt(33) / 1152)


@checked("f: ... n, b: ... n")
def curvature_matrix(f: Tensor, b: Tensor) -> Tensor:
    """B = J² + diag(f∘c̃) − (f∘c̃)fᵀ − f(f∘c̃)ᵀ, the Hessian of L in the logits, shape (..., n, n).

    See `prop-derivatives`.
    """
    fc = f * centred(f, f - b)
    J = jacobian(f)
    cross = fc.unsqueeze(-1) * f.unsqueeze(-2)
    return J @ J + torch.diag_embed(fc) - cross - cross.mT


@checked("f: ... n, b: ... n")
def laplacian_weights(f: Tensor, b: Tensor) -> Tensor:
    """ω_kl = f_k f_l (2f_k + 2f_l − b_k − b_l − 3‖f‖² + 2⟨f, b⟩), 0 on the diagonal, shape (..., n, n).

    vᵀBv = Σ_{k<l} ω_kl (v_k − v_l)². See `prop-cumulant-form`.
    """
    part = 2 * f - b
    level = 2 * (f * b).sum(-1) - 3 * f.square().sum(-1)
    bracket = part.unsqueeze(-1) + part.unsqueeze(-2) + level[..., None, None]
    weights = f.unsqueeze(-1) * f.unsqueeze(-2) * bracket
    return weights * (1 - torch.eye(f.shape[-1], dtype=f.dtype, device=f.device))


@checked("f: ... n, b: ... n, v: ... n")
def third_derivative(f: Tensor, b: Tensor, v: Tensor) -> Tensor:
    """d³L[v, v, v] = 3⟨Jv, f∘(ṽ² − Var v)⟩ + κ₄(v, v, v, c), shape (...). See `prop-cumulant-form`."""
    w = centred(f, v)
    second = f * (w.square() - (f * w.square()).sum(-1, keepdim=True))
    return 3 * (f * w * second).sum(-1) + fourth_cumulant(f, v, f - b)


@checked("b: ... n")
def third_derivative_bound(b: Tensor) -> Tensor:
    """1/√6 + (1 + osc b)/2√2: Lipschitz constant of ∇²L in units of ‖PA‖³, shape (...).

    See `thm-hessian-lipschitz`.
    """
    return 1 / math.sqrt(6) + 2 * math.sqrt(2) * C_4 * (1 + osc(b))


def third_derivative_of_two_words() -> float:
    """max |4√2 p²(1 − p)(4 − 15p + 12p²)| over p ∈ [0, 1]: the conjectured constant, from a root of its derivative.

    See `conj-hessian-lipschitz`.
    """
    p = Polynomial([0, 1])
    value = p**2 * (1 - p) * (4 - 15 * p + 12 * p**2)
    roots = numpy.asarray(value.deriv().roots(), dtype=complex)
    inside = [r.real for r in roots if abs(r.imag) < 1e-12 and 0 <= r.real <= 1]
    return 4 * math.sqrt(2) * max(abs(float(value(r))) for r in inside)


#: Largest |d³L[v, v, v]| of two words over ‖v‖³, 0.5714: conjectured to hold for every n.
TWO_WORDS_THIRD = third_derivative_of_two_words()


@checked("A: ... n d")
def gradient_lipschitz(A: Tensor) -> Tensor:
    """0.30812 ‖PA‖²: Lipschitz constant of ∇L for every sub-stochastic target, shape (...). See `thm-curvature`."""
    return UPPER * centred_norm(A).square()


@checked("A: ... n d", result="any")
def safe_rate(A: Tensor) -> Tensor:
    """η = 1/(0.30812 ‖PA‖²): from any x one step lowers L by at least ½η‖∇L‖², shape (...).

    Infinite where all words are equal: nothing moves there. See `cor-descent`.
    """
    return 1 / gradient_lipschitz(A)


@checked("A: ... n d, b: ... n", result="any")
def local_safe_rate(A: Tensor, b: Tensor) -> Tensor:
    """The largest η that the local descent corollary allows at x₀ = 0, shape (...).

    η = min(r/osc(A∇L(0)), n e^(−r)/((2e^r/n + osc b)‖PA‖²)) at the r where both agree; r by bisection. The first
    grows with r, the second falls. See `prop-first-step`.
    """
    n = A.shape[-2]
    zero = torch.zeros_like(A[..., 0, :])
    spread = osc(apply(A, gradient(A, zero, b)))
    square, width = centred_norm(A).square(), osc(b)

    def curvature_rate(r: Tensor) -> Tensor:
        return n * torch.exp(-r) / ((2 * torch.exp(r) / n + width) * square)

    low, high = torch.zeros_like(spread), torch.full_like(spread, 40.0)
    with torch.no_grad():
        for _ in range(60):
            middle = 0.5 * (low + high)
            fits = middle <= curvature_rate(middle) * spread
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return curvature_rate(high)


@checked("A: ... n d")
def convexity_weight(A: Tensor, strength: float) -> Tensor:
    """w² = 0.24041 + l/σ_min(A)²: L + ½‖diag(w)Ax‖² is l-strongly convex, l = `strength` > 0, shape (...).

    For sub-stochastic targets; raises `ValueError` where A lacks full column rank. See `cor-convexity`.
    """
    check_number("strength", strength, above=0)
    values, (n, d) = torch.linalg.svdvals(A), A.shape[-2:]
    if d > n or bool((values[..., -1] <= n * torch.finfo(A.dtype).eps * values[..., 0]).any()):
        raise ValueError("A must have full column rank, or no weight makes the problem strongly convex")
    return LOWER + strength / values[..., -1].square()


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

"""Gradient, Hessian and safe steps of softmax regression (section 5 of the part on bounds).

L(x) = ½‖f(Ax) − b‖². Distributions and targets have shape (..., n); b is called sub-stochastic when b ≥ 0 and
Σ b ≤ 1.
"""

import math

import numpy
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from icl_lib.bounds.cumulants import C_4, centred, fourth_cumulant
from icl_lib.bounds.inequality import apply
from icl_lib.bounds.sharp import jacobian
from icl_lib.bounds.spread import centred_norm, osc
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number
from icl_lib.softmax_regression.problem import gradient

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

    The polynomial has its five zeros in [0, 1], so by Rolle its derivative has all of its own there.
    See `conj-hessian-lipschitz`.
    """
    p = Polynomial([0, 1])
    value = p**2 * (1 - p) * (4 - 15 * p + 12 * p**2)
    return 4 * math.sqrt(2) * float(numpy.abs(value(value.deriv().roots().real)).max())


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

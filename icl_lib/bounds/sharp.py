"""Sharp bounds on the softmax and on its shifts (section 2 of the part on bounds)."""

import math

import torch
from torch import Tensor

from icl_lib.alignment import others
from icl_lib.bounds.best_constant import best_constant, best_constant_ceiling, largest_probability
from icl_lib.bounds.inequality import Inequality, Setting, Side
from icl_lib.bounds.shifts import divergence, log_mean_exp, prediction_shift
from icl_lib.bounds.spread import centre, centred_norm, diameter, eigenvalues, norm, osc, spectral_norm
from icl_lib.running.checked import checked

PAGE = "bounds/sharp-bounds"


@checked("f: ... n")
def jacobian(f: Tensor) -> Tensor:
    """J = diag f − f fᵀ, shape (..., n, n), each entry to its own precision. See `lem-jacobian`."""
    return torch.diagonal_scatter(-f.unsqueeze(-1) * f.unsqueeze(-2), f * others(f), dim1=-2, dim2=-1)


@checked("f: ... n")
def jacobian_norm(f: Tensor) -> Tensor:
    """‖J‖₂, the largest eigenvalue, shape (...). See `lem-jacobian`."""
    return eigenvalues(jacobian(f))[..., -1]


@checked("z: ... n")
def jacobian_norm_ceiling(z: Tensor) -> Tensor:
    """min(½, f_(1), 2 max f_i(1 − f_i), e^(osc z)/n) ≥ ‖J(z)‖, shape (...). See `lem-jacobian`."""
    f = z.softmax(-1)
    # e^(osc z)/n matters only below ½, so its exponent is cut at 0 and nothing overflows.
    spread = torch.exp((osc(z) - math.log(z.shape[-1])).clamp_max(0))
    return torch.minimum(torch.minimum(f.amax(-1), spread), (2 * f * others(f)).amax(-1).clamp_max(0.5))


@checked("f: ... n")
def jacobian_norm_floor(f: Tensor) -> Tensor:
    """max(f_(2), n/(n−1) max f_i(1 − f_i), (f_(1) + f_(2) − (f_(1) − f_(2))²)/2) ≤ ‖J‖, n ≥ 2, shape (...).

    See `lem-jacobian`.
    """
    n = f.shape[-1]
    if n < 2:
        raise ValueError(f"f must have n >= 2 entries, got {n}")
    first, second = f.topk(2, dim=-1).values.unbind(-1)
    one = n / (n - 1) * (f * others(f)).amax(-1)
    two = 0.5 * (first + second - (first - second).square())
    return torch.maximum(torch.maximum(second, one), two)


@checked("z: ... n, delta: ... n")
def jacobian_difference(z: Tensor, delta: Tensor) -> Tensor:
    """J(z + δ) − J(z) from the shift of f, without cancellation, shape (..., n, n). See `prop-first-order`."""
    f, h = z.softmax(-1), prediction_shift(z, delta)
    cross = f.unsqueeze(-1) * h.unsqueeze(-2)
    return torch.diag_embed(h) - cross - cross.mT - h.unsqueeze(-1) * h.unsqueeze(-2)


@checked("z: ... n, delta: ... n")
def total_variation(z: Tensor, delta: Tensor) -> Tensor:
    """TV(f(z + δ), f(z)) = ½‖f(z + δ) − f(z)‖₁, shape (...). See `thm-tanh`."""
    return 0.5 * prediction_shift(z, delta).abs().sum(-1)


@checked("delta: ... n")
def norm_law(delta: Tensor, p: float, q: float) -> Tensor:
    """2^(1/q) tanh(2^(−1−1/p) ‖δ‖_p): bound on ‖f(z + δ) − f(z)‖_q for all 1 ≤ p, q ≤ ∞, shape (...). See `cor-norms`.

    Raises `ValueError` unless p, q ≥ 1.
    """
    for name, value in (("p", p), ("q", q)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
            raise ValueError(f"{name} must be at least 1 (or infinity), got {value}")
    return 2 ** (1 / q) * torch.tanh(2 ** (-1 - 1 / p) * torch.linalg.vector_norm(delta, ord=p, dim=-1))


@checked("delta: ... n")
def tanh_law(delta: Tensor) -> Tensor:
    """√2 tanh(‖Pδ‖₂/(2√2)): bound on ‖f(z + δ) − f(z)‖₂ for shifts of any size, shape (...). See `thm-tanh`."""
    return math.sqrt(2) * torch.tanh(norm(centre(delta)) / (2 * math.sqrt(2)))


@checked("A: ... n d, step: ... d")
def diameter_bound(A: Tensor, step: Tensor) -> Tensor:
    """√2 tanh(diam(A) ‖Δx‖/4): bound on ‖b̃ − b‖ for a step Δx (..., d), whatever n, shape (...). See `cor-norms`."""
    return math.sqrt(2) * torch.tanh(diameter(A) * norm(step) / 4)


@checked("A: ... n d, b: ... n, x: ... d, B: ... n d, y: ... d")
def shifted_target(A: Tensor, b: Tensor, x: Tensor, B: Tensor, y: Tensor) -> Tensor:
    """b − (f(By) − f(Ax)), shape (..., n): b̃ when only x moves (B = A), b̂ when only A moves (y = x).

    It is the one target with f(Ax) − b̃ = f(By) − b. See `eq-shifted-targets`.
    """
    z = torch.einsum("...nd,...d->...n", A, x)
    return b - prediction_shift(z, torch.einsum("...nd,...d->...n", B, y) - z)


def _shift_x(p: Setting) -> Tensor:
    return prediction_shift(p.z, p.by_x)


def _shift_A(p: Setting) -> Tensor:
    return prediction_shift(p.z, p.by_A)


def _step_x(p: Setting) -> Tensor:
    return norm(p.y - p.x)


def _step_A(p: Setting) -> Tensor:
    return spectral_norm(p.B - p.A)


def _sharp(
    key: str,
    statement: str,
    constant: str,
    label: str,
    left: Side,
    right: Side,
    bound: str = "sharp",
    least_n: int = 1,
    magnitude: Side | None = None,
) -> Inequality:
    return Inequality(
        key, statement, bound, constant, label, PAGE, left, right, 0.98, least_n=least_n, magnitude=magnitude
    )


def _norms(p: float, q: float) -> Inequality:
    texts = {1: "1", 2: "2", 3: "3", 1.5: "1.5", math.inf: "∞"}
    constant = f"‖f − f'‖ in ℓ{texts[q]} by ‖δ‖ in ℓ{texts[p]}"
    return _sharp(
        f"norms-{texts[p]}-{texts[q]}".replace("∞", "max"),
        NORMS,
        constant,
        "cor-norms",
        lambda at: torch.linalg.vector_norm(_shift_x(at), ord=q, dim=-1),
        lambda at: norm_law(at.by_x, p, q),
    )


SHIFT = "bounded shift, moving"
FINITE = "shift of any size"
NORMS = "other norms"

BOUNDED_SHIFTS = [
    _sharp(
        "shift-x", f"{SHIFT} x", "R/2", "thm-sharp-shift", lambda p: norm(_shift_x(p)), lambda p: 0.5 * p.R * _step_x(p)
    ),
    _sharp(
        "shift-A", f"{SHIFT} A", "R/2", "thm-sharp-shift", lambda p: norm(_shift_A(p)), lambda p: 0.5 * p.R * _step_A(p)
    ),
    _sharp(
        "shift-x-centred",
        f"{SHIFT} x",
        "½‖PA‖",
        "thm-sharp-shift",
        lambda p: norm(_shift_x(p)),
        lambda p: 0.5 * centred_norm(p.A) * _step_x(p),
        bound="sharp, centred",
    ),
    _sharp(
        "shift-A-centred",
        f"{SHIFT} A",
        "½‖x‖",
        "thm-sharp-shift",
        lambda p: norm(_shift_A(p)),
        lambda p: 0.5 * centred_norm(p.B - p.A) * norm(p.x),
        bound="sharp, centred",
    ),
    _sharp(
        "shift-x-best",
        f"{SHIFT} x",
        "M*",
        "thm-best-constant",
        lambda p: norm(_shift_x(p)),
        lambda p: best_constant(p.n, p.R) * _step_x(p),
        bound="sharp, with n",
        least_n=2,
    ),
    _sharp(
        "shift-x-ceiling",
        f"{SHIFT} x",
        "R min(½, p*)",
        "thm-best-constant",
        lambda p: norm(_shift_x(p)),
        lambda p: best_constant_ceiling(p.n, p.R) * _step_x(p),
        bound="within 2",
        least_n=2,
    ),
    _sharp(
        "shift-A-best",
        f"{SHIFT} A",
        "M*",
        "thm-best-constant",
        lambda p: norm(_shift_A(p)),
        lambda p: best_constant(p.n, p.R) * _step_A(p),
        bound="sharp, with n",
        least_n=2,
    ),
    _sharp(
        "shift-A-ceiling",
        f"{SHIFT} A",
        "R min(½, p*)",
        "thm-best-constant",
        lambda p: norm(_shift_A(p)),
        lambda p: best_constant_ceiling(p.n, p.R) * _step_A(p),
        bound="within 2",
        least_n=2,
    ),
    _sharp(
        "shift-x-diameter",
        f"{SHIFT} x",
        "√2 tanh(diam(A)‖Δx‖/4)",
        "cor-norms",
        lambda p: norm(_shift_x(p)),
        lambda p: diameter_bound(p.A, p.y - p.x),
        bound="sharp, diameter",
    ),
    _sharp(
        "shift-x-diameter-linear",
        f"{SHIFT} x",
        "diam(A)/2√2",
        "cor-norms",
        lambda p: norm(_shift_x(p)),
        lambda p: diameter(p.A) / (2 * math.sqrt(2)) * _step_x(p),
        bound="sharp, diameter, linear",
    ),
    _sharp(
        "diameter",
        "diam(A)",
        "√2 ‖PA‖",
        "cor-norms",
        lambda p: diameter(p.A),
        lambda p: math.sqrt(2) * centred_norm(p.A),
        magnitude=lambda p: spectral_norm(p.A),
    ),
]

BALL = [
    _sharp(
        "largest-probability",
        "f₍₁₎ for ‖z‖ ≤ R²",
        "p*",
        "thm-best-constant",
        lambda p: p.z.softmax(-1).amax(-1),
        lambda p: largest_probability(p.n, p.R),
        least_n=2,
    ),
    _sharp(
        "jacobian-ball",
        "‖J‖ for ‖z‖ ≤ R²",
        "M*/R",
        "thm-best-constant",
        lambda p: jacobian_norm(p.z.softmax(-1)),
        lambda p: best_constant(p.n, p.R) / p.R,
        bound="sharp, with n",
        least_n=2,
    ),
    _sharp(
        "jacobian-ball-ceiling",
        "‖J‖ for ‖z‖ ≤ R²",
        "min(½, p*)",
        "thm-best-constant",
        lambda p: jacobian_norm(p.z.softmax(-1)),
        lambda p: best_constant_ceiling(p.n, p.R) / p.R,
        bound="within 2",
        least_n=2,
    ),
]

JACOBIANS = [
    _sharp(
        "jacobian-ceiling",
        "‖J‖ from above",
        "min(½, f₍₁₎, …)",
        "lem-jacobian",
        lambda p: jacobian_norm(p.z.softmax(-1)),
        lambda p: jacobian_norm_ceiling(p.z),
    ),
    _sharp(
        "jacobian-floor",
        "‖J‖ from below",
        "max(f₍₂₎, …)",
        "lem-jacobian",
        lambda p: jacobian_norm_floor(p.z.softmax(-1)),
        lambda p: jacobian_norm(p.z.softmax(-1)),
        least_n=2,
        magnitude=lambda p: torch.ones_like(p.R),
    ),
    _sharp(
        "jacobian-shift",
        "‖J − J'‖",
        "osc(δ)/3√3",
        "prop-first-order",
        lambda p: eigenvalues(jacobian_difference(p.z, p.by_x)).abs().amax(-1),
        lambda p: osc(p.by_x) / (3 * math.sqrt(3)),
    ),
    _sharp(
        "gradient-of-shifted-problem",
        "gradients of old and shifted problem",
        "(√2/3√3)‖PA‖‖AΔx‖‖c‖",
        "prop-first-order",
        lambda p: _gradient_gap(p),
        lambda p: math.sqrt(2) / (3 * math.sqrt(3)) * centred_norm(p.A) * norm(p.by_x) * norm(_residual_after(p)),
    ),
]

FINITE_SHIFTS = [
    _sharp(
        "tanh-tv",
        FINITE,
        "tanh(osc(δ)/4)",
        "thm-tanh",
        lambda p: total_variation(p.z, p.by_x),
        lambda p: torch.tanh(osc(p.by_x) / 4),
        bound="sharp, total variation",
    ),
    _sharp(
        "tanh-l2",
        FINITE,
        "√2 tanh(‖Pδ‖/2√2)",
        "thm-tanh",
        lambda p: norm(_shift_x(p)),
        lambda p: tanh_law(p.by_x),
    ),
    _sharp(
        "half-l2",
        FINITE,
        "½‖Pδ‖",
        "thm-sharp-shift",
        lambda p: norm(_shift_x(p)),
        lambda p: 0.5 * norm(centre(p.by_x)),
        bound="sharp, linear",
    ),
    _sharp(
        "max-osc",
        NORMS,
        "‖f − f'‖∞ ≤ ¼ osc δ",
        "cor-norms",
        lambda p: _shift_x(p).abs().amax(-1),
        lambda p: 0.25 * osc(p.by_x),
    ),
    _sharp(
        "one-osc",
        NORMS,
        "‖f − f'‖₁ ≤ ½ osc δ",
        "cor-norms",
        lambda p: _shift_x(p).abs().sum(-1),
        lambda p: 0.5 * osc(p.by_x),
    ),
    *[_norms(p, q) for p, q in ((1, 1), (1, math.inf), (math.inf, 1), (1, 2), (3, 1.5), (math.inf, math.inf))],
    _sharp(
        "divergence",
        NORMS,
        "KL(f, f') ≤ ⅛ osc(δ)²",
        "cor-norms",
        lambda p: divergence(p.z, p.by_x),
        lambda p: osc(p.by_x).square() / 8,
        magnitude=lambda p: p.by_x.abs().amax(-1),
    ),
    _sharp(
        "divergence-l2",
        NORMS,
        "KL(f, f') ≤ ¼ ‖δ‖₂²",
        "cor-norms",
        lambda p: divergence(p.z, p.by_x),
        lambda p: 0.25 * p.by_x.square().sum(-1),
        magnitude=lambda p: p.by_x.abs().amax(-1),
    ),
    _sharp(
        "log-ratio",
        NORMS,
        "log f_i/f'_i ≤ osc δ",
        "cor-norms",
        lambda p: (p.by_x - log_mean_exp(p.z, p.by_x).unsqueeze(-1)).abs().amax(-1),
        lambda p: osc(p.by_x),
    ),
]

INEQUALITIES = [*BOUNDED_SHIFTS, *BALL, *JACOBIANS, *FINITE_SHIFTS]


def _residual_after(p: Setting) -> Tensor:
    return p.z.softmax(-1) + _shift_x(p) - p.b


def _gradient_gap(p: Setting) -> Tensor:
    change = jacobian_difference(p.z, p.by_x) @ _residual_after(p).unsqueeze(-1)
    return norm((p.A.mT @ change).squeeze(-1))

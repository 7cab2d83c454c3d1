"""When do a step of x and a step of the document agree? (Section 4 of the part on bounds.)

Shapes as everywhere: A (..., n, d), x (..., d), b (..., n); logits (..., n).
"""

import math

import torch
from torch import Tensor

from icl_lib.bounds.cumulants import C_3, C_3_MIXED, C_4
from icl_lib.bounds.curvature import UPPER
from icl_lib.bounds.inequality import Inequality, Setting, Side, apply
from icl_lib.bounds.published import log_M
from icl_lib.bounds.sharp import tanh_law
from icl_lib.bounds.shifts import prediction_remainder, prediction_shift
from icl_lib.bounds.spread import centre, centred_norm, diameter, norm, osc, spectral_norm
from icl_lib.constructions import Weights
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_dtype, check_integer, check_number
from icl_lib.softmax_regression.problem import gradient

PAGE = "bounds/shifts-and-closeness"


def _rank_one(v: Tensor, x: Tensor) -> Tensor:
    """v xᵀ/‖x‖², the matrix of least norm that takes x to v."""
    if bool((x == 0).all(-1).any()):
        raise ValueError("x must not be 0: at x = 0 every document gives f = 1/n")
    return v.unsqueeze(-1) * x.unsqueeze(-2) / x.square().sum(-1)[..., None, None]


@checked("A: ... n d, x: ... d, dx: ... d")
def mirrored_shift(A: Tensor, x: Tensor, dx: Tensor) -> Tensor:
    """ΔA = −A Δx xᵀ/‖x‖²: obeys both bounds and moves f the other way, shape (..., n, d). See `prop-mirrored-shift`."""
    return -_rank_one(apply(A, dx), x)


@checked("A: ... n d, x: ... d, dx: ... d")
def matching_shift(A: Tensor, x: Tensor, dx: Tensor) -> Tensor:
    """ΔA* = P A Δx xᵀ/‖x‖², the least step of A with f((A + ΔA*)x) = f(A(x + Δx)), shape (..., n, d).

    See `thm-weight-is-data`.
    """
    return _rank_one(centre(apply(A, dx)), x)


@checked("x: ..., dA: ..., A: ..., dx: ...")
def triangle_bound(x: Tensor, dA: Tensor, A: Tensor, dx: Tensor) -> Tensor:
    """√2 tanh(S/(2√2)), S = ‖x‖‖ΔA‖ + ‖A‖‖Δx‖, from the four norms (...): bound on ‖Δ_SA − Δ_GD‖₂, shape (...).

    See `prop-triangle`.
    """
    return math.sqrt(2) * torch.tanh((x * dA + A * dx) / (2 * math.sqrt(2)))


@checked()
def mirror_images(x: float, dA: float, A: float, dx: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two words in two dimensions with these four norms that attain `triangle_bound`: x, ΔA, A, Δx.

    Needs |x·dA − A·dx| ≤ 2·A·x, or the ends cannot be made mirror images of each other. See `prop-triangle`.
    """
    for name, value in (("x", x), ("dA", dA), ("A", A), ("dx", dx)):
        check_number(name, value, above=0)
    along = (x * dA - A * dx) / (2 * A)
    if abs(along) > x:
        raise ValueError(f"dA must obey |x·dA − A·dx| <= 2·A·x, got x = {x}, dA = {dA}, A = {A}, dx = {dx}")
    apart = torch.tensor([[1.0], [-1.0]], dtype=torch.float64) / math.sqrt(2)
    point = torch.tensor([along, math.sqrt(x**2 - along**2)], dtype=torch.float64)
    e = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return point, -dA * apart * point / x, A * apart * e, dx * e


@checked("A: ... n d, dA: ... n d, x: ... d, dx: ... d")
def mismatch(A: Tensor, dA: Tensor, x: Tensor, dx: Tensor) -> Tensor:
    """μ = P(ΔA x − A Δx), shape (..., n): 0 exactly where the two steps give the same prediction.

    See `thm-mismatch`.
    """
    return centre(apply(dA, x) - apply(A, dx))


@checked("A: ... n d, b: ... n, z: ... n, eta: ..., s: ...")
def attention_step(A: Tensor, b: Tensor, z: Tensor, eta: Tensor, s: Tensor, heads: int = 1) -> Tensor:
    """Logits after one softmax-attention layer that imitates a descent step, shape (..., n).

    With r = b − softmax(z), one head adds (η/s) Σ_j softmax_j(s⟨a_i, a_j⟩ + z_j) r_j to z_i; two heads add half
    the difference of that sum at s and at −s. eta, s have shape (...). See `thm-one-head` and `thm-two-heads`.
    """
    check_integer("heads", heads, 1, 2)
    scores = s[..., None, None] * (A @ A.mT)
    r = b - z.softmax(-1)

    def head(scores: Tensor) -> Tensor:
        return apply((scores + z.unsqueeze(-2)).softmax(-1), r)

    update = head(scores) if heads == 1 else 0.5 * (head(scores) - head(-scores))
    return z + (eta / s).unsqueeze(-1) * update


@checked()
def attention_weights(d: int, eta: float, s: float, *, dtype: torch.dtype = torch.float64) -> Weights:
    """(W_Q, W_K, W_V), each (d+3, d+3): on tokens (a_j, z_j, r_j, 1), softmax attention writes the one-head step.

    Query (s a_i, 1), key (a_j, z_j), value (η/s) r_j in the z-entry; the caller adds the residual z_i.
    See `thm-one-head`.
    """
    check_count("d", d)
    check_number("eta", eta)
    check_number("s", s, above=0)
    check_dtype("dtype", dtype)
    W_Q, W_K, W_V = (torch.zeros(d + 3, d + 3, dtype=dtype) for _ in range(3))
    W_Q[:d, :d] = s * torch.eye(d, dtype=dtype)
    W_Q[d, d + 2] = 1
    W_K[: d + 1, : d + 1] = torch.eye(d + 1, dtype=dtype)
    W_V[d, d + 1] = eta / s
    return W_Q, W_K, W_V


@checked("A: ... n d, b: ... n, z: ... n, eta: ..., s: ...")
def attention_error(A: Tensor, b: Tensor, z: Tensor, eta: Tensor, s: Tensor, heads: int = 1) -> Tensor:
    """Logits of the attention step minus those of the descent step, up to the constant that softmax removes.

    Computed from the remainder of the shift beyond its linear part, so it is accurate however small s is.
    See `thm-one-head` and `thm-two-heads`.
    """
    check_integer("heads", heads, 1, 2)
    return eta.unsqueeze(-1) * _remainder(A, b - z.softmax(-1), z, s, heads)


def _remainder(A: Tensor, r: Tensor, z: Tensor, s: Tensor, heads: int) -> Tensor:
    """(h_i(s) − h_i(0))/s − h_i'(0), or (h_i(s) − h_i(−s))/2s − h_i'(0).

    h_i(s) = Σ_j softmax_j(s⟨a_i, a_j⟩ + z_j) r_j.
    """
    scores = s[..., None, None] * (A @ A.mT)
    start, scores = torch.broadcast_tensors(z.unsqueeze(-2), scores)
    forward = prediction_remainder(start, scores)
    if heads == 2:
        forward = 0.5 * (forward - prediction_remainder(start, -scores))
    return apply(forward, centre(r)) / s.unsqueeze(-1)


@checked("A: ... n d, r: ... n, eta: ..., s: ...")
def attention_error_bound(A: Tensor, r: Tensor, eta: Tensor, s: Tensor, heads: int = 1) -> Tensor:
    """η s D²V/(12√3) for one head, η s² D³V/48 for two: bound on every entry of the error, shape (...).

    D = max_i osc_j⟨a_i, a_j⟩, V = osc r. See `thm-one-head` and `thm-two-heads`.
    """
    check_integer("heads", heads, 1, 2)
    D, V = osc(A @ A.mT).amax(-1), osc(r)
    return eta * s * D.square() * V * C_3 / 2 if heads == 1 else eta * s.square() * D**3 * V * C_4 / 6


@checked("A: ... n d, b: ... n, z: ... n, eta: ..., s: ...")
def cross_entropy_error(A: Tensor, b: Tensor, z: Tensor, eta: Tensor, s: Tensor) -> Tensor:
    """Logits of plain attention, z_i + (ηn/s) Σ_j softmax_j(s⟨a_i, a_j⟩) r_j, minus those of the step on −Σ b log f.

    Needs Σ b = 1. Bounded by n times `attention_error_bound`. See `thm-cross-entropy`.
    """
    return A.shape[-2] * eta.unsqueeze(-1) * _remainder(A, b - z.softmax(-1), torch.zeros_like(z), s, heads=1)


@checked("A: ... n d, b: ... n, x0: ... d, eta: ...")
def descent_logits(A: Tensor, b: Tensor, x0: Tensor, eta: Tensor, steps: int) -> Tensor:
    """Logits A x_t of gradient descent from x0, t = 0 … steps, shape (steps + 1, ..., n). See `cor-depth`."""
    check_count("steps", steps)
    x, logits = x0, [apply(A, x0)]
    for _ in range(steps):
        x = x - eta.unsqueeze(-1) * gradient(A, x, b)
        logits.append(apply(A, x))
    return torch.stack(torch.broadcast_tensors(*logits))


@checked("A: ... n d, b: ... n, z0: ... n, eta: ..., s: ...")
def attention_logits(A: Tensor, b: Tensor, z0: Tensor, eta: Tensor, s: Tensor, steps: int, heads: int = 1) -> Tensor:
    """Logits after t = 0 … steps attention layers, a softmax unit between them, shape (steps + 1, ..., n).

    See `cor-depth`.
    """
    check_count("steps", steps)
    logits = [z0]
    for _ in range(steps):
        logits.append(attention_step(A, b, logits[-1], eta, s, heads))
    return torch.stack(torch.broadcast_tensors(*logits))


@checked("A: ... n d, b: ... n, eta: ..., s: ...", counts=("steps",))
def depth_bound(A: Tensor, b: Tensor, eta: Tensor, s: Tensor, steps: int) -> Tensor:
    """ε ((1 + γ)^T − 1)/γ ≥ ‖P(ẑ_T − z_T)‖₂ for one head, T = `steps`, shape (...). See `cor-depth`."""
    D = osc(A @ A.mT).amax(-1)
    epsilon = math.sqrt(A.shape[-2]) * eta * s * D.square() * (1 + osc(b)) * C_3 / 2
    gamma = eta * UPPER * centred_norm(A).square()
    # ((1 + γ)^T − 1)/γ as a sum, which has no quotient of small numbers.
    return epsilon * sum((1 + gamma) ** t for t in range(steps))


@checked("A: ... n d, b: ... n, eta: ..., s: ...")
def sensitivity_gap(A: Tensor, b: Tensor, eta: Tensor, s: Tensor) -> Tensor:
    """max_i ‖η Cov_{w_i}(a, b) − η Cov_unif(a, b)‖: query sensitivities of attention and descent at x₀ = 0.

    w_i = softmax_j(s⟨a_i, a_j⟩) = 1/n + h_i. With a and b centred uniformly the difference of the covariances is
    Σ h a b − (Σ h a)(Σ h b), which has no cancellation. See `prop-sensitivity`.
    """
    scores = s[..., None, None] * (A @ A.mT)
    h = prediction_shift(torch.zeros_like(scores), scores)
    rows, values = centre(A, dim=-2), centre(b)
    product = apply(h, values).unsqueeze(-1) * (h @ rows)
    return eta * norm((h * values.unsqueeze(-2)) @ rows - product).amax(-1)


@checked("A: ... n d, b: ... n, eta: ..., s: ...")
def sensitivity_gap_bound(A: Tensor, b: Tensor, eta: Tensor, s: Tensor) -> Tensor:
    """⅛ η s diam(A) D osc(b), shape (...). See `prop-sensitivity`."""
    return C_3_MIXED * eta * s * diameter(A) * osc(A @ A.mT).amax(-1) * osc(b)


def _r(p: Setting) -> Tensor:
    return p.b - p.z.softmax(-1)


def _gap(p: Setting) -> Tensor:
    """Δ_SA − Δ_GD = f((A + ΔA)x) − f(A(x + Δx)), without cancellation."""
    return prediction_shift(p.z + p.by_x, p.by_A - p.by_x)


def _smallest(p: Setting) -> Tensor:
    both = torch.minimum((p.z + p.by_x).softmax(-1), (p.z + p.by_A).softmax(-1))
    return both.amin(-1)


def _error(p: Setting, heads: int) -> Tensor:
    return attention_error(p.A, p.b, p.z, p.eta, p.s, heads)


def _bound(p: Setting, heads: int) -> Tensor:
    return attention_error_bound(p.A, _r(p), p.eta, p.s, heads)


def _attention_tv(p: Setting, heads: int) -> Tensor:
    error = _error(p, heads)
    after = p.z - p.eta.unsqueeze(-1) * apply(p.A, gradient(p.A, p.x, p.b))
    return 0.5 * prediction_shift(after, error).abs().sum(-1)


def _subtracted(p: Setting) -> Tensor:
    """Size of the terms whose difference is the attention error."""
    return p.eta * spectral_norm(p.A).square() * (p.b.abs().amax(-1) + 1)


def _attention(
    heads: int, name: str, texts: tuple[str, str], label: str, fails_at: tuple[float, float], bounds: tuple[str, str]
) -> list[Inequality]:
    """The two inequalities of the theorem for `heads` heads: on logits, and on predictions in total variation."""

    constant, halved = texts

    def one(what: str, text: str, left: Side, right: Side, fails_at: float, bound: str) -> Inequality:
        key = f"attention-{heads}-{'tv' if 'variation' in what else 'logits'}"
        return Inequality(
            key, f"{name}, {what}", bound, text, label, PAGE, left, right, fails_at, magnitude=_subtracted
        )

    return [
        one(
            "logits",
            constant,
            lambda p: _error(p, heads).abs().amax(-1),
            lambda p: _bound(p, heads),
            fails_at[0],
            bounds[0],
        ),
        one(
            "total variation",
            f"tanh({halved})",
            lambda p: _attention_tv(p, heads),
            lambda p: torch.tanh(_bound(p, heads) / 2),
            fails_at[1],
            bounds[1],
        ),
    ]


def _depth_gap(p: Setting) -> Tensor:
    layers = attention_logits(p.A, p.b, p.z, p.eta, p.s, 2)[-1]
    return centre(layers - descent_logits(p.A, p.b, p.x, p.eta, 2)[-1])


def _stochastic(p: Setting) -> Tensor:
    """The target scaled to Σ b = 1, as the cross-entropy statement needs it."""
    return p.b / p.b.sum(-1, keepdim=True)


TRIANGLE = Inequality(
    key="triangle",
    statement="difference of the two shifts",
    bound="sharp",
    constant="√2 tanh(S/2√2), S = ‖x‖‖ΔA‖ + ‖A‖‖Δx‖",
    label="prop-triangle",
    page=PAGE,
    left=lambda p: norm(_gap(p)),
    right=lambda p: triangle_bound(norm(p.x), spectral_norm(p.B - p.A), spectral_norm(p.A), norm(p.y - p.x)),
    fails_at=0.98,
)

TRIANGLE_LINEAR = Inequality(
    key="triangle-linear",
    statement="difference of the two shifts",
    bound="sharp, linear",
    constant="½(‖x‖‖ΔA‖ + ‖A‖‖Δx‖)",
    label="prop-triangle",
    page=PAGE,
    left=lambda p: norm(_gap(p)),
    right=lambda p: 0.5 * (norm(p.x) * spectral_norm(p.B - p.A) + spectral_norm(p.A) * norm(p.y - p.x)),
    fails_at=0.98,
)

TRIANGLE_PUBLISHED = Inequality(
    key="triangle-published",
    statement="difference of the two shifts",
    bound="published",
    constant="M(‖ΔA‖ + ‖Δx‖)",
    label="prop-triangle",
    page=PAGE,
    left=lambda p: norm(_gap(p)).log(),
    right=lambda p: log_M(p.n, p.R) + (spectral_norm(p.B - p.A) + norm(p.y - p.x)).log(),
    fails_at=0.0235,
    log=True,
)

MISMATCH_ABOVE = Inequality(
    key="mismatch-above",
    statement="mismatch law, from above",
    bound="sharp",
    constant="√2 tanh(‖μ‖/2√2)",
    label="thm-mismatch",
    page=PAGE,
    left=lambda p: norm(_gap(p)),
    right=lambda p: tanh_law(p.by_A - p.by_x),
    fails_at=0.98,
)

MISMATCH_BELOW = Inequality(
    key="mismatch-below",
    statement="mismatch law, from below",
    bound="sharp",
    constant="‖f_SA − f_GD‖ ≥ min f ‖μ‖",
    label="thm-mismatch",
    page=PAGE,
    left=lambda p: _smallest(p) * norm(centre(p.by_A - p.by_x)),
    right=lambda p: norm(_gap(p)),
    fails_at=0.98,
)

CROSS_ENTROPY = Inequality(
    key="attention-cross-entropy",
    statement="plain attention = cross-entropy step, logits",
    bound="proved",
    constant="ηns D²V/12√3",
    label="thm-cross-entropy",
    page=PAGE,
    left=lambda p: cross_entropy_error(p.A, _stochastic(p), p.z, p.eta, p.s).abs().amax(-1),
    right=lambda p: p.n * attention_error_bound(p.A, _stochastic(p) - p.z.softmax(-1), p.eta, p.s),
    fails_at=0.97,
    magnitude=lambda p: p.n * _subtracted(p),
)

SENSITIVITY = Inequality(
    key="sensitivity",
    statement="query sensitivities at x₀ = 0",
    bound="proved",
    constant="⅛ηs diam(A) D osc(b)",
    label="prop-sensitivity",
    page=PAGE,
    left=lambda p: sensitivity_gap(p.A, p.b, p.eta, p.s),
    right=lambda p: sensitivity_gap_bound(p.A, p.b, p.eta, p.s),
    fails_at=0.74,
    magnitude=lambda p: p.eta * spectral_norm(p.A) * p.b.abs().amax(-1),
)

DEPTH = Inequality(
    key="depth",
    statement="two attention layers = two steps, logits",
    bound="proved",
    constant="ε((1 + γ)² − 1)/γ",
    label="cor-depth",
    page=PAGE,
    left=lambda p: norm(_depth_gap(p)),
    right=lambda p: depth_bound(p.A, p.b, p.eta, p.s, steps=2),
    fails_at=0.4,
    magnitude=lambda p: descent_logits(p.A, p.b, p.x, p.eta, 2).abs().amax((0, -1)) + p.eta / p.s,
)

INEQUALITIES = [
    TRIANGLE,
    TRIANGLE_LINEAR,
    TRIANGLE_PUBLISHED,
    MISMATCH_ABOVE,
    MISMATCH_BELOW,
    *_attention(
        1, "attention = descent step", ("ηs D²V/12√3", "ηs D²V/24√3"), "thm-one-head", (0.98, 0.95), ("sharp", "proved")
    ),
    *_attention(
        2, "two heads = descent step", ("ηs² D³V/48", "ηs² D³V/96"), "thm-two-heads", (0.98, 0.98), ("sharp", "sharp")
    ),
    CROSS_ENTROPY,
    DEPTH,
    SENSITIVITY,
]

"""The expected losses of the layer f_M = softmax(A_q M h) over all matrices M, and what their excess measures.

M has shape (d, d); expectations are means over a batch of `Documents`.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Generator, Tensor

from icl_lib.alignment import jacobian_product
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_count, check_integer, check_number
from icl_lib.softmax_regression.documents import TASKS, Documents
from icl_lib.softmax_regression.layers import apply, logits
from icl_lib.softmax_regression.problem import centred_readout
from icl_lib.statistics import Measurement

LOSSES = ("cross-entropy", "squared")


@checked(f"{TASKS}, M: d d_")
def layer_logits(M: Tensor, tasks: Documents) -> Tensor:
    """A_q M h, shape (B, n). See `thm-excess-is-closeness`."""
    return logits(tasks.A_query, apply(M, centred_readout(tasks.A, tasks.b)))


@checked(f"{TASKS}, M: d d_")
def expected_loss(loss: str, M: Tensor, tasks: Documents) -> Tensor:
    """Mean of −Σ b_q log f_M (`"cross-entropy"`) or ½‖f_M − b_q‖² (`"squared"`). See `thm-excess-is-closeness`."""
    check_choice("loss", loss, LOSSES)
    log_f = layer_logits(M, tasks).log_softmax(-1)
    if loss == "cross-entropy":
        return -(tasks.b_query * log_f).sum(-1).mean()
    return 0.5 * (log_f.exp() - tasks.b_query).square().sum(-1).mean()


class Distance(NamedTuple):
    """How far the prediction of one layer is from that of another: mean KL divergence and mean squared distance."""

    divergence: Tensor
    squared_distance: Tensor


@checked(f"{TASKS}, M: d d_, other: d d_")
def closeness(M: Tensor, other: Tensor, tasks: Documents) -> Distance:
    """E KL(f_M ‖ f_other) and E‖f_M − f_other‖². See `thm-excess-is-closeness`."""
    log_f, log_g = (layer_logits(matrix, tasks).log_softmax(-1) for matrix in (M, other))
    divergence = (log_f.exp() * (log_f - log_g)).sum(-1).mean()
    return Distance(divergence, (log_f.exp() - log_g.exp()).square().sum(-1).mean())


@checked(TASKS)
def symmetrised(tasks: Documents) -> Documents:
    """The tasks under every permutation of the coordinates with signs, d ≤ 4: a sample with the symmetry of its law.

    See `prop-symmetric-optimum`.
    """
    d = tasks.A.shape[-1]
    if d > 4:
        raise ValueError(f"tasks must have d <= 4 dimensions, got {d}")
    eye = torch.eye(d, dtype=tasks.A.dtype)
    group = [
        torch.diag(torch.tensor(signs, dtype=tasks.A.dtype)) @ eye[list(order)]
        for signs in itertools.product((1.0, -1.0), repeat=d)
        for order in itertools.permutations(range(d))
    ]
    turned = [Documents(tasks.A @ Q, tasks.b, tasks.A_query @ Q, tasks.b_query, tasks.x @ Q) for Q in group]
    return Documents(*(torch.cat(parts) for parts in zip(*turned, strict=True)))


@checked(TASKS)
def best_multiple(loss: str, tasks: Documents) -> float:
    """The c for which the loss of cI is least on these tasks, to about 1e-9. See `thm-excess-is-closeness`."""
    check_choice("loss", loss, LOSSES)
    eye = torch.eye(tasks.A.shape[-1], dtype=tasks.A.dtype)
    if loss == "squared":
        found = minimize_scalar(
            lambda c: float(expected_loss(loss, c * eye, tasks)), bracket=(0.0, 1.0), tol=1e-10, method="brent"
        )
        return float(found.x)

    def slope(c: Tensor) -> tuple[float, float]:
        value = expected_loss(loss, c * eye, tasks)
        first = torch.autograd.grad(value, c, create_graph=True)[0]
        return float(first.detach()), float(torch.autograd.grad(first, c)[0])

    c = 0.0
    for _ in range(50):
        first, second = slope(torch.tensor(c, dtype=tasks.A.dtype, requires_grad=True))
        c -= first / second
        if abs(first) < 1e-15 * abs(second):
            break
    return c


@checked(f"{TASKS}, start: d d_")
def best_matrix(loss: str, tasks: Documents, start: Tensor) -> Tensor:
    """A matrix (d, d) at which descent on the mean loss ends from `start`, by BFGS. See `thm-squared-optimum`."""
    check_choice("loss", loss, LOSSES)
    tasks, d = Documents(*(part.double() for part in tasks)), tasks.A.shape[-1]

    def objective(flat: object) -> tuple[float, object]:
        M = torch.tensor(flat, dtype=torch.float64).view(d, d).requires_grad_()
        value = expected_loss(loss, M, tasks)
        return float(value.detach()), torch.autograd.grad(value, M)[0].flatten().numpy()

    with numpy.errstate(over="ignore", invalid="ignore"):
        found = minimize(objective, start.flatten().numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
    return torch.from_numpy(found.x).view(d, d)


class Turned(NamedTuple):
    """H_ρ(0) − H_ρ(φ) and its standard error over tasks."""

    difference: float
    standard_error: float


@checked(TASKS)
def turned_overlap(tasks: Documents, rho: float, angle: float, generator: Generator) -> Turned:
    """How much the overlap ⟨f(A_q w), f(A_q x*)⟩ loses when w = ρ h is turned by `angle` away from h, d ≥ 2.

    Tasks with a held query; the plane of the turn is drawn for each of them, and both signs of the angle are averaged.
    Condition (C) is that the expectation is ≥ 0. See `thm-squared-optimum`.
    """
    check_number("rho", rho, above=0)
    check_number("angle", angle, minimum=-math.pi, maximum=math.pi)
    if tasks.A.shape[-1] < 2:
        raise ValueError(f"tasks must have d >= 2 dimensions, got {tasks.A.shape[-1]}")
    h = rho * centred_readout(tasks.A, tasks.b)
    length = h.norm(dim=-1, keepdim=True)
    side = torch.randn(h.shape, generator=generator, dtype=h.dtype)
    side = side - (side * h).sum(-1, keepdim=True) * h / length.square()
    side = side * length / side.norm(dim=-1, keepdim=True)

    def overlap(w: Tensor) -> Tensor:
        return (logits(tasks.A_query, w).softmax(-1) * tasks.b_query).sum(-1)

    both = [overlap(math.cos(angle) * h + sign * math.sin(angle) * side) for sign in (1, -1)]
    lost = overlap(h) - 0.5 * (both[0] + both[1])
    return Turned(float(lost.mean()), float(lost.std() / math.sqrt(len(lost))))


@checked("A: ... n d, w: ... d, x: ... d")
def overlap_slope(A: Tensor, w: Tensor, x: Tensor) -> Tensor:
    """tr(J(Aw) J(Ax)) ≥ 0, shape (...): its mean times ‖w‖‖x‖ is the slope of the overlap in the cosine of w and x.

    See `lem-overlap`.
    """
    return jacobian_product(*(logits(A, v).softmax(-1) for v in (w, x)))


class SmallLogits(NamedTuple):
    """The best rate over n and the share of the loss that it removes, as the scale of the logits goes to 0."""

    c: float
    gain: float


@checked()
def same_document_limit(n: int, d: int) -> SmallLogits:
    """c = η/n = n(n+d)/(n² + 3nd + d² + n + 2) and gain (n+d)²/(n² + 3nd + d² + n + 2) on the document itself, n ≥ 2.

    See `prop-same-document`.
    """
    check_count("n", n, 2)
    check_count("d", d)
    cube = n * n + 3 * n * d + d * d + n + 2
    return SmallLogits(n * (n + d) / cube, (n + d) ** 2 / cube)


class LongDocuments(NamedTuple):
    """Γ and Λ: in documents of n words the best rate over n is 1 − Γ/n, and a share Λ/n of the loss is left."""

    shortening: float
    left: float


@checked()
def long_documents_at(length: float, d: int) -> LongDocuments:
    """Γ and Λ for weights of norm `length` > 0 in d dimensions, held query. See `thm-long-documents`."""
    check_number("length", length, above=0)
    check_count("d", d)
    square = length**2
    return _long_documents(d, lambda power, k: math.exp(power * square) * square**k)


@checked(result="any")
def long_documents(s: float, d: int) -> LongDocuments:
    """Γ and Λ averaged over weights N(0, s²I/d), held query; infinite unless d > 4s². See `thm-long-documents`."""
    check_number("s", s, above=0)
    check_count("d", d)
    variance = s * s / d
    if 4 * variance >= 1:
        return LongDocuments(math.inf, math.inf)

    def moment(power: int, k: int) -> float:
        rising = math.prod(d / 2 + i for i in range(k))
        return (2 * variance) ** k * rising * (1 - 2 * power * variance) ** (-d / 2 - k)

    return _long_documents(d, moment)


def _long_documents(d: int, moment: Callable[[int, int], float]) -> LongDocuments:
    """Γ and Λ from the moments E[e^(a τ²) τ^(2k)] = moment(a, k) of the length τ of the weights."""

    def mean(power: int, *coefficients: int) -> float:
        return sum(c * moment(power, k) for k, c in enumerate(coefficients))

    first = 0.5 * (mean(2, 2 * d, 2 * d + 6, 9, 3) - mean(1, 2 * d, 2 * d + 6, 3))
    second = mean(2, d, 2, 1) - mean(1, d, 1)
    return LongDocuments(first / mean(1, 0, 1, 1), second / (moment(1, 0) - 1))


class Fitted(NamedTuple):
    """The best rate over n and the loss there over that of the uniform prediction, with errors over tasks."""

    c: Measurement
    left: Measurement


@checked(TASKS)
def of_mean_zero(tasks: Documents) -> Tensor:
    """e^(τ²)(1 + τ²)(⟨h, x*⟩ − τ²(1 − ‖b‖²)), shape (B,): of mean 0 for Gaussian words, by Stein's lemma.

    To first order in h − x* what the slope of a held query's loss scatters by. See `thm-long-documents`.
    """
    square = tasks.x.square().sum(-1)
    expected = square * (1 - tasks.b.square().sum(-1))
    return square.exp() * (1 + square) * ((centred_readout(tasks.A, tasks.b) * tasks.x).sum(-1) - expected)


@checked("z: B n, b: B n, control?: B", numbers=("start",))
def fitted_multiple(
    z: Tensor, b: Tensor, control: Tensor | None = None, start: float = 1.0, iterations: int = 20
) -> Fitted:
    """The c near `start` at which the expected ½‖softmax(cz) − b‖² is least; logits z and targets b (B, n).

    Newton's method on c. The multiple of a `control` (B,) of mean 0 that the slopes follow is taken out of them.
    See `thm-long-documents`.
    """
    check_count("iterations", iterations)
    c, control = start, torch.zeros_like(z[:, 0]) if control is None else control
    spread = control - control.mean()
    for _ in range(iterations):
        f = (c * z).softmax(-1)
        centred = z - (f * z).sum(-1, keepdim=True)
        moved = f * centred
        slopes = ((f - b) * moved).sum(-1)
        slopes = slopes - (slopes * spread).sum() / spread.square().sum().clamp_min(1e-300) * control
        bend = moved * centred - f * (moved * centred).sum(-1, keepdim=True)
        curvature = float((moved.square() + (f - b) * bend).sum(-1).mean())
        c -= float(slopes.mean()) / curvature
    least, still = (0.5 * (p - b).square().sum(-1) for p in ((c * z).softmax(-1), torch.full_like(z, 1 / z.shape[1])))
    share = float(least.mean() / still.mean())
    root = math.sqrt(len(z))
    error = float((least - share * still).std() / still.mean()) / root
    return Fitted(Measurement(c, float(slopes.std()) / abs(curvature) / root), Measurement(share, error))


@checked("t: ...")
def endless_document(s: float, t: Tensor, heads: int = 1) -> Tensor:
    """e^{st} − 1, or sinh(st) for two heads, t = ⟨q, x*⟩: n times what a head of scale s reads as n → ∞.

    See `prop-endless-document`.
    """
    check_number("s", s)
    check_integer("heads", heads, 1, 2)
    return torch.expm1(s * t) if heads == 1 else torch.sinh(s * t)

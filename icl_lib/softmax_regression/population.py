"""The expected losses of the layer f_M = softmax(A_q M h) over all matrices M, and what their excess measures.

M has shape (d, d); expectations are means over a batch of `Documents`.
"""

import itertools
import math
from typing import NamedTuple

import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Generator, Tensor

from icl_lib.running.validation import check_choice, check_integer, check_last_dimensions, check_number
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.layers import apply, logits
from icl_lib.softmax_regression.problem import apply_softmax_jacobian, centred_readout

LOSSES = ("cross-entropy", "squared")


def layer_logits(M: Tensor, tasks: Documents) -> Tensor:
    """A_q M h, shape (B, n). See `thm-excess-is-closeness`."""
    check_last_dimensions("M", M, d=tasks.A.shape[-1], d_=tasks.A.shape[-1])
    return logits(tasks.A_query, apply(M, centred_readout(tasks.A, tasks.b)))


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


def closeness(M: Tensor, other: Tensor, tasks: Documents) -> Distance:
    """E KL(f_M ‖ f_other) and E‖f_M − f_other‖². See `thm-excess-is-closeness`."""
    log_f, log_g = (layer_logits(matrix, tasks).log_softmax(-1) for matrix in (M, other))
    divergence = (log_f.exp() * (log_f - log_g)).sum(-1).mean()
    return Distance(divergence, (log_f.exp() - log_g.exp()).square().sum(-1).mean())


def symmetrised(tasks: Documents) -> Documents:
    """The tasks under every permutation of the coordinates with signs, d ≤ 4: a sample with the symmetry of its law.

    See `prop-symmetric-optimum`.
    """
    d = tasks.A.shape[-1]
    check_integer("d", d, 1, 4)
    eye = torch.eye(d, dtype=tasks.A.dtype)
    group = [
        torch.diag(torch.tensor(signs, dtype=tasks.A.dtype)) @ eye[list(order)]
        for signs in itertools.product((1.0, -1.0), repeat=d)
        for order in itertools.permutations(range(d))
    ]
    turned = [Documents(tasks.A @ Q, tasks.b, tasks.A_query @ Q, tasks.b_query, tasks.x @ Q) for Q in group]
    return Documents(*(torch.cat(parts) for parts in zip(*turned, strict=True)))


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


def best_matrix(loss: str, tasks: Documents, start: Tensor) -> Tensor:
    """A matrix (d, d) at which descent on the mean loss ends from `start`, by BFGS. See `thm-squared-optimum`."""
    check_choice("loss", loss, LOSSES)
    d = tasks.A.shape[-1]

    def objective(flat: object) -> tuple[float, object]:
        M = torch.tensor(flat, dtype=torch.float64).view(d, d).requires_grad_()
        value = expected_loss(loss, M, tasks)
        return float(value.detach()), torch.autograd.grad(value, M)[0].flatten().numpy()

    found = minimize(objective, start.flatten().numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
    return torch.from_numpy(found.x).view(d, d)


class Turned(NamedTuple):
    """H_ρ(0) − H_ρ(φ) and its standard error over tasks."""

    difference: float
    standard_error: float


def turned_overlap(tasks: Documents, rho: float, angle: float, generator: Generator) -> Turned:
    """How much the overlap ⟨f(A_q w), f(A_q x*)⟩ loses when w = ρ h is turned by `angle` away from h, d ≥ 2.

    Tasks with a held query; the plane of the turn is drawn for each of them, and both signs of the angle are averaged.
    Condition (C) is that the expectation is ≥ 0. See `thm-squared-optimum`.
    """
    check_number("rho", rho, above=0)
    check_number("angle", angle, minimum=-math.pi, maximum=math.pi)
    check_integer("d", tasks.A.shape[-1], 2)
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


def overlap_slope(A: Tensor, w: Tensor, x: Tensor) -> Tensor:
    """tr(J(Aw) J(Ax)) ≥ 0, shape (...): its mean times ‖w‖‖x‖ is the slope of the overlap in the cosine of w and x.

    See `lem-overlap`.
    """
    eye = torch.eye(A.shape[-2], dtype=A.dtype)
    first, second = (
        apply_softmax_jacobian(logits(A, v).softmax(-1).unsqueeze(-2), eye.expand(*A.shape[:-2], -1, -1))
        for v in (w, x)
    )
    return (first * second).sum((-2, -1))


class SmallLogits(NamedTuple):
    """The best rate over n and the share of the loss that it removes, as the scale of the logits goes to 0."""

    c: float
    gain: float


def same_document_limit(n: int, d: int) -> SmallLogits:
    """c = η/n = n(n+d)/(n² + 3nd + d² + n + 2) and gain (n+d)²/(n² + 3nd + d² + n + 2) on the document itself, n ≥ 2.

    See `prop-same-document`.
    """
    check_integer("n", n, 2)
    check_integer("d", d, 1)
    cube = n * n + 3 * n * d + d * d + n + 2
    return SmallLogits(n * (n + d) / cube, (n + d) ** 2 / cube)


def endless_document(s: float, t: Tensor, heads: int = 1) -> Tensor:
    """e^{st} − 1, or sinh(st) for two heads, t = ⟨q, x*⟩: n times what a head of scale s reads as n → ∞.

    See `prop-endless-document`.
    """
    check_number("s", s)
    check_integer("heads", heads, 1, 2)
    return torch.expm1(s * t) if heads == 1 else torch.sinh(s * t)

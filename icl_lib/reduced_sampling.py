"""Softmax-regression tasks by what a linear layer sees of them, instead of by their documents.

For Gaussian documents all that training needs has a closed distribution given x* = ‖x*‖ x̂. With g = A x̂,
r = b − 1/n and u = r/‖r‖ the read-out is h = Aᵀr = x̂⟨r, g⟩ + ‖r‖ P⊥ξ, ξ ~ N(0, I_d), P⊥ = I − x̂x̂ᵀ.
For any direction w that depends on the document through h alone, the logits of the query document are

    held:  A_q w = g₁ ⟨x̂, w⟩ + ‖w⊥‖ g₂                       (g₁ = A_q x̂ and g₂ fresh normals)
    same:  A w   = g ⟨x̂, w⟩ + u ⟨P⊥ξ, w⟩ + ‖w⊥‖ (I − uuᵀ) ζ   (ζ fresh normals)

with w⊥ = P⊥w. That takes 3n + 2d (same: 2n + 2d) normals a task instead of 2nd (nd), and is exact in
distribution; the gradient has the same expectation as the explicit one and less noise, being its conditional
mean. `tests/test_reduced_sampling.py` holds both samplers against each other.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from icl_lib.tasks import SoftmaxRegression
from icl_lib.validation import check_integer


class ReducedTasks(NamedTuple):
    """A batch of tasks in reduced form. Leading dimensions (R, B): repetitions and tasks.

    `h`, `direction` (= x̂) and `readout` (= P⊥ξ, only for the same document) are (R, B, d); `along` (g₁ or g),
    `across` (g₂ or ζ), `target` (b of the query) and `residual` (u, only for the same document) are (R, B, n).
    """

    h: Tensor
    direction: Tensor
    along: Tensor
    across: Tensor
    target: Tensor
    residual: Tensor | None
    readout: Tensor | None


def draw(
    task: SoftmaxRegression, batch: int, generators: Sequence[Generator], device: torch.device, dtype: torch.dtype
) -> ReducedTasks:
    """`batch` tasks for each of the R generators, which lie on `device`; each repetition draws from its own."""
    check_integer("batch", batch, 1)
    documents = 2 if task.query == "same" else 3
    R = len(generators)
    words = torch.empty(R, documents, batch, task.n, device=device, dtype=dtype)
    inputs = torch.empty(R, 2, batch, task.d, device=device, dtype=dtype)
    for index, generator in enumerate(generators):
        words[index].normal_(generator=generator)
        inputs[index].normal_(generator=generator)
    return assemble(task, words, inputs)


def assemble(task: SoftmaxRegression, words: Tensor, inputs: Tensor) -> ReducedTasks:
    """Reduced tasks from normals: `words` (R, 3 or 2, B, n) and `inputs` (R, 2, B, d)."""
    x = inputs[:, 0] * (task.scale / math.sqrt(task.d))
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    direction = x / size
    xi = inputs[:, 1]
    perpendicular = xi - direction * torch.linalg.vecdot(direction, xi).unsqueeze(-1)
    g = words[:, 0]
    b = torch.softmax(g * size, dim=-1)
    # r = b − 1/n is never formed for a held query: its products with g and itself are enough.
    norm = (torch.linalg.vecdot(b, b) - 1 / task.n).clamp_min(0).sqrt().unsqueeze(-1)
    product = (torch.linalg.vecdot(b, g) - g.mean(-1)).unsqueeze(-1)
    h = direction * product + norm * perpendicular
    if task.query == "held":
        target = torch.softmax(words[:, 1] * size, dim=-1)
        return ReducedTasks(h, direction, words[:, 1], words[:, 2], target, None, None)
    # A uniform b (n = 1, or scale → 0) has no residual: u = 0 then, and the whole of ζ stays.
    residual = (b - 1 / task.n) / norm.clamp_min(torch.finfo(b.dtype).tiny)
    return ReducedTasks(h, direction, g, words[:, 1], b, residual, perpendicular)


class _Parts(NamedTuple):
    """The logits of the query document for directions w, and what their gradient needs again."""

    logits: Tensor
    perpendicular: Tensor
    size: Tensor
    overlap: Tensor | None


def _parts(tasks: ReducedTasks, w: Tensor) -> _Parts:
    along = torch.linalg.vecdot(tasks.direction, w).unsqueeze(-1)
    perpendicular = w - along * tasks.direction
    size = torch.linalg.vector_norm(perpendicular, dim=-1, keepdim=True)
    logits = (tasks.along * along).addcmul_(tasks.across, size)
    if tasks.residual is None or tasks.readout is None:
        return _Parts(logits, perpendicular, size, None)
    overlap = torch.linalg.vecdot(tasks.residual, tasks.across).unsqueeze(-1)
    shift = torch.linalg.vecdot(tasks.readout, w).unsqueeze(-1) - size * overlap
    return _Parts(logits.addcmul_(tasks.residual, shift), perpendicular, size, overlap)


def logits(tasks: ReducedTasks, w: Tensor) -> Tensor:
    """Logits of the query document for directions w (R, B, d), shape (R, B, n)."""
    return _parts(tasks, w).logits


def matrix_gradient(tasks: ReducedTasks, M: Tensor) -> Tensor:
    """Gradient over M (R, d, d) of the sum over tasks of (n/2)‖softmax(A_q M h) − b‖², shape (R, d, d).

    By the formula Aᵀ J(f)(f − b) in the reduced coordinates; a test holds it against autograd.
    """
    w = tasks.h @ M.mT
    parts = _parts(tasks, w)
    f = torch.softmax(parts.logits, dim=-1)
    c = f - tasks.target
    slope = c.sub_(torch.linalg.vecdot(f, c).unsqueeze(-1)).mul_(f).mul_(f.shape[-1])
    on_along = torch.linalg.vecdot(slope, tasks.along).unsqueeze(-1)
    on_across = torch.linalg.vecdot(slope, tasks.across).unsqueeze(-1)
    on_w = tasks.direction * on_along
    if tasks.residual is not None and tasks.readout is not None and parts.overlap is not None:
        on_residual = torch.linalg.vecdot(slope, tasks.residual).unsqueeze(-1)
        on_across = on_across - on_residual * parts.overlap
        on_w = on_w + tasks.readout * on_residual
    # ∇‖w⊥‖ = w⊥/‖w⊥‖; where w⊥ = 0 (d = 1) the numerator is 0 too.
    on_w = on_w + parts.perpendicular * (on_across / parts.size.clamp_min(torch.finfo(f.dtype).tiny))
    return on_w.mT @ tasks.h

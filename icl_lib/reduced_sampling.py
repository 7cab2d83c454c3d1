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
    `across` (g₂ or ζ) and `target` (b of the query) are (R, B, n); `residual_size` (= ‖r‖, only for the same
    document) is (R, B, 1).
    """

    h: Tensor
    direction: Tensor
    along: Tensor
    across: Tensor
    target: Tensor
    residual_size: Tensor | None
    readout: Tensor | None


def draw(
    task: SoftmaxRegression, batch: int, generators: Sequence[Generator], device: torch.device, dtype: torch.dtype
) -> ReducedTasks:
    """`batch` tasks for each of the R generators, which lie on `device`; each repetition draws from its own.

    Normals are drawn in float32 whatever `dtype` is: in float64 they would cost several times as much, and the
    rounding is only another task.
    """
    check_integer("batch", batch, 1)
    documents = 2 if task.query == "same" else 3
    R = len(generators)
    words = torch.empty(R, documents, batch, task.n, device=device, dtype=torch.float32)
    inputs = torch.empty(R, 2, batch, task.d, device=device, dtype=torch.float32)
    for index, generator in enumerate(generators):
        words[index].normal_(generator=generator)
        inputs[index].normal_(generator=generator)
    return assemble(task, words.to(dtype), inputs.to(dtype))


def assemble(task: SoftmaxRegression, words: Tensor, inputs: Tensor) -> ReducedTasks:
    """Reduced tasks from normals: `words` (R, 3 or 2, B, n) and `inputs` (R, 2, B, d)."""
    x = inputs[:, 0] * (task.scale / math.sqrt(task.d))
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    direction = x / size
    perpendicular = torch.addcmul(inputs[:, 1], direction, _dot(direction, inputs[:, 1]), value=-1)
    g = words[:, 0]
    scratch = g * size
    b = torch.softmax(scratch, dim=-1)
    # r = b − 1/n is never formed: its products with g and itself are enough.
    norm = torch.linalg.vector_norm(b, dim=-1, keepdim=True).square_().sub_(1 / task.n).clamp_min_(0).sqrt_()
    product = _dot(b, g, scratch).sub_(g.mean(-1, keepdim=True))
    h = (direction * product).addcmul_(norm, perpendicular)
    if task.query == "same":
        return ReducedTasks(h, direction, g, words[:, 1], b, norm, perpendicular)
    target = torch.softmax(torch.mul(words[:, 1], size, out=scratch), dim=-1)
    return ReducedTasks(h, direction, words[:, 1], words[:, 2], target, None, None)


def _dot(v: Tensor, w: Tensor, scratch: Tensor | None = None) -> Tensor:
    """⟨v, w⟩ over the last dimension, kept; `scratch` (the shape of v) is overwritten where it is given."""
    return torch.mul(v, w, out=scratch).sum(-1, keepdim=True)


class _Parts(NamedTuple):
    """The logits of the query document for directions w, and what their gradient needs again."""

    logits: Tensor
    perpendicular: Tensor
    size: Tensor
    overlap: Tensor | None
    inverse: Tensor | None


def _parts(tasks: ReducedTasks, w: Tensor) -> _Parts:
    along = _dot(tasks.direction, w)
    perpendicular = torch.addcmul(w, along, tasks.direction, value=-1)
    size = torch.linalg.vector_norm(perpendicular, dim=-1, keepdim=True)
    if tasks.residual_size is None or tasks.readout is None:
        logits = (tasks.along * along).addcmul_(tasks.across, size)
        return _Parts(logits, perpendicular, size, None, None)
    # u = (b − 1/n)/‖r‖ is not formed either. A uniform b (n = 1) has no residual: u = 0, and the whole of ζ stays.
    inverse = torch.where(tasks.residual_size > 0, 1 / tasks.residual_size, 0)
    overlap = (_dot(tasks.target, tasks.across) - tasks.across.mean(-1, keepdim=True)) * inverse
    shift = (_dot(tasks.readout, w) - size * overlap) * inverse
    logits = torch.addcmul(shift / -tasks.target.shape[-1], tasks.along, along)
    return _Parts(
        logits.addcmul_(tasks.across, size).addcmul_(tasks.target, shift), perpendicular, size, overlap, inverse
    )


def logits(tasks: ReducedTasks, w: Tensor) -> Tensor:
    """Logits of the query document for directions w (R, B, d), shape (R, B, n)."""
    return _parts(tasks, w).logits


def matrix_gradient(tasks: ReducedTasks, M: Tensor) -> Tensor:
    """Gradient over M (R, d, d) of the sum over tasks of (n/2)‖softmax(A_q M h) − b‖², shape (R, d, d).

    By the formula Aᵀ J(f)(f − b) in the reduced coordinates; a test holds it against autograd.
    """
    parts = _parts(tasks, tasks.h @ M.mT)
    f = torch.softmax(parts.logits, dim=-1)
    # J(f)c = f∘c − f⟨f, c⟩, in the memory of the logits; that of f is free once it is done.
    slope = torch.sub(f, tasks.target, out=parts.logits).mul_(f)
    slope.addcmul_(f, slope.sum(-1, keepdim=True), value=-1)
    on_along = _dot(slope, tasks.along, scratch=f)
    on_across = _dot(slope, tasks.across, scratch=f)
    on_w = tasks.direction * on_along
    if tasks.readout is not None and parts.overlap is not None and parts.inverse is not None:
        # ⟨slope, u⟩, since a slope sums to 0.
        on_residual = _dot(slope, tasks.target, scratch=f) * parts.inverse
        on_across = on_across - on_residual * parts.overlap
        on_w = on_w.addcmul_(tasks.readout, on_residual)
    # ∇‖w⊥‖ = w⊥/‖w⊥‖; where w⊥ = 0 (d = 1) the numerator is 0 too.
    on_w = on_w.addcmul_(parts.perpendicular, on_across / parts.size.clamp_min(torch.finfo(f.dtype).tiny))
    return (on_w.mT @ tasks.h).mul_(f.shape[-1])

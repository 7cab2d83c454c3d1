"""Softmax-regression tasks by what a linear layer sees of them, instead of by their documents.

For Gaussian documents all that training needs has a closed distribution given x* = ‖x*‖ x̂. With g = A x̂,
r = b − 1/n and u = r/‖r‖ the read-out is h = Aᵀr = x̂⟨r, g⟩ + ‖r‖ P⊥ξ, ξ ~ N(0, I_d), P⊥ = I − x̂x̂ᵀ.
For any direction w that depends on the document through h alone, the logits of the query document are

    held:  A_q w = g₁ ⟨x̂, w⟩ + ‖w⊥‖ g₂                       (g₁ = A_q x̂ and g₂ fresh normals)
    same:  A w   = g ⟨x̂, w⟩ + u ⟨P⊥ξ, w⟩ + ‖w⊥‖ (I − uuᵀ) ζ   (ζ fresh normals)

with w⊥ = P⊥w. The gradient of a loss with the slope s in those logits has one part more, that of the words' components
in which no logit depends. With the projection P_rest off x̂ and w⊥ and ξ' ~ N(0, I_d), independent of all else,

    held:  A_qᵀs = x̂⟨g₁, s⟩ + ŵ⊥⟨g₂, s⟩ + ‖s‖ P_rest ξ'
    same:  Aᵀs   = x̂⟨g, s⟩ + P⊥ξ⟨u, s⟩ + ŵ⊥⟨ζ, s'⟩ + ‖s'‖ P_rest ξ',   s' = (I − uuᵀ)s

since s depends on the document through the logits and h alone, which leave Zᵀs ~ N(0, ‖s‖² I) in those components. The
last part has mean zero, and is what a constant rate makes a layer wander by. All that takes 3n + 3d (same: 2n + 3d)
normals a task instead of 2nd (nd); loss and gradient are exact in distribution.
`tests/softmax_regression/test_reduced_sampling.py` holds both samplers against each other.
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_count, check_filled
from icl_lib.softmax_regression.documents import QUERIES, SoftmaxRegression

# What `checked` asks of the argument `tasks`. Contents are not looked at: these functions are the steps of a training,
# and what is not a number in their arguments is none in what they return.
REDUCED = (
    "tasks.h: R B d, tasks.direction: R B d, tasks.along: R B n, tasks.across: R B n, tasks.target: R B n, "
    "tasks.rest: R B d"
)


class Residual(NamedTuple):
    """What ties the logits of a document to its own read-out: 1/‖r‖ and ⟨u, ζ⟩ (R, B, 1), P⊥ξ (R, B, d)."""

    inverse: Tensor
    overlap: Tensor
    readout: Tensor


class ReducedTasks(NamedTuple):
    """A batch of tasks in reduced form. Leading dimensions (R, B): repetitions and tasks.

    `h`, `direction` (= x̂) and `rest` (= ξ') are (R, B, d); `along` (g₁ or g), `across` (g₂ or ζ) and `target` (the
    query's b) are (R, B, n). `residual` is there for the same document only.
    """

    h: Tensor
    direction: Tensor
    along: Tensor
    across: Tensor
    target: Tensor
    rest: Tensor
    residual: Residual | None


@checked(contents=False)
def draw(
    task: SoftmaxRegression, batch: int, generators: Sequence[Generator], device: torch.device, dtype: torch.dtype
) -> ReducedTasks:
    """`batch` tasks for each of the R generators, which lie on `device`; each repetition draws from its own."""
    check_count("batch", batch)
    words, inputs, own = (
        draw_normals(shape, generators, device, dtype)
        for shape in ((2, batch, task.n), (3, batch, task.d), (1, batch, task.n))
    )
    return assemble(task, (task.query,), words, inputs, own[:, 0])[task.query]


@checked(contents=False)
def draw_normals(
    shape: Sequence[int], generators: Sequence[Generator], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Standard normals of the `shape` from each of the R generators, which lie on `device`: (R, ...).

    They are drawn in float32 whatever `dtype` is: in float64 they would cost several times as much, and the rounding is
    only another task.
    """
    for size in shape:
        check_count("shape", size)
    drawn = torch.empty(len(generators), *shape, device=device, dtype=torch.float32)
    for part, generator in zip(drawn, generators, strict=True):
        part.normal_(generator=generator)
    return drawn.to(dtype)


@checked("words: R two=2 B n, inputs: R three=3 B d, own?: R B n", contents=False)
def assemble(
    task: SoftmaxRegression, queries: Collection[str], words: Tensor, inputs: Tensor, own: Tensor | None
) -> dict[str, ReducedTasks]:
    """Reduced tasks from normals, for each of `queries`.

    `words` (R, 2, B, n) holds g and g₂ or ζ, `inputs` (R, 3, B, d) x*, ξ and ξ' in units of their deviations, `own`
    (R, B, n) g₁, which a held-out query needs. None is changed, so that tasks of another d can have the same words.
    """
    check_filled("queries", queries)
    for query in queries:
        check_choice("queries", query, QUERIES)
    if "held" in queries and own is None:
        raise ValueError("own must be normals where queries holds 'held', got None")
    x, xi, rest = inputs.unbind(1)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    direction = x / length
    size = length * (task.scale / math.sqrt(task.d))
    perpendicular = torch.addcmul(xi, direction, _dot(direction, xi), value=-1)
    g, across = words.unbind(1)
    # Of all ways to exponentials a softmax is the fastest here.
    b = torch.softmax(g * size, dim=-1)
    # r = b − 1/n is never formed: its products with g, ζ and itself are enough.
    norm = torch.linalg.vector_norm(b, dim=-1, keepdim=True).square_().sub_(1 / task.n).clamp_min_(0).sqrt_()
    # Memory that is in the cache is used again: where no query is the document, b has served when h is known.
    scratch = torch.empty_like(b) if "same" in queries else b

    def product(v: Tensor) -> Tensor:
        return _dot(b, v, scratch).sub_(v.sum(-1, keepdim=True), alpha=1 / task.n)

    h = (direction * product(g)).addcmul_(norm, perpendicular)
    tasks = {}
    if "same" in queries:
        # A uniform b (n = 1) has no residual: u = 0 then, and the whole of ζ stays.
        inverse = norm.reciprocal().nan_to_num_(posinf=0)
        residual = Residual(inverse, product(across) * inverse, perpendicular)
        tasks["same"] = ReducedTasks(h, direction, g, across, b, rest, residual)
    if own is not None and "held" in queries:
        target = torch.softmax(torch.mul(own, size, out=scratch), dim=-1)
        tasks["held"] = ReducedTasks(h, direction, own, across, target, rest, None)
    return tasks


def _dot(v: Tensor, w: Tensor, scratch: Tensor | None = None) -> Tensor:
    """⟨v, w⟩ over the last dimension, kept; `scratch` (the shape of v, or v) is overwritten where it is given."""
    return torch.mul(v, w, out=scratch).sum(-1, keepdim=True)


class _Parts(NamedTuple):
    """The query's logits for directions w, too large by `shift`/n in each task, and what their gradient needs again."""

    logits: Tensor
    perpendicular: Tensor
    size: Tensor
    shift: Tensor | None


def _parts(tasks: ReducedTasks, w: Tensor) -> _Parts:
    along = _dot(tasks.direction, w)
    perpendicular = torch.addcmul(w, along, tasks.direction, value=-1)
    size = torch.linalg.vector_norm(perpendicular, dim=-1, keepdim=True)
    logits = (tasks.along * along).addcmul_(tasks.across, size)
    if tasks.residual is None:
        return _Parts(logits, perpendicular, size, None)
    inverse, overlap, readout = tasks.residual
    shift = (_dot(readout, w) - size * overlap) * inverse
    return _Parts(logits.addcmul_(tasks.target, shift), perpendicular, size, shift)


@checked(f"{REDUCED}, w: R B d", contents=False)
def logits(tasks: ReducedTasks, w: Tensor) -> Tensor:
    """Logits of the query document for directions w (R, B, d), shape (R, B, n)."""
    parts = _parts(tasks, w)
    return parts.logits if parts.shift is None else parts.logits - parts.shift / parts.logits.shape[-1]


@checked(f"{REDUCED}, M: R d d_", contents=False)
def matrix_gradient(tasks: ReducedTasks, M: Tensor) -> Tensor:
    """Gradient over M (R, d, d) of the sum over tasks of (n/2)‖softmax(A_q M h) − b‖², shape (R, d, d).

    It is n Σ (A_qᵀ J(f)(f − b)) hᵀ in the reduced coordinates; a test holds it against autograd on documents that have
    these coordinates. See `prop-derivatives`.
    """
    parts = _parts(tasks, tasks.h @ M.mT)
    # A softmax is blind to the shift.
    f = torch.softmax(parts.logits, dim=-1)
    # J(f)c = f∘c − f⟨f, c⟩, in the memory of the logits; that of f is free once it is done.
    slope = torch.sub(f, tasks.target, out=parts.logits).mul_(f)
    slope.addcmul_(f, slope.sum(-1, keepdim=True), value=-1)
    on_along = _dot(slope, tasks.along, scratch=f)
    on_across = _dot(slope, tasks.across, scratch=f)
    length = torch.linalg.vector_norm(slope, dim=-1, keepdim=True)
    on_w = tasks.rest * length
    if tasks.residual is not None:
        inverse, overlap, readout = tasks.residual
        # ⟨slope, u⟩, since a slope sums to 0.
        on_residual = _dot(slope, tasks.target, scratch=f) * inverse
        on_across = on_across - on_residual * overlap
        length = length.square().addcmul_(on_residual, on_residual, value=-1).clamp_min_(0).sqrt_()
        on_w = torch.mul(tasks.rest, length, out=on_w).addcmul_(readout, on_residual)
    # ξ' lies off x̂ and w⊥.
    on_along = on_along - length * _dot(tasks.direction, tasks.rest)
    on_w.addcmul_(tasks.direction, on_along)
    # ∇‖w⊥‖ = w⊥/‖w⊥‖; where w⊥ = 0 (d = 1, or M = 0) the numerators are 0 too.
    size = parts.size.clamp_min(torch.finfo(f.dtype).tiny)
    on_across = on_across - length * (_dot(parts.perpendicular, tasks.rest) / size)
    on_w.addcmul_(parts.perpendicular, on_across / size)
    return (on_w.mT @ tasks.h).mul_(f.shape[-1])

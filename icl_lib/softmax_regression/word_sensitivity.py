"""Closeness of layers whose query word enters in other ways than through one direction and a softmax unit.

`alignment.model_diff` and `alignment.model_cos` cover sensitivities S_ij w with one direction w for all words.
Here J[i, j, :] = S_ij w_j, S = diag p − q qᵀ: directions may differ from word to word (softmax inside the
attention) and the softmax unit may be missing (S = I). Nothing of size n × n is formed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.running.validation import check_last_dimensions


class Sensitivity(NamedTuple):
    """J[i, j, :] = (diag p − q qᵀ)_ij w_j, with p and q (..., n) and w (..., n or 1, d)."""

    p: Tensor
    q: Tensor
    w: Tensor


def of_softmax(f: Tensor, w: Tensor) -> Sensitivity:
    """Of predictions f (..., n) = softmax(z) with ∂z_j/∂a_j = w_j, w (..., n, d), or (..., 1, d) for all alike.

    See `sec-closeness-metrics`.
    """
    check_last_dimensions("f", f, n=None)
    check_last_dimensions("w", w, words=None, d=None)
    if w.shape[-2] not in (1, f.shape[-1]):
        raise ValueError(f"w must have one word or {f.shape[-1]}, got {tuple(w.shape)}")
    return Sensitivity(f, f, w)


def of_logits(f: Tensor, w: Tensor) -> Sensitivity:
    """Of predictions f (..., n) that are the logits themselves, without a softmax unit: J[i, j, :] = δ_ij w_j.

    See `sec-closeness-metrics`.
    """
    return of_softmax(f, w)._replace(p=torch.ones_like(f), q=torch.zeros_like(f))


def product(J: Sensitivity, J2: Sensitivity) -> Tensor:
    """⟨J, J'⟩ = Σ_j ⟨w_j, w'_j⟩ (p p' − p q'² − p' q² + q q' ⟨q, q'⟩)_j, shape (...). See `sec-closeness-metrics`."""
    qq = J.q * J2.q
    columns = J.p * J2.p - J.p * J2.q.square() - J2.p * J.q.square() + qq * qq.sum(-1, keepdim=True)
    return ((J.w * J2.w).sum(-1) * columns).sum(-1)


def model_diff(J: Sensitivity, J2: Sensitivity) -> Tensor:
    """Model Diff ‖J − J'‖_F, shape (...); exact to about √ε times ‖J‖, as it comes from inner products.

    See `sec-closeness-metrics`.
    """
    return (product(J, J) - 2 * product(J, J2) + product(J2, J2)).clamp_min(0).sqrt()


def model_cos(J: Sensitivity, J2: Sensitivity) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖), shape (...); 0 where a sensitivity vanishes or is lost in rounding.

    The latter happens where a softmax saturates: S cancels to 0 and what is left of it has no direction.
    See `sec-closeness-metrics`.
    """
    squares = _square(J) * _square(J2)
    tiny = torch.finfo(squares.dtype).tiny
    cosine = product(J, J2) / squares.sqrt().clamp_min(tiny)
    return torch.where(squares > 0, cosine, torch.zeros_like(cosine))


def _square(J: Sensitivity) -> Tensor:
    """‖J‖², or 0 where it is below the rounding of its terms."""
    square = product(J, J)
    rounding = 8 * torch.finfo(square.dtype).eps * (J.w.square().sum(-1) * J.p.square()).sum(-1)
    return torch.where(square > rounding, square, torch.zeros_like(square))

"""Closeness of layers whose query word enters in other ways than through one direction and a softmax unit.

`alignment.model_diff` and `alignment.model_cos` cover sensitivities S_ij w with one direction w for all words.
Here J[i, j, :] = S_ij w_j, S = diag p − q qᵀ: directions may differ from word to word (softmax inside the
attention) and the softmax unit may be missing (S = I). Nothing of size n × n is formed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.alignment import Products, others, without_largest
from icl_lib.running.checked import checked

LAYOUT = "J.p: ... n, J.q: ... n, J.w: ... words d, J2.p: ... n, J2.q: ... n, J2.w: ... words_2 d"


class Sensitivity(NamedTuple):
    """J[i, j, :] = (diag p − q qᵀ)_ij w_j, with p and q (..., n) and w (..., n or 1, d)."""

    p: Tensor
    q: Tensor
    w: Tensor


@checked("f: ... n, w: ... words d")
def of_softmax(f: Tensor, w: Tensor) -> Sensitivity:
    """Of predictions f (..., n) = softmax(z) with ∂z_j/∂a_j = w_j, w (..., n, d), or (..., 1, d) for all alike.

    See `sec-closeness-metrics`.
    """
    if w.shape[-2] not in (1, f.shape[-1]):
        raise ValueError(f"w must have one word or {f.shape[-1]}, got {tuple(w.shape)}")
    return Sensitivity(f, f, w)


@checked("f: ... n, w: ... words d")
def of_logits(f: Tensor, w: Tensor) -> Sensitivity:
    """Of predictions f (..., n) that are the logits themselves, without a softmax unit: J[i, j, :] = δ_ij w_j.

    See `sec-closeness-metrics`.
    """
    return of_softmax(f, w)._replace(p=torch.ones_like(f), q=torch.zeros_like(f))


@checked(LAYOUT)
def product(J: Sensitivity, J2: Sensitivity) -> Tensor:
    """⟨J, J'⟩ = Σ_j ⟨w_j, w'_j⟩ [(p − q²)(p' − q'²) + q q' (⟨q, q'⟩ − q q')]_j, shape (...).

    Without cancellation where a softmax saturates. See `sec-closeness-metrics`.
    """
    for name, one in (("J", J), ("J2", J2)):
        if one.w.shape[-2] not in (1, one.p.shape[-1]):
            raise ValueError(f"{name}.w must have one word or {one.p.shape[-1]}, got {tuple(one.w.shape)}")
    qq = J.q * J2.q
    apart = without_largest(qq.sum(-1, keepdim=True) - qq, qq)
    return ((J.w * J2.w).sum(-1) * (_diagonal(J) * _diagonal(J2) + qq * apart)).sum(-1)


def _diagonal(J: Sensitivity) -> Tensor:
    """p − q², which is f (1 − f) of a softmax."""
    return torch.where(J.p == J.q, J.p * others(J.q), J.p - J.q.square())


def _products(J: Sensitivity, J2: Sensitivity) -> Products:
    return Products(product(J, J), product(J, J2), product(J2, J2))


@checked(LAYOUT)
def model_cos(J: Sensitivity, J2: Sensitivity) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖), shape (...); 0 where a sensitivity vanishes. See `sec-closeness-metrics`."""
    return _products(J, J2).cos


@checked(LAYOUT)
def model_diff_and_cos(J: Sensitivity, J2: Sensitivity) -> tuple[Tensor, Tensor]:
    """Model Diff ‖J − J'‖_F, exact to about √ε times ‖J‖, and `model_cos`, shape (...). See `sec-closeness-metrics`."""
    products = _products(J, J2)
    return products.diff, products.cos

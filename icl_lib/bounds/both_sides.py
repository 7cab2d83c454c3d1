"""Attention with the document on both sides of the exponential: softmax(A₁ X A₂ᵀ) row by row, and how far it shifts.

Documents A₁, A₂ (..., n, d), weights X (..., d, d); leading dimensions are batch. See `cor-both-sides`.
"""

import torch
from torch import Tensor

from icl_lib.bounds.inequality import Inequality, Setting, Side
from icl_lib.bounds.shifts import prediction_shift
from icl_lib.bounds.spread import norm, spectral_norm
from icl_lib.running.checked import checked


@checked("A1: ... n d, X: ... d d_, A2: ... n d")
def attention(A1: Tensor, X: Tensor, A2: Tensor) -> Tensor:
    """F = D⁻¹ exp(A₁ X A₂ᵀ), each row a softmax over the words of A₂, shape (..., n, n). See `cor-both-sides`."""
    return torch.softmax(A1 @ X @ A2.mT, dim=-1)


@checked("A1: ... n d, A2: ... n d, X: ... d d_, Y: ... d d_")
def shift_of_weights(A1: Tensor, A2: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """½ ‖A₁‖ ‖A₂‖ ‖Y − X‖_F ≥ ‖F(Y) − F(X)‖_F, shape (...). See `cor-both-sides`."""
    return 0.5 * spectral_norm(A1) * spectral_norm(A2) * torch.linalg.matrix_norm(Y - X)


@checked("A: ... n d, B: ... n d, X: ... d d_")
def shift_of_document(A: Tensor, B: Tensor, X: Tensor) -> Tensor:
    """½ (‖A‖ + ‖B‖) ‖X‖ ‖B − A‖_F ≥ ‖F(B) − F(A)‖_F, the same document on both sides, (...). See `cor-both-sides`."""
    return 0.5 * (spectral_norm(A) + spectral_norm(B)) * spectral_norm(X) * torch.linalg.matrix_norm(B - A)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left.unsqueeze(-1) * right.unsqueeze(-2)


def _moved(logits: Tensor, by: Tensor) -> Tensor:
    """‖F' − F‖_F for logits (..., n, n) that move by `by`, without cancellation."""
    return torch.linalg.matrix_norm(prediction_shift(logits, by))


def _weights_moved(p: Setting) -> Tensor:
    """The weights move from x yᵀ to y yᵀ between the documents A and B."""
    return _moved(p.A @ _outer(p.x, p.y) @ p.B.mT, p.A @ _outer(p.y - p.x, p.y) @ p.B.mT)


def _document_moved(p: Setting) -> Tensor:
    """The document moves from A to B on both sides of the weights x yᵀ."""
    X, step = _outer(p.x, p.y), p.B - p.A
    return _moved(p.A @ X @ p.A.mT, step @ X @ p.B.mT + p.A @ X @ step.mT)


def _both(key: str, constant: str, left: Side, right: Side) -> Inequality:
    return Inequality(
        key, "document on both sides", "sharp", constant, "cor-both-sides", "bounds/sharp-bounds", left, right, 0.98
    )


INEQUALITIES = [
    _both(
        "both-sides-weights",
        "½‖A₁‖‖A₂‖‖Y − X‖",
        _weights_moved,
        lambda p: 0.5 * spectral_norm(p.A) * spectral_norm(p.B) * norm(p.y - p.x) * norm(p.y),
    ),
    _both(
        "both-sides-document",
        "½(‖A‖ + ‖B‖)‖X‖‖B − A‖",
        _document_moved,
        lambda p: shift_of_document(p.A, p.B, _outer(p.x, p.y)),
    ),
]

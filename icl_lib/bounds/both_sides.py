"""Attention with the document on both sides of the exponential: softmax(A₁ X A₂ᵀ) row by row, and how far it shifts.

Documents A₁, A₂ (..., n, d), weights X (..., d, d); leading dimensions are batch. See `cor-both-sides`.
"""

import torch
from torch import Tensor

from icl_lib.bounds.spread import spectral_norm
from icl_lib.running.validation import check_last_dimensions


def attention(A1: Tensor, X: Tensor, A2: Tensor) -> Tensor:
    """F = D⁻¹ exp(A₁ X A₂ᵀ), each row a softmax over the words of A₂, shape (..., n, n). See `cor-both-sides`."""
    n, d = A1.shape[-2:]
    check_last_dimensions("A1", A1, n=None, d=None)
    check_last_dimensions("X", X, d=d, d_=d)
    check_last_dimensions("A2", A2, n=n, d=d)
    return torch.softmax(A1 @ X @ A2.mT, dim=-1)


def shift_of_weights(A1: Tensor, A2: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """½ ‖A₁‖ ‖A₂‖ ‖Y − X‖_F ≥ ‖F(Y) − F(X)‖_F, shape (...). See `cor-both-sides`."""
    return 0.5 * spectral_norm(A1) * spectral_norm(A2) * torch.linalg.matrix_norm(Y - X)


def shift_of_document(A: Tensor, B: Tensor, X: Tensor) -> Tensor:
    """½ (‖A‖ + ‖B‖) ‖X‖ ‖B − A‖_F ≥ ‖F(B) − F(A)‖_F, the same document on both sides, (...). See `cor-both-sides`."""
    return 0.5 * (spectral_norm(A) + spectral_norm(B)) * spectral_norm(X) * torch.linalg.matrix_norm(B - A)

"""Softmax regression: prediction, loss, gradient, Hessian and one gradient-descent step.

Definition 1.3 of paper 1: min over x of ½‖f(x) − b‖², f(x) = ⟨exp(Ax), 1ₙ⟩⁻¹ exp(Ax).
Shapes: A (..., n, d), x (..., d), b (..., n); leading dimensions are batch and broadcast.
Everything runs in the dtype and on the device of its inputs.
"""

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number


@checked("A: ... n d, x: ... d")
def predict(A: Tensor, x: Tensor) -> Tensor:
    """f(x) = softmax(Ax), shape (..., n): never overflows, since the largest logit is subtracted.

    See `def-softmax-regression`.
    """
    return torch.softmax(torch.einsum("...nd,...d->...n", A, x), dim=-1)


@checked("A: ... n d, x: ... d, b: ... n")
def loss(A: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """L(x) = ½‖f(x) − b‖₂², shape (...). See `def-softmax-regression`."""
    return 0.5 * (predict(A, x) - b).square().sum(-1)


@checked("f: ... n, v: ... n")
def apply_softmax_jacobian(f: Tensor, v: Tensor) -> Tensor:
    """J(f) v = f ∘ (v − ⟨f, v⟩) with J = diag f − f fᵀ, shape (..., n), in O(n). See `prop-derivatives`."""
    return f * (v - (f * v).sum(-1, keepdim=True))


@checked("A: ... n d, x: ... d, b: ... n")
def gradient(A: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """∇L(x) = Aᵀ J (f − b), shape (..., d), in O(nd). See `prop-derivatives`."""
    f = predict(A, x)
    return torch.einsum("...nd,...n->...d", A, apply_softmax_jacobian(f, f - b))


@checked("A: ... n d, x: ... d, b: ... n")
def hessian(A: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """∇²L(x) = Aᵀ B A, shape (..., d, d), in O(nd²), n × n matrices never formed.

    B = J² + diag(f∘c̃) − (f∘c̃)fᵀ − f(f∘c̃)ᵀ, c̃ = c − ⟨f, c⟩, c = f − b. See `prop-derivatives`.
    """
    f = predict(A, x)
    c = f - b
    fc = f * (c - (f * c).sum(-1, keepdim=True))
    mean = torch.einsum("...nd,...n->...d", A, f)
    JA = f.unsqueeze(-1) * (A - mean.unsqueeze(-2))
    cross = torch.einsum("...nd,...n->...d", A, fc).unsqueeze(-1) * mean.unsqueeze(-2)
    diagonal = torch.einsum("...nd,...n,...ne->...de", A, fc, A)
    return JA.mT @ JA + diagonal - cross - cross.mT


@checked("A: ... n d, x0?: ... d, b: ... n")
def step(A: Tensor, b: Tensor, rate: float, x0: Tensor | None = None) -> Tensor:
    """One gradient-descent step x₁ = x₀ − rate · ∇L(x₀), shape (..., d); x₀ = 0 where it is left out.

    From 0 this is x₁ = (rate/n) Aᵀ(b − mean b): gradient descent with rate η sees the document through η/n.
    Raises `TypeError` or `ValueError` for shapes that do not fit and for a rate that is not finite.
    See `eq-first-step`.
    """
    check_number("rate", rate)
    if x0 is None:
        return (rate / A.shape[-2]) * centred_readout(A, b)
    return x0 - rate * gradient(A, x0, b)


@checked("A: ... n d, b: ... n")
def centred_readout(A: Tensor, b: Tensor) -> Tensor:
    """h = Aᵀ(b − mean b), shape (..., d): all that one step from x₀ = 0 takes from the document.

    See `eq-first-step`.
    """
    return torch.einsum("...nd,...n->...d", A, b - b.mean(-1, keepdim=True))

"""Explicit weights with which one self-attention layer is a gradient-descent step, not nearly so but exactly."""

import math

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_number

Weights = tuple[Tensor, Tensor, Tensor]
FourWeights = tuple[Tensor, Tensor, Tensor, Tensor]


def _square(size: int, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    return torch.zeros(size, size, dtype=dtype, device=device)


def _inputs_only(size: int, d: int, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    """diag(I_d, 0): the part of a token that holds its input."""
    W = _square(size, dtype, device)
    W[:d, :d] = torch.eye(d, dtype=dtype, device=device)
    return W


@checked()
def softmax_regression_step(
    n: int, d: int, rate: float, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Weights:
    """(W_Q, W_K, W_V), each (d+2, d+2): linear SA on tokens (a_i, b_i, 1) writes A_q x₁ into the b-entry.

    x₁ is the step from 0 with the given rate; the constant channel centres b by its mean 1/n. A softmax over
    words on top gives f(x₁) on the query document. See `thm-layer-is-step`.
    """
    check_count("n", n)
    check_count("d", d)
    check_number("rate", rate)
    W = _inputs_only(d + 2, d, dtype, device)
    W_V = _square(d + 2, dtype, device)
    W_V[d, d] = rate / n
    W_V[d, d + 1] = -rate / n**2
    return W, W.clone(), W_V


@checked()
def linear_regression_step(
    n: int, d: int, rate: float, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Weights:
    """(W_Q, W_K, W_V), each (d+1, d+1): linear SA on tokens (x_i, y_i) writes ⟨W₁, x_query⟩ into the y-entry.

    W₁ = (rate/n) Σ y_i x_i is the step on (1/2n) Σ (⟨W, x_i⟩ − y_i)² from W₀ = 0. See `eq-linear-regression-step`.
    """
    check_count("n", n)
    check_count("d", d)
    check_number("rate", rate)
    W = _inputs_only(d + 1, d, dtype, device)
    W_V = _square(d + 1, dtype, device)
    W_V[d, d] = rate / n
    return W, W.clone(), W_V


def _class_values(d: int, classes: int, gain: float, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    """gain · diag(0, I − 11ᵀ/C): values are labels with their mean over classes removed."""
    W_V = _square(d + classes, dtype, device)
    centring = torch.eye(classes, dtype=dtype, device=device) - 1 / classes
    W_V[d:, d:] = gain * centring
    return W_V


@checked()
def linear_classifier_step(
    n: int,
    d: int,
    classes: int,
    rate: float,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Weights:
    """(W_Q, W_K, W_V), each (d+C, d+C): linear SA on (x_i, y_i) gives the logits of one cross-entropy step.

    Logits (rate/n) Σ (y_i − 1/C)⟨x_i, x_query⟩ in the y-entry of the query. See `prop-linear-step`.
    """
    check_count("n", n)
    check_count("d", d)
    check_count("classes", classes, 2)
    check_number("rate", rate)
    W = _inputs_only(d + classes, d, dtype, device)
    return W, W.clone(), _class_values(d, classes, rate / n, dtype, device)


@checked()
def activated_classifier_step(
    n: int,
    d: int,
    classes: int,
    rate: float,
    *,
    beta: float = 1.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Weights:
    """(W_Q, W_K, W_V), each (d+C, d+C): attention with a kernel activation k gives the logits of one kernel step.

    Logits (rate/n) Σ (y_i − 1/C) k(√|β| x_query, √|β| x_i), up to the sign of β on x_query: e^{β⟨x_i, x_query⟩} with
    `attention.exponential_activation`, and k(x_query, x_i) itself at β = 1. The query's token has no value, so it is
    the same whether it is masked or not. See `prop-activated-step`.
    """
    check_count("n", n)
    check_number("rate", rate)
    return kernel_classifier_step(d, classes, beta, rate / n, dtype=dtype, device=device)


@checked()
def kernel_classifier_step(
    d: int,
    classes: int,
    beta: float,
    rate: float,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Weights:
    """(W_Q, W_K, W_V), each (d+C, d+C): softmax SA gives the logits of one context-adaptive kernel step.

    Logits (rate/Z) Σ (y_i − 1/C) e^{β⟨x_i, x_query⟩}, Z the sum of the scores' exponentials. The query attends to
    itself unless it is masked, which adds e^{β‖x_query‖²} to Z. See `prop-kernel-step`.
    """
    check_count("d", d)
    check_count("classes", classes, 2)
    check_number("beta", beta)
    check_number("rate", rate)
    W = _inputs_only(d + classes, d, dtype, device) * math.sqrt(abs(beta))
    return math.copysign(1.0, beta) * W, W, _class_values(d, classes, rate, dtype, device)


@checked("weights.0: e e_, weights.1: e e_, weights.2: e e_, W_P: e e_")
def with_projection(weights: Weights, W_P: Tensor, *, scale: float = 1.0) -> FourWeights:
    """(W_Q, W_K, W_V, W_P): the layer with an output projection and scaled queries that `weights` are without.

    `W_P` (e, e) is the projection that it shall have, any that can be inverted, and `scale` what the layer multiplies
    its queries by: W_Q is divided by it, and W_P times the new W_V is the old one. Raises `ValueError` for another
    shape, a singular `W_P` and `scale` 0. See `lem-four-matrices`.
    """
    W_Q, W_K, W_V = weights
    check_number("scale", scale)
    if scale == 0:
        raise ValueError("scale must not be 0, got 0")
    condition = float(torch.linalg.cond(W_P))
    if not condition * torch.finfo(W_P.dtype).eps < 1:
        raise ValueError(f"W_P must be a matrix that can be inverted, got one of condition {condition:.3g}")
    return W_Q / scale, W_K, torch.linalg.solve(W_P, W_V), W_P

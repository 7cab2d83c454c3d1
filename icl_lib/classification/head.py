"""Self-attention on labelled contexts, for the query's row alone: predictions, gradients, sensitivities.

The layer with weights W_Q, W_K, W_V (e, e), e = d + C, on tokens t_j = (x_j, y_j) and the query token (x_query, 0)
writes into the query's y-entry V r, r = Σ_j w_j t_j, where w_j are the scores x_queryᵀ A t_j (linear) or their
softmax (softmax), A = first d rows of W_QᵀW_K (d, e), V = last C rows of W_V (C, e). Nothing else of the layer
reaches the prediction, so nothing else is computed. Tokens are stored token-last: (..., e, T), T = n + 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.attention import KINDS
from icl_lib.classification.contexts import Examples
from icl_lib.matrices import nearest_multiple
from icl_lib.running.validation import check_choice, check_last_dimensions


class Row(NamedTuple):
    """The part of a layer that the query's prediction sees: scores A (..., d, e) and values V (..., C, e)."""

    A: Tensor
    V: Tensor

    @classmethod
    def of(cls, W_Q: Tensor, W_K: Tensor, W_V: Tensor, d: int) -> "Row":
        """The row of a layer with weights (..., e, e) and inputs of d dimensions."""
        for name, weight in (("W_Q", W_Q), ("W_K", W_K), ("W_V", W_V)):
            check_last_dimensions(name, weight, e=W_Q.shape[-1], e_=W_Q.shape[-1])
        if not 1 <= d <= W_Q.shape[-1] - 2:
            raise ValueError(f"d must be in [1, {W_Q.shape[-1] - 2}] for weights {tuple(W_Q.shape)}, got {d}")
        return cls(W_Q[..., :d].mT @ W_K, W_V[..., d:, :])

    @property
    def width(self) -> Tensor:
        """β, with which β I is nearest to A on inputs, shape (...)."""
        return nearest_multiple(self.A[..., : self.A.shape[-2]])


def token_columns(context: Examples) -> Tensor:
    """The tokens of contexts as columns, the query token (x_query, 0) last: (..., e, n + 1). See `prop-linear-step`."""
    check_last_dimensions("x", context.x, n=None, d=None)
    check_last_dimensions("y", context.y, n=context.x.shape[-2], C=None)
    check_last_dimensions("x_query", context.x_query, d=context.x.shape[-1])
    query = torch.nn.functional.pad(context.x_query, (0, context.y.shape[-1])).unsqueeze(-1)
    return torch.cat([torch.cat([context.x.mT, context.y.mT], dim=-2), query], dim=-1)


def _weights(kind: str, scores: Tensor) -> Tensor:
    check_choice("kind", kind, KINDS)
    return scores if kind == "linear" else torch.softmax(scores, dim=-1)


def logits(kind: str, tokens: Tensor, row: Row) -> Tensor:
    """The query's logits V r, shape (..., C); `tokens` (..., e, T) with the query last, `row` broadcasts.

    See `sec-attention`.
    """
    check_last_dimensions("tokens", tokens, e=row.A.shape[-1], T=None)
    check_last_dimensions("V", row.V, C=None, e=row.A.shape[-1])
    x_query = tokens[..., : row.A.shape[-2], -1:]
    w = _weights(kind, x_query.mT @ row.A @ tokens)
    return (w @ tokens.mT @ row.V.mT).squeeze(-2)


def sensitivity(kind: str, tokens: Tensor, row: Row) -> tuple[Tensor, Tensor]:
    """Probabilities ŷ (..., C) and ∂ŷ/∂x_query (..., C, d), with the query free to move in ℝᵈ.

    See `sec-closeness-metrics`.
    """
    d = row.A.shape[-2]
    x_query = tokens[..., :d, -1:]
    w = _weights(kind, x_query.mT @ row.A @ tokens)
    r = tokens @ w.mT
    # The scores' slopes are A t_j; the query's own score x_queryᵀ A (x_query, 0) has one more term, A_xxᵀ x_query.
    extra = (row.A[..., :d].mT @ x_query).mT
    own = tokens[..., -1:]
    if kind == "linear":
        slope = tokens @ tokens.mT @ row.A.mT + own @ extra
    else:
        slope = (tokens * w) @ tokens.mT @ row.A.mT - r @ (row.A @ r).mT + w[..., -1:] * (own - r) @ extra
    slope = slope + w[..., -1:] * torch.eye(tokens.shape[-2], d, dtype=tokens.dtype, device=tokens.device)
    p = torch.softmax((row.V @ r).squeeze(-1), dim=-1)
    dlogits = row.V @ slope
    return p, p.unsqueeze(-1) * (dlogits - p.unsqueeze(-2) @ dlogits)


def gradient(kind: str, tokens: Tensor, y_query: Tensor, row: Row) -> Row:
    """∂/∂(A, V) of the mean cross-entropy of each repetition, shapes as `row`.

    `tokens` (R, B, e, T), `y_query` (R, B, C), `row` A (R, d, e), V (R, C, e). See `def-sphere-classification`.
    """
    R, B, e, T = tokens.shape
    d = row.A.shape[-2]
    x_query = tokens[..., :d, -1]
    flat = tokens.reshape(R * B, e, T)
    u = (x_query @ row.A).view(R * B, 1, e)
    w = _weights(kind, u @ flat)
    r = (w @ flat.mT).view(R, B, e)
    back = _logit_gradient(r, y_query, row.V)
    slope = (back @ row.V).view(R * B, 1, e) @ flat
    if kind == "softmax":
        slope *= w
        slope.addcmul_(w, slope.sum(-1, keepdim=True), value=-1)
    score_side = slope @ flat.mT
    return Row(x_query.mT @ score_side.view(R, B, e), back.mT @ r)


def _logit_gradient(r: Tensor, y_query: Tensor, V: Tensor) -> Tensor:
    """∂ mean cross-entropy / ∂ logits, (R, B, C)."""
    return (torch.softmax(r @ V.mT, dim=-1) - y_query) / r.shape[-2]


def weight_gradient(
    kind: str, tokens: Tensor, y_query: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor
) -> dict[str, Tensor]:
    """∂/∂(W_Q, W_K, W_V) of the mean cross-entropy of each repetition, each (R, e, e).

    See `def-sphere-classification`.
    """
    d = tokens.shape[-2] - y_query.shape[-1]
    slope = gradient(kind, tokens, y_query, Row.of(W_Q, W_K, W_V, d))
    to_Q, to_K, to_V = torch.zeros_like(W_Q), W_Q[..., :d] @ slope.A, torch.zeros_like(W_V)
    to_Q[..., :d] = W_K @ slope.A.mT
    to_V[..., d:, :] = slope.V
    return {"W_Q": to_Q, "W_K": to_K, "W_V": to_V}

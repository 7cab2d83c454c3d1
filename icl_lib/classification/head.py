"""Self-attention on labelled contexts, for the query's row alone: predictions, gradients, sensitivities.

The layer with weights W_Q, W_K, W_V and an output projection W_P (e, e), e = d + C, on tokens t_j = (x_j, y_j) reads
with the query token (x_query, 0) and writes into its y-entry V r, r = Σ_j w_j t_j, where w_j are the scores
x_queryᵀ A t_j (linear) or their softmax (softmax), A = the first d rows of W_QᵀW_K (d, e), V = the last C rows of
W_P W_V (C, e). Nothing else of the layer reaches the prediction, so nothing else is computed. As in the authors' code
the query is masked: its own token is no key and no value, unless it stands last among the tokens, (0 labels).
Tokens are stored token-last: (..., e, T), T = n, or n + 1 with the query's own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.attention import KINDS
from icl_lib.classification.contexts import Examples
from icl_lib.matrices import nearest_multiple
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_last_dimensions, check_number


class Row(NamedTuple):
    """The part of a layer that the query's prediction sees: scores A (..., d, e) and values V (..., C, e)."""

    A: Tensor
    V: Tensor

    @classmethod
    def of(cls, W_Q: Tensor, W_K: Tensor, W_V: Tensor, d: int, W_P: Tensor | None = None, scale: float = 1.0) -> "Row":
        """The row of a layer with weights (..., e, e) and inputs of d dimensions.

        Without W_P the values are not projected; `scale` multiplies the scores.
        """
        named = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V} | ({} if W_P is None else {"W_P": W_P})
        for name, weight in named.items():
            check_last_dimensions(name, weight, e=W_Q.shape[-1], e_=W_Q.shape[-1])
        if not 1 <= d <= W_Q.shape[-1] - 2:
            raise ValueError(f"d must be in [1, {W_Q.shape[-1] - 2}] for weights {tuple(W_Q.shape)}, got {d}")
        V = W_V[..., d:, :] if W_P is None else W_P[..., d:, :] @ W_V
        return cls(scale * W_Q[..., :d].mT @ W_K, V)

    @property
    def width(self) -> Tensor:
        """β, with which β I is nearest to A on inputs, shape (...)."""
        return nearest_multiple(self.A[..., : self.A.shape[-2]])


@checked("context.x: ... n d, context.y: ... n C; context.x_query: ... d, context.y_query: ... C")
def token_columns(context: Examples, own_token: bool = False) -> Tensor:
    """The tokens of contexts as columns (..., e, n); with `own_token` the query's (x_query, 0) is the last of n + 1.

    See `prop-linear-step`.
    """
    if context.x.shape[:-1] != context.y.shape[:-1]:
        told = f"{tuple(context.y.shape)} beside {tuple(context.x.shape)}"
        raise ValueError(f"context.y must have a label for every point of context.x, got {told}")
    tokens = torch.cat([context.x.mT, context.y.mT], dim=-2)
    if not own_token:
        return tokens
    if context.x_query.shape[:-1] != context.x.shape[:-2]:
        raise ValueError(f"context.x_query must be one for every context, got {tuple(context.x_query.shape)}")
    query = torch.nn.functional.pad(context.x_query, (0, context.y.shape[-1])).unsqueeze(-1)
    return torch.cat([tokens, query], dim=-1)


def _weights(kind: str, scores: Tensor) -> Tensor:
    check_choice("kind", kind, KINDS)
    return scores if kind == "linear" else torch.softmax(scores, dim=-1)


@checked("row.A: ... d e, row.V: ... C e, tokens: ... e T, x_query: ... d")
def logits(kind: str, tokens: Tensor, x_query: Tensor, row: Row) -> Tensor:
    """The query's logits V r, (..., C); `tokens` (..., e, T), `x_query` (..., d), `row` broadcasts.

    See `sec-attention`.
    """
    w = _weights(kind, x_query.unsqueeze(-2) @ row.A @ tokens)
    return (w @ tokens.mT @ row.V.mT).squeeze(-2)


@checked("row.A: ... d e, row.V: ... C e, tokens: ... e T, x_query: ... d")
def sensitivity(kind: str, tokens: Tensor, x_query: Tensor, row: Row, own_token: bool = False) -> tuple[Tensor, Tensor]:
    """Probabilities ŷ (..., C) and ∂ŷ/∂x_query (..., C, d), with the query free to move in ℝᵈ.

    With `own_token` the last of the `tokens` is the query's and moves with it. See `sec-closeness-metrics`.
    """
    column = x_query.unsqueeze(-1)
    w = _weights(kind, column.mT @ row.A @ tokens)
    r = tokens @ w.mT
    # The scores' slopes are A t_j.
    slope = tokens @ tokens.mT @ row.A.mT if kind == "linear" else _softmax_slope(tokens, w, row.A)
    if own_token:
        slope = slope + _own_slope(kind, tokens, column, w, r, row.A)
    p = torch.softmax((row.V @ r).squeeze(-1), dim=-1)
    dlogits = row.V @ slope
    # By pairs of classes: where one takes nearly all, 1 − p would be rounding.
    apart = dlogits.unsqueeze(-2) - dlogits.unsqueeze(-3)
    return p, p.unsqueeze(-1) * (p.unsqueeze(-2).unsqueeze(-1) * apart).sum(-2)


def _softmax_slope(tokens: Tensor, w: Tensor, A: Tensor) -> Tensor:
    # Moments about the heaviest token: where one class takes nearly all the weight, its labels are then exactly 0,
    # and what the other classes leave is not lost in rounding.
    apart = tokens - torch.take_along_dim(tokens, w.argmax(-1, keepdim=True), dim=-1)
    mean = apart @ w.mT
    return (apart * w) @ apart.mT @ A.mT - mean @ (A @ mean).mT


def _own_slope(kind: str, tokens: Tensor, column: Tensor, w: Tensor, r: Tensor, A: Tensor) -> Tensor:
    """What the query's own token adds to ∂r/∂x_query, (..., e, d): it moves, and its score has one more term."""
    d, own = A.shape[-2], tokens[..., -1:]
    extra = (A[..., :d].mT @ column).mT
    moved = w[..., -1:] * torch.eye(tokens.shape[-2], d, dtype=tokens.dtype, device=tokens.device)
    return moved + (own @ extra if kind == "linear" else w[..., -1:] * (own - r) @ extra)


@checked("tokens: R B e T, x_query: R B Q d, y_query: R B Q C, row.A: R d e, row.V: R C e", contents=False)
def gradient(kind: str, tokens: Tensor, x_query: Tensor, y_query: Tensor, row: Row) -> Row:
    """∂/∂(A, V) of the mean cross-entropy of each repetition, shapes as `row`.

    `tokens` (R, B, e, T), `x_query` (R, B, Q, d) and `y_query` (R, B, Q, C) for Q queries a context, `row` A (R, d, e),
    V (R, C, e). See `def-sphere-classification`.
    """
    R, B, e, T = tokens.shape
    Q = x_query.shape[2]
    flat, queries, targets = tokens.reshape(R * B, e, T), x_query.flatten(1, 2), y_query.flatten(1, 2)
    w = _weights(kind, (queries @ row.A).view(R * B, Q, e) @ flat)
    r = (w @ flat.mT).view(R, B * Q, e)
    back = (torch.softmax(r @ row.V.mT, dim=-1) - targets) / (B * Q)
    slope = (back @ row.V).view(R * B, Q, e) @ flat
    if kind == "softmax":
        slope *= w
        slope.addcmul_(w, slope.sum(-1, keepdim=True), value=-1)
    score_side = (slope @ flat.mT).view(R, B * Q, e)
    return Row(queries.mT @ score_side, back.mT @ r)


@checked(
    "tokens: R B e T, x_query: R B Q d, y_query: R B Q C, "
    "weights.W_Q: R e e_, weights.W_K: R e e_, weights.W_V: R e e_",
    contents=False,
)
def weight_gradient(
    kind: str, tokens: Tensor, x_query: Tensor, y_query: Tensor, weights: dict[str, Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """∂/∂`weights` of the mean cross-entropy of each repetition, each (R, e, e).

    `weights` holds W_Q, W_K, W_V, and W_P where the values are projected; the rest is as in `gradient` and `Row.of`.
    See `def-sphere-classification`.
    """
    d, W_P = x_query.shape[-1], weights.get("W_P")
    check_number("scale", scale)
    check_last_dimensions("tokens", tokens, e=d + y_query.shape[-1], T=None)
    W_Q, W_K, W_V = (weights[name] for name in ("W_Q", "W_K", "W_V"))
    slope = gradient(kind, tokens, x_query, y_query, Row.of(W_Q, W_K, W_V, d, W_P, scale))
    to_Q = torch.zeros_like(W_Q)
    to_Q[..., :d] = scale * W_K @ slope.A.mT
    found = {"W_Q": to_Q, "W_K": scale * W_Q[..., :d] @ slope.A}
    labels = torch.zeros_like(W_V)
    if W_P is None:
        labels[..., d:, :] = slope.V
        return found | {"W_V": labels}
    labels[..., d:, :] = slope.V @ W_V.mT
    return found | {"W_V": W_P[..., d:, :].mT @ slope.V, "W_P": labels}

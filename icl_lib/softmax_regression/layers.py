"""Forward forms of the layers that "trained self-attention" can mean on softmax regression.

A layer reads a document (A, values) and writes one logit for each word of a query document A_q. In the linear
forms the logits are A_q w with one direction w (..., d) for all words; with softmax inside the attention each
word has a direction of its own, ∂logit_i/∂a_i, shape (..., n_query, d).

Shapes: A (..., n, d), A_query (..., n_query, d), values (..., n); leading dimensions broadcast. Where a matrix acts
on the tasks of a batch they are (..., B, n, d) and the matrix (..., d, d): one for the B tasks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_alike, check_integer, check_last_dimensions
from icl_lib.softmax_regression.problem import apply_softmax_jacobian


@checked("A: ... n d, values: ... n")
def readout(A: Tensor, values: Tensor) -> Tensor:
    """h = Aᵀ values, shape (..., d): what linear attention takes from a document. See `thm-layer-is-step`."""
    return (values.unsqueeze(-2) @ A).squeeze(-2)


@checked("A_query: ... n d, w: ... d")
def logits(A_query: Tensor, w: Tensor) -> Tensor:
    """A_q w, shape (..., n_query). See `thm-layer-is-step`."""
    return (A_query @ w.unsqueeze(-1)).squeeze(-1)


@checked("M: ... d d_, h: ... B d")
def apply(M: Tensor, h: Tensor) -> Tensor:
    """M h of every task, (..., B, d), for one matrix M (..., d, d) and the vectors h (..., B, d) of B tasks.

    One product for all tasks: a matrix repeated for each of them would cost several times the time.
    See `prop-symmetric-optimum`.
    """
    return h @ M.mT


@checked("A: ... n d, x0?: ... d, b: ... n")
def step_values(A: Tensor, b: Tensor, x0: Tensor | None = None) -> Tensor:
    """Values n J(f₀)(b − f₀), shape (..., n), with which Aᵀ values is −n ∇L(x₀); b − mean b where x₀ = 0.

    See `prop-derivatives`.
    """
    if x0 is None:
        return b - b.mean(-1, keepdim=True)
    f = torch.softmax(logits(A, x0), dim=-1)
    return A.shape[-2] * apply_softmax_jacobian(f, b - f)


@checked("A: ... B n d, b: ... B n")
def stacked_direction(matrices: Sequence[Tensor], A: Tensor, b: Tensor) -> Tensor:
    """The direction w_K (..., B, d) after K linear layers with residual and the softmax unit between them, from 0.

    w_{k+1} = w_k + M_k h_k with h_k = n Aᵀ J(f_k)(b − f_k), f_k = softmax(A w_k). With every M_k = (η/n) I these
    are K steps of gradient descent with rate η.
    """
    w: Tensor | None = None
    for M in matrices:
        check_last_dimensions("matrices", M, d=A.shape[-1], d_=A.shape[-1])
        check_alike("matrices", M, "A", A)
        update = apply(M, readout(A, step_values(A, b, w)))
        w = update if w is None else w + update
    if w is None:
        raise ValueError("matrices must hold at least one layer, got none")
    return w


class TokenWeights(NamedTuple):
    """Full matrices (..., e, e) of one linear head: query, key, value and output projection."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    P: Tensor


@checked("tokens: ... B n e, weights.W_Q: ... e e_, weights.W_K: ... e e_, weights.W_V: ... e e_, weights.P: ... e e_")
def token_direction(tokens: Tensor, weights: TokenWeights, entry: int) -> Tensor:
    """The vectors w (..., B, e) with which a query token q has ⟨q, w⟩ in its `entry`, as linear attention writes it.

    `tokens` (..., B, n, e) are the keys: w = W_Qᵀ W_K Tᵀ T W_Vᵀ p with p the row `entry` of P. O(n e + e²) a task.
    See `sec-attention`.
    """
    check_integer("entry", entry, 0, tokens.shape[-1] - 1)
    scores = logits(tokens, apply(weights.W_V.mT, weights.P[..., entry : entry + 1, :]))
    return apply(weights.W_Q.mT, apply(weights.W_K, readout(tokens, scores)))


def _attend(A_query: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """softmax over j of a_iᵀ B a_j, shape (..., n_query, n)."""
    return torch.softmax((A_query @ B) @ A.mT, dim=-1)


@checked("A_query: ... m d, A: ... n d, values: ... n, B: ... H d d_, gain: ... H")
def softmax_logits(A_query: Tensor, A: Tensor, values: Tensor, B: Tensor, gain: Tensor) -> Tensor:
    """Σ over heads of gain · Σ_j softmax_j(a_iᵀ B a_j) value_j, shape (..., n_query).

    `B` (..., H, d, d) and `gain` (..., H): H heads. Adding a constant to the values adds one to every logit.
    See `sec-attention`.
    """
    written = _attend(A_query.unsqueeze(-3), A.unsqueeze(-3), B) @ values.unsqueeze(-2).unsqueeze(-1)
    return (gain.unsqueeze(-1) * written.squeeze(-1)).sum(-2)


@checked("A_query: ... m d, A: ... n d, values: ... n, B: ... H d d_, gain: ... H")
def softmax_directions(A_query: Tensor, A: Tensor, values: Tensor, B: Tensor, gain: Tensor) -> Tensor:
    """∂logit_i/∂a_i of `softmax_logits` at every query word, shape (..., n_query, d).

    Σ over heads of gain · B Cov_i(a, value), the covariance under softmax_j(a_iᵀ B a_j). See `sec-closeness-metrics`.
    """
    p = _attend(A_query.unsqueeze(-3), A.unsqueeze(-3), B)
    covariance = apply_softmax_jacobian(p, values.unsqueeze(-2).unsqueeze(-2)) @ A.unsqueeze(-3)
    return ((gain[..., None, None] * covariance) @ B.mT).sum(-3)

"""One self-attention head as the two papers write it: no 1/√d, no division by n, no residual.

Tokens are rows, q = tokens W_Qᵀ, k = tokens W_Kᵀ, v = tokens W_Vᵀ. A residual or a softmax unit over words
is the caller's.
"""

import torch
from torch import Tensor

from icl_lib.running.validation import check_choice, check_last_dimensions

KINDS = ("linear", "softmax")


def self_attention(
    tokens: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, *, kind: str, mask: Tensor | None = None
) -> Tensor:
    """The update of every token, Σ_j score(q_i, k_j) v_j, shape (..., T, e).

    `tokens` (..., T, e); `W_Q`, `W_K`, `W_V` (..., e, e). With `kind="linear"` the score is ⟨q_i, k_j⟩, with
    `kind="softmax"` it is softmax over j of ⟨q_i, k_j⟩. `mask` (..., T, T) or (..., T), boolean: token i
    may look at token j where it is True (a row alone holds for every i).

    Linear attention with no mask or a mask of keys is O(T e²): the T × T scores are never formed.
    Raises `ValueError` for an unknown kind, shapes that do not fit, and (on the CPU) a token that may look at none
    in softmax. See `sec-attention`.
    """
    check_choice("kind", kind, KINDS)
    check_last_dimensions("tokens", tokens, T=None, e=None)
    T, e = tokens.shape[-2:]
    for name, weight in (("W_Q", W_Q), ("W_K", W_K), ("W_V", W_V)):
        check_last_dimensions(name, weight, e=e, e_=e)
    mask = _check_mask(mask, T)
    q, k, v = (tokens @ weight.mT for weight in (W_Q, W_K, W_V))
    if kind == "linear":
        if mask is None or mask.shape[-2] == 1:
            kept = k if mask is None else k * mask.mT
            return q @ (kept.mT @ v)
        return ((q @ k.mT) * mask) @ v
    scores = q @ k.mT
    if mask is not None:
        # A look at the mask costs nothing on the CPU; a GPU would be waited for.
        if mask.device.type == "cpu" and not bool(mask.any(-1).all()):
            raise ValueError(
                "mask must let every token look at one token or more in softmax attention, got a row of False"
            )
        scores = scores.masked_fill(mask.logical_not(), -torch.inf)
    return torch.softmax(scores, dim=-1) @ v


def _check_mask(mask: Tensor | None, T: int) -> Tensor | None:
    """The mask as (..., 1 or T, T), or None."""
    if mask is None:
        return None
    if mask.dtype != torch.bool or mask.shape[-1] != T or (mask.dim() > 1 and mask.shape[-2] not in (1, T)):
        raise ValueError(
            f"mask must be boolean of shape ({T},) or (..., {T}, {T}), got {mask.dtype} {tuple(mask.shape)}"
        )
    return mask.unsqueeze(-2) if mask.dim() == 1 else mask


def softmax_regression_tokens(A: Tensor, b: Tensor, A_query: Tensor) -> Tensor:
    """Tokens (a_i, b_i, 1) of the document, then query rows (a, 0, 0): shape (..., n + n_query, d + 2).

    See `thm-layer-is-step`.
    """
    check_last_dimensions("A", A, n=None, d=None)
    check_last_dimensions("b", b, n=A.shape[-2])
    check_last_dimensions("A_query", A_query, n_query=None, d=A.shape[-1])
    document = torch.cat([A, b.unsqueeze(-1), torch.ones_like(b).unsqueeze(-1)], dim=-1)
    return torch.cat([document, torch.nn.functional.pad(A_query, (0, 2))], dim=-2)


def labelled_tokens(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Tokens (x_i, y_i), then the query (x_query, 0): shape (..., n + 1, d + C).

    `x` (..., n, d), `y` (..., n, C) (one-hot labels, or C real targets), `x_query` (..., d). See `prop-linear-step`.
    """
    check_last_dimensions("x", x, n=None, d=None)
    check_last_dimensions("y", y, n=x.shape[-2], C=None)
    check_last_dimensions("x_query", x_query, d=x.shape[-1])
    query = torch.nn.functional.pad(x_query, (0, y.shape[-1])).unsqueeze(-2)
    return torch.cat([torch.cat([x, y], dim=-1), query], dim=-2)

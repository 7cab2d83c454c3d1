"""One self-attention head as the two papers write it: no 1/√d unless asked for, no division by n, no residual.

Tokens are rows, q = tokens W_Qᵀ, k = tokens W_Kᵀ, v = tokens W_Vᵀ, and an output projection W_P takes the sum of
values where there is one. A residual or a softmax unit over words is the caller's.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from icl_lib.running.checked import checked, too_extreme
from icl_lib.running.validation import (
    check_broadcast,
    check_choice,
    check_count,
    check_finite,
    check_instance,
    check_last_dimensions,
    check_number,
    is_finite,
)

KINDS = ("linear", "softmax")
# k(q, k) of all pairs: queries (..., T, e) and keys (..., T, e) to scores (..., T, T).
Activation = Callable[[Tensor, Tensor], Tensor]


@checked(
    "tokens: ... T e, W_Q: ... e e_, W_K: ... e e_, W_V: ... e e_, W_P?: ... e e_", unread=("tokens",), result="any"
)
def self_attention(
    tokens: Tensor,
    W_Q: Tensor,
    W_K: Tensor,
    W_V: Tensor,
    W_P: Tensor | None = None,
    *,
    kind: str | Activation,
    mask: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """The update of every token, W_P Σ_j score(scale · q_i, k_j) v_j, shape (..., T, e).

    `tokens` (..., T, e); `W_Q`, `W_K`, `W_V` and the output projection `W_P` (..., e, e), the identity where it is
    None. With `kind="linear"` the score is ⟨q_i, k_j⟩, with `kind="softmax"` it is softmax over j of ⟨q_i, k_j⟩;
    a function is a kernel activation, whose scores k(q_i, k_j) are taken as they are, without a normaliser.
    `mask` (..., T, T) or (..., T), boolean: token i may look at token j where it is True (a row alone holds for
    every i). `scale` multiplies the queries; 1/√e is customary. A token that none may look at can hold nan, which then
    reaches its own update and no other.

    Linear attention with no mask or a mask of keys is O(T e²): the T × T scores are never formed.
    Raises `ValueError` for an unknown kind, shapes that do not fit, a scale that is not finite, and (on the CPU) a
    token that may look at none in softmax. See `sec-attention`.
    """
    if not callable(kind):
        check_choice("kind", kind, KINDS)
    check_number("scale", scale)
    mask = _check_mask(mask, tokens)
    # What nobody sees may be anything, nan too: 0 times nan would be nan.
    seen = tokens if mask is None else torch.where(mask.any(-2).unsqueeze(-1), tokens, 0.0)
    check_finite("tokens", seen)
    q, k, v = tokens @ W_Q.mT, seen @ W_K.mT, seen @ W_V.mT
    q = q if scale == 1 else scale * q
    update = _activated(kind(q, k), v, mask) if callable(kind) else _update(kind, q, k, v, mask)
    update = update if W_P is None else update @ W_P.mT
    if not is_finite(torch.where(torch.isfinite(tokens).all(-1, keepdim=True), update, 0.0)):
        given = {"tokens": seen, "W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_P": W_P, "scale": scale}
        raise too_extreme("self_attention", given)
    return update


def _update(kind: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
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


def _activated(scores: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    check_last_dimensions("kind(q, k)", scores, T=v.shape[-2], T_=v.shape[-2])
    # Filled and not multiplied: a score that nobody may see may be infinite.
    return (scores if mask is None else scores.masked_fill(mask.logical_not(), 0.0)) @ v


@checked("q: ... T e, k: ... S e")
def exponential_activation(q: Tensor, k: Tensor) -> Tensor:
    """The kernel activation e^{⟨q_i, k_j⟩}, shape (..., T, S): softmax attention without its normaliser.

    `q` (..., T, e) and `k` (..., S, e). See `prop-activated-step`.
    """
    return torch.exp(q @ k.mT)


@checked()
def query_mask(n: int, device: torch.device | str | None = None) -> Tensor:
    """The mask (n + 1,) of labelled tokens that takes the query out of keys and values: it does not see itself.

    Raises `ValueError` for an empty context, of which a masked query would see nothing. See `prop-kernel-step`.
    """
    check_count("n", n)
    return torch.arange(n + 1, device=device) < n


def _check_mask(mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """The mask as (..., 1 or T, T), or None."""
    if mask is None:
        return None
    check_instance("mask", mask, Tensor)
    T = tokens.shape[-2]
    rows = mask.unsqueeze(-2) if mask.dim() == 1 else mask
    if rows.dtype != torch.bool or rows.dim() < 2 or rows.shape[-1] != T or rows.shape[-2] not in (1, T):
        raise ValueError(
            f"mask must be boolean of shape ({T},) or (..., {T}, {T}), got {mask.dtype} {tuple(mask.shape)}"
        )
    check_broadcast({"tokens": tuple(tokens.shape[:-2]), "mask": tuple(rows.shape[:-2])})
    return rows


@checked("A: ... n d, b: ... n, A_query: ... n_query d")
def softmax_regression_tokens(A: Tensor, b: Tensor, A_query: Tensor) -> Tensor:
    """Tokens (a_i, b_i, 1) of the document, then query rows (a, 0, 0): shape (..., n + n_query, d + 2).

    See `thm-layer-is-step`.
    """
    column = b.unsqueeze(-1)
    document = torch.cat(_together(A, column, torch.ones_like(column)), dim=-1)
    return torch.cat(_together(document, torch.nn.functional.pad(A_query, (0, 2))), dim=-2)


def _together(*parts: Tensor) -> list[Tensor]:
    """Matrices with the same leading dimensions."""
    batch = torch.broadcast_shapes(*(part.shape[:-2] for part in parts))
    return [part.expand(*batch, *part.shape[-2:]) for part in parts]


@checked("x: ... n d, y: ... n C, x_query: ... d")
def labelled_tokens(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """Tokens (x_i, y_i), then the query (x_query, 0): shape (..., n + 1, d + C).

    `x` (..., n, d), `y` (..., n, C) (one-hot labels, or C real targets), `x_query` (..., d). See `prop-linear-step`.
    """
    query = torch.nn.functional.pad(x_query, (0, y.shape[-1])).unsqueeze(-2)
    return torch.cat(_together(torch.cat(_together(x, y), dim=-1), query), dim=-2)

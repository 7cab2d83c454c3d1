"""One self-attention head as the two papers write it: no 1/√d unless asked for, no division by n, no residual.

Tokens are rows, q = tokens W_Qᵀ, k = tokens W_Kᵀ, v = tokens W_Vᵀ, and an output projection W_P takes the sum of
values where there is one. A residual or a softmax unit over words is the caller's.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from icl_lib.running.validation import check_choice, check_integer, check_last_dimensions, check_number

KINDS = ("linear", "softmax")
# k(q, k) of all pairs: queries (..., T, e) and keys (..., T, e) to scores (..., T, T).
Activation = Callable[[Tensor, Tensor], Tensor]


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
    every i). `scale` multiplies the queries; 1/√e is customary.

    Linear attention with no mask or a mask of keys is O(T e²): the T × T scores are never formed.
    Raises `ValueError` for an unknown kind, shapes that do not fit, a scale that is not finite, and (on the CPU) a
    token that may look at none in softmax. See `sec-attention`.
    """
    if not callable(kind):
        check_choice("kind", kind, KINDS)
    check_number("scale", scale)
    check_last_dimensions("tokens", tokens, T=None, e=None)
    T, e = tokens.shape[-2:]
    given = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V} | ({} if W_P is None else {"W_P": W_P})
    for name, weight in given.items():
        check_last_dimensions(name, weight, e=e, e_=e)
    mask = _check_mask(mask, T)
    q, k, v = (tokens @ weight.mT for weight in (W_Q, W_K, W_V))
    q = q if scale == 1 else scale * q
    update = _activated(kind(q, k), v, mask) if callable(kind) else _update(kind, q, k, v, mask)
    return update if W_P is None else update @ W_P.mT


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


def exponential_activation(q: Tensor, k: Tensor) -> Tensor:
    """The kernel activation e^{⟨q_i, k_j⟩}, shape (..., T, T): softmax attention without its normaliser.

    `q` and `k` (..., T, e). See `prop-activated-step`.
    """
    return torch.exp(q @ k.mT)


def query_mask(n: int, device: torch.device | str | None = None) -> Tensor:
    """The mask (n + 1,) of labelled tokens that takes the query out of keys and values: it does not see itself.

    Raises `ValueError` for an empty context, of which a masked query would see nothing. See `prop-kernel-step`.
    """
    check_integer("n", n, 1)
    return torch.arange(n + 1, device=device) < n


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

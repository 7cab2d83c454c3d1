"""How close two predictors are: their predictions and their sensitivities (after von Oswald et al., 2023).

Softmax regression: predictions f (..., n) of a query document whose word j enters through the logit
⟨a_j, w⟩, so the sensitivity is J[i, j, :] = S_ij w, S = diag f − f fᵀ, with the direction w (..., d) the same
for every word. It is n × n × d and never formed: inner products cost O(n + d).
"""

import torch
from torch import Tensor

from icl_lib.running.validation import check_last_dimensions


def preds_diff(p: Tensor, q: Tensor) -> Tensor:
    """Preds Diff ‖p − q‖₂ over the last dimension, shape (...). See `sec-closeness-metrics`."""
    check_last_dimensions("p", p, n=None)
    check_last_dimensions("q", q, n=p.shape[-1])
    return torch.linalg.vector_norm(p - q, dim=-1)


def cosine(v: Tensor, w: Tensor) -> Tensor:
    """⟨v, w⟩ / (‖v‖ ‖w‖) over the last dimension, shape (...); 0 where either vanishes."""
    return torch.nn.functional.cosine_similarity(v, w.expand_as(v), dim=-1, eps=torch.finfo(v.dtype).tiny)


def _sensitivity_product(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Tensor:
    """⟨J, J'⟩ = ⟨w, w'⟩ Σ_j f_j f'_j [(1 − f_j)(1 − f'_j) − f_j f'_j + ⟨f, f'⟩], shape (...)."""
    both = f * f2
    overlap = (both * ((1 - f) * (1 - f2) - both)).sum(-1) + both.sum(-1).square()
    return overlap * (w * w2).sum(-1)


def _check_models(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> None:
    check_last_dimensions("f", f, n=None)
    check_last_dimensions("f2", f2, n=f.shape[-1])
    check_last_dimensions("w", w, d=None)
    check_last_dimensions("w2", w2, d=w.shape[-1])


def model_diff(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Tensor:
    """Model Diff ‖J − J'‖_F of two predictors (f, w) and (f2, w2), shape (...).

    `f`, `f2` (..., n) predictions, `w`, `w2` (..., d) directions. The norm comes from inner products, so it is
    exact to about √ε times ‖J‖: use float64 where the two are close. See `sec-closeness-metrics`.
    """
    _check_models(f, w, f2, w2)
    square = (
        _sensitivity_product(f, w, f, w) - 2 * _sensitivity_product(f, w, f2, w2) + _sensitivity_product(f2, w2, f2, w2)
    )
    return square.clamp_min(0).sqrt()


def model_cos(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖) of two predictors, shape (...); 0 where a sensitivity vanishes.

    See `sec-closeness-metrics`.
    """
    _check_models(f, w, f2, w2)
    product = _sensitivity_product(f, w, f2, w2)
    norms = (_sensitivity_product(f, w, f, w) * _sensitivity_product(f2, w2, f2, w2)).sqrt()
    return torch.where(norms > 0, product / norms.clamp_min(torch.finfo(norms.dtype).tiny), torch.zeros_like(norms))


def classifier_model_diff(J: Tensor, J2: Tensor) -> Tensor:
    """Model Diff ‖J − J'‖_F of two classifiers' sensitivities ∂ŷ/∂x_query (..., C, d), shape (...).

    See `sec-closeness-metrics`.
    """
    _check_sensitivities(J, J2)
    return torch.linalg.vector_norm(J - J2, dim=(-2, -1))


def classifier_model_cos(J: Tensor, J2: Tensor) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖) of two classifiers' sensitivities (..., C, d); 0 where one vanishes.

    See `sec-closeness-metrics`.
    """
    _check_sensitivities(J, J2)
    norms = torch.linalg.vector_norm(J, dim=(-2, -1)) * torch.linalg.vector_norm(J2, dim=(-2, -1))
    product = (J * J2).sum((-2, -1))
    return torch.where(norms > 0, product / norms.clamp_min(torch.finfo(norms.dtype).tiny), torch.zeros_like(norms))


def _check_sensitivities(J: Tensor, J2: Tensor) -> None:
    check_last_dimensions("J", J, C=None, d=None)
    check_last_dimensions("J2", J2, C=J.shape[-2], d=J.shape[-1])


def entropy(p: Tensor) -> Tensor:
    """Entropy −Σ p log p in nats of probabilities p (..., C), with 0 log 0 = 0, shape (...)."""
    check_last_dimensions("p", p, C=None)
    return -torch.special.xlogy(p, p).sum(-1)

"""How close two predictors are: their predictions and their sensitivities (after von Oswald et al., 2023).

Softmax regression: predictions f (..., n) of a query document whose word j enters through the logit
⟨a_j, w⟩, so the sensitivity is J[i, j, :] = S_ij w, S = diag f − f fᵀ, with the direction w (..., d) the same
for every word. It is n × n × d and never formed: inner products cost O(n + d).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.running.checked import checked


@checked("p: ... n, q: ... n")
def preds_diff(p: Tensor, q: Tensor) -> Tensor:
    """Preds Diff ‖p − q‖₂ over the last dimension, shape (...). See `sec-closeness-metrics`."""
    return torch.linalg.vector_norm(p - q, dim=-1)


@checked("v: ... n, w: ... n")
def cosine(v: Tensor, w: Tensor) -> Tensor:
    """⟨v, w⟩ / (‖v‖ ‖w‖) over the last dimension, shape (...); 0 where either vanishes."""
    # By their largest entries: a square would underflow where the entry does not.
    v, w = (part / part.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(part.dtype).tiny) for part in (v, w))
    norms = torch.linalg.vector_norm(v, dim=-1) * torch.linalg.vector_norm(w, dim=-1)
    return _ratio((v * w).sum(-1), norms)


def _ratio(product: Tensor, norms: Tensor) -> Tensor:
    """product / norms, 0 where norms is."""
    return torch.where(norms > 0, product / norms.clamp_min(torch.finfo(norms.dtype).tiny), torch.zeros_like(norms))


@checked("f: ... n")
def others(f: Tensor) -> Tensor:
    """Σ_{j≠i} f_j = 1 − f_i, shape (..., n), to the precision of its own size where f_i is next to 1.

    See `lem-jacobian`.
    """
    return _at_largest(1 - f, f)


@checked("rest: ... n, v: ... n")
def without_largest(rest: Tensor, v: Tensor) -> Tensor:
    """`rest`, but at the largest entry of v ≥ 0 the sum of the others, where a subtraction would cancel.

    See `lem-jacobian`.
    """
    rest, v = torch.broadcast_tensors(rest, v)
    return _at_largest(rest.clone(), v)


def _at_largest(rest: Tensor, v: Tensor) -> Tensor:
    """The same in the memory of `rest`, which has the shape of v."""
    first = v.argmax(-1, keepdim=True)
    return rest.scatter_(-1, first, v.scatter(-1, first, 0).sum(-1, keepdim=True))


@checked("f: ... n, f2: ... n")
def jacobian_product(f: Tensor, f2: Tensor) -> Tensor:
    """tr(J J') of two softmax Jacobians J = diag f − f fᵀ, shape (...).

    Σ_i f_i f'_i [(1 − f_i)(1 − f'_i) + Σ_{j≠i} f_j f'_j], whose terms are not negative: it keeps its precision where
    one word takes all but a little. See `sec-closeness-metrics`.
    """
    both = f * f2
    apart = _at_largest(both.sum(-1, keepdim=True) - both, both)
    return (both * torch.addcmul(apart, others(f), others(f2))).sum(-1)


class Products(NamedTuple):
    """⟨J, J⟩, ⟨J, J'⟩ and ⟨J', J'⟩ of two sensitivities, shapes that broadcast to (...)."""

    own: Tensor
    cross: Tensor
    own2: Tensor

    @property
    def diff(self) -> Tensor:
        """‖J − J'‖_F; exact to about √ε times ‖J‖."""
        return (self.own - 2 * self.cross + self.own2).clamp_min(0).sqrt()

    @property
    def cos(self) -> Tensor:
        """⟨J, J'⟩ / (‖J‖ ‖J'‖); 0 where one vanishes."""
        # Two roots and not that of the product, which underflows long before they do.
        return _ratio(self.cross, self.own.sqrt() * self.own2.sqrt())


def _products(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Products:
    """Each is ⟨w, w'⟩ tr(J_f J_f') of its two."""
    return Products(
        jacobian_product(f, f) * w.square().sum(-1),
        jacobian_product(f, f2) * (w * w2).sum(-1),
        jacobian_product(f2, f2) * w2.square().sum(-1),
    )


@checked("f: ... n, w: ... d, f2: ... n, w2: ... d")
def model_diff(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Tensor:
    """Model Diff ‖J − J'‖_F of two predictors (f, w) and (f2, w2), shape (...).

    `f`, `f2` (..., n) predictions, `w`, `w2` (..., d) directions. The norm comes from inner products, so it is
    exact to about √ε times ‖J‖: use float64 where the two are close. See `sec-closeness-metrics`.
    """
    return _products(f, w, f2, w2).diff


@checked("f: ... n, w: ... d, f2: ... n, w2: ... d")
def model_cos(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖) of two predictors, shape (...); 0 where a sensitivity vanishes.

    See `sec-closeness-metrics`.
    """
    return _products(f, w, f2, w2).cos


@checked("f: ... n, w: ... d, f2: ... n, w2: ... d")
def model_diff_and_cos(f: Tensor, w: Tensor, f2: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
    """`model_diff` and `model_cos`, for little more than the price of one. See `sec-closeness-metrics`."""
    products = _products(f, w, f2, w2)
    return products.diff, products.cos


@checked("J: ... C d, J2: ... C d")
def classifier_model_diff(J: Tensor, J2: Tensor) -> Tensor:
    """Model Diff ‖J − J'‖_F of two classifiers' sensitivities ∂ŷ/∂x_query (..., C, d), shape (...).

    See `sec-closeness-metrics`.
    """
    return torch.linalg.vector_norm(J - J2, dim=(-2, -1))


@checked("J: ... C d, J2: ... C d")
def classifier_model_cos(J: Tensor, J2: Tensor) -> Tensor:
    """Model Cos ⟨J, J'⟩ / (‖J‖ ‖J'‖) of two classifiers' sensitivities (..., C, d); 0 where one vanishes.

    See `sec-closeness-metrics`.
    """
    return cosine(J.flatten(-2), J2.flatten(-2))


@checked("p: ... C")
def entropy(p: Tensor) -> Tensor:
    """Entropy −Σ p log p in nats of probabilities p (..., C), with 0 log 0 = 0, shape (...)."""
    return -torch.special.xlogy(p, p).sum(-1)

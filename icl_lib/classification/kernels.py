"""Kernels of the cosine s = ⟨x, x'⟩ and the sums Σ (y_i − 1/C) k(x_i, x_query) / Z that a kernel step needs.

Every kernel is scaled to k(x, x) = 1 on the unit sphere and handled as a sign and a logarithm, so that a large
width parameter can neither overflow nor divide 0 by 0.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from icl_lib.classification.contexts import Examples
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_dtype, check_last_dimensions, check_number

FAMILIES = ("linear", "exponential", "laplace", "polynomial", "cauchy", "compact", "sinh")
# These use the distance ‖x − x'‖² = 2 − 2s, which is right on the unit sphere only.
SPHERE_ONLY = ("laplace", "polynomial", "cauchy", "compact")
RATES = ("n", "sqrt n", "context", "context and query")
CENTRES = ("classes", "context")
HEADS = ("one", "two")


@checked("s: ...", result="log", lowest=("s",))
def log_kernel(family: str, s: Tensor, beta: float) -> tuple[Tensor | None, Tensor]:
    """(sign, log|k|) of k at the inner products `s`, elementwise; the sign is None where k ≥ 0 everywhere.

    linear s; exponential e^{β(s−1)} (on the sphere the Gaussian e^{−β‖x−x'‖²/2}); laplace e^{−β‖x−x'‖};
    polynomial ((1+s)/2)^β; cauchy 1/(1+β(1−s)); compact max(0, 1−β(1−s)); sinh sinh(βs)/sinh(β).
    Raises `ValueError` for an unknown family, a β that is not finite, and β ≤ 0 unless exponential. See `prop-sphere`.
    """
    check_choice("family", family, FAMILIES)
    check_number("beta", beta, above=-math.inf if family in ("exponential", "linear") else 0.0)
    if family == "linear":
        return s.sign(), s.abs().log()
    if family == "exponential":
        return None, beta * (s - 1)
    if family == "sinh":
        return s.sign(), _log_sinh(beta * s.abs()) - _log_sinh(torch.full((), beta, dtype=s.dtype, device=s.device))
    s = s.clamp(-1, 1)
    if family == "laplace":
        return None, -beta * (2 - 2 * s).sqrt()
    if family == "polynomial":
        return None, beta * ((1 + s) / 2).log()
    if family == "cauchy":
        return None, -torch.log1p(beta * (1 - s))
    return None, (1 - beta * (1 - s)).clamp_min(0).log()


def _log_sinh(t: Tensor) -> Tensor:
    """log sinh t for t ≥ 0 without overflow."""
    return t + torch.log1p(-torch.exp(-2 * t)) - math.log(2)


class Scores(NamedTuple):
    """What a kernel step sees of contexts: s (B, n) = ⟨x_i, x_query⟩, s_query (B,) = ‖x_query‖², labels y (B, n, C)."""

    s: Tensor
    s_query: Tensor
    y: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, x_query: Tensor) -> "Scores":
        """The scores of contexts x (..., n, d), y (..., n, C), x_query (..., d)."""
        return cls((x @ x_query.unsqueeze(-1)).squeeze(-1), x_query.square().sum(-1), y)

    @classmethod
    def of_examples(cls, examples: Examples) -> "Scores":
        """The scores of a batch of contexts."""
        return cls.of(examples.x, examples.y, examples.x_query)


@checked()
def sphere_tolerance(dtype: torch.dtype) -> float:
    """By how much the norm of a vector given in `dtype` may miss 1 on the unit sphere: 10 √ε."""
    check_dtype("dtype", dtype)
    return 10 * math.sqrt(torch.finfo(dtype).eps)


@dataclass(frozen=True)
class KernelStep:
    """One step of gradient descent on cross-entropy from 0, up to its two free numbers, width β and rate η.

    `family`: the kernel. `rate`: what η is divided by: `"n"` or `"sqrt n"` (the same for every query), or the sum
    of |k(x_i, x_query)| over the `"context"`, which is what a softmax does, or over the `"context and query"`
    (k(x_query, x_query) added), which is what it does where the query attends to itself. `centre`: what is taken off
    the labels, 1/C (`"classes"`, the gradient's) or their mean over the `"context"`. `heads`: `"two"` adds a second
    kernel with −β and a rate of its own.
    """

    family: str = "exponential"
    rate: str = "context"
    centre: str = "classes"
    heads: str = "one"

    def __post_init__(self) -> None:
        check_choice("family", self.family, FAMILIES)
        check_choice("rate", self.rate, RATES)
        check_choice("centre", self.centre, CENTRES)
        check_choice("heads", self.heads, HEADS if self.family == "exponential" else HEADS[:1])

    @property
    def has_width(self) -> bool:
        """Whether β matters."""
        return self.family != "linear"

    def check(self, scores: Scores) -> None:
        """Raise `ValueError` for labels that do not fit, and where this kernel needs unit vectors but has others.

        Of vectors off the sphere only their inner products show, to the rounding of the dtype that they come in.
        """
        check_last_dimensions("y", scores.y, n=scores.s.shape[-1], C=None)
        if self.family not in SPHERE_ONLY:
            return
        excess = max(float(scores.s.abs().max()) - 1, float((scores.s_query - 1).abs().max()))
        if not excess <= sphere_tolerance(scores.s.dtype):
            raise ValueError(
                f"x and x_query must lie on the unit sphere for the {self.family} kernel, "
                f"got inner products off by {excess:.3g}"
            )

    def features(self, scores: Scores, beta: float) -> Tensor:
        """The logits at η = 1, one column a head: shape (..., C, heads). The step's logits are features @ η.

        Raises as `check`.
        """
        self.check(scores)
        return self.checked_features(scores, beta)

    def checked_features(self, scores: Scores, beta: float) -> Tensor:
        """`features` of scores that `check` has seen, perhaps in another dtype than now."""
        widths = (beta, -beta) if self.heads == "two" else (beta,)
        return torch.stack([self._head(scores, width) for width in widths], dim=-1)

    def _head(self, scores: Scores, beta: float) -> Tensor:
        weights = self._weights(scores, beta)
        labelled = (weights.unsqueeze(-2) @ scores.y).squeeze(-2)
        total = weights.sum(-1, keepdim=True)
        if self.centre == "context":
            return labelled - total * scores.y.mean(-2)
        return labelled - total / scores.y.shape[-1]

    def _weights(self, scores: Scores, beta: float) -> Tensor:
        """k(x_i, x_query) / Z, shape (..., n); 0 where no point of the context lies in a compact kernel's support."""
        sign, log_k = log_kernel(self.family, scores.s, beta)
        if self.rate in ("n", "sqrt n"):
            n = scores.s.shape[-1]
            weights = log_k.exp() / (n if self.rate == "n" else math.sqrt(n))
        else:
            largest = log_k.amax(-1, keepdim=True)
            log_self = None
            if self.rate == "context and query":
                log_self = log_kernel(self.family, scores.s_query, beta)[1].unsqueeze(-1)
                largest = torch.maximum(largest, log_self)
            largest = largest.clamp_min(torch.finfo(log_k.dtype).min)
            weights = (log_k - largest).exp()
            total = weights.sum(-1, keepdim=True)
            if log_self is not None:
                total = total + (log_self - largest).exp()
            weights = weights / total.clamp_min(torch.finfo(log_k.dtype).tiny)
        return weights if sign is None else sign * weights


# The steps that have a name: of linear attention; of softmax attention, with the query masked as in the authors' code;
# of softmax attention whose query attends to itself; and the kernel step with one rate for all queries.
LINEAR = KernelStep("linear", "n")
SOFTMAX = KernelStep()
OWN_TOKEN = KernelStep(rate="context and query")
FIXED_RATE = KernelStep(rate="n")

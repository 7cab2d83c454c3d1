"""The layers that the readings of paper 1 train: what their parameters are, and what they write on a query document.

Parameters are stacked over repetitions, (R, ...), and tasks are (R, B, ...), or (B, ...) where all R share them. A
direction is the derivative of a query word's logit in that word, (..., n or 1, d).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from icl_lib.running.validation import check_count, check_instance, check_integer, check_number, check_sign
from icl_lib.softmax_regression import layers as softmax_layers
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.layers import TokenWeights

Parameters = dict[str, Tensor]
# The variance of an entry of the single matrix at the start, times d: that of the closeness chapter.
INIT_VARIANCE = 0.002


class StartedTasks(NamedTuple):
    """Documents, and the point x₀ (..., d) from which the step goes: None for x₀ = 0."""

    documents: Documents
    x0: Tensor | None


class Layer(Protocol):
    """What a reading trains."""

    def initial(self, generators: Sequence[Generator]) -> Parameters:
        """Parameters at the start, one repetition for each generator."""

    def logits(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """Logits of the query document, (..., n)."""

    def directions(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """Derivatives of the logits in their words, (..., n or 1, d)."""


def _normal(generators: Sequence[Generator], deviation: float, *shape: int) -> Tensor:
    return deviation * torch.stack([torch.randn(*shape, generator=generator) for generator in generators])


@dataclass(frozen=True)
class LinearLayer:
    """Linear attention with one matrix M (d, d): logits A_q (x₀ + M Aᵀ v), v = b − mean b or b (`centred`).

    From x₀ ≠ 0 the values are those of the step there, n J(f₀)(b − f₀).
    """

    d: int
    centred: bool = True

    def initial(self, generators: Sequence[Generator]) -> Parameters:
        """M with entries of variance 0.002/d."""
        return {"M": _normal(generators, math.sqrt(INIT_VARIANCE / self.d), self.d, self.d)}

    def _direction(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        A, b = tasks.documents.A, tasks.documents.b
        values = softmax_layers.step_values(A, b, tasks.x0) if self.centred else b
        w = softmax_layers.apply(parameters["M"], softmax_layers.readout(A, values))
        return w if tasks.x0 is None else tasks.x0 + w

    def logits(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """A_q w."""
        return softmax_layers.logits(tasks.documents.A_query, self._direction(parameters, tasks))

    def directions(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """w, the same for every word."""
        return self._direction(parameters, tasks).unsqueeze(-2)


@dataclass(frozen=True)
class TokenLayer:
    """Linear attention with full W_Q, W_K, W_V, P on tokens; query words read the document and not one another.

    Tokens are (a_j, b_j − mean b), or (a_j, b_j, 1) with a constant `channel`; a query word is (a, 0) or
    (a, 0, 0), or its own full token where it may see its own target (`own_target`). The logit is the b-entry of
    the output. Entries start with standard deviation `init`.
    """

    d: int
    channel: bool = True
    own_target: bool = False
    init: float = 0.1

    def __post_init__(self) -> None:
        check_count("d", self.d)
        check_instance("channel", self.channel, bool)
        check_instance("own_target", self.own_target, bool)
        check_number("init", self.init, minimum=0)

    def initial(self, generators: Sequence[Generator]) -> Parameters:
        """Four square matrices."""
        size = self.d + 1 + self.channel
        return {name: _normal(generators, self.init, size, size) for name in TokenWeights._fields}

    def _tokens(self, documents: Documents) -> Tensor:
        b = documents.b.unsqueeze(-1)
        if self.channel:
            return torch.cat([documents.A, b, torch.ones_like(b)], dim=-1)
        return torch.cat([documents.A, b - b.mean(-2, keepdim=True)], dim=-1)

    def _direction(self, parameters: Parameters, tokens: Tensor) -> Tensor:
        return softmax_layers.token_direction(tokens, TokenWeights(**parameters), self.d)

    def logits(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """The b-entries of the query words' updates."""
        tokens = self._tokens(tasks.documents)
        w = self._direction(parameters, tokens)
        if self.own_target:
            return softmax_layers.logits(tokens, w)
        return softmax_layers.logits(tasks.documents.A_query, w[..., : self.d])

    def directions(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """The part of w that meets a word, the same for every word."""
        return self._direction(parameters, self._tokens(tasks.documents))[..., : self.d].unsqueeze(-2)


@dataclass(frozen=True)
class SoftmaxLayer:
    """Softmax attention with a score matrix B (d, d) and a gain for each of one or two heads, on raw values b.

    Scores are kernel_scale · a_iᵀ B a_j. B starts near I in the first head (−I where `sign` is −1) and near its
    opposite in the second. Gains are in units of n / (kernel_scale · heads), so that a gain g with B = ±I is the
    step with η/n = g as the scale vanishes; they start at 0. So all that is trained is of the order of one.
    """

    d: int
    heads: int = 1
    sign: int = 1
    kernel_scale: float = 0.05

    def __post_init__(self) -> None:
        check_count("d", self.d)
        check_integer("heads", self.heads, 1, 2)
        check_sign("sign", self.sign)
        check_number("kernel_scale", self.kernel_scale, above=0)

    def _signs(self, like: Tensor) -> Tensor:
        return self.sign * (1 - 2 * torch.arange(self.heads, dtype=like.dtype, device=like.device))

    def initial(self, generators: Sequence[Generator]) -> Parameters:
        """Scores near a multiple of the identity, gains 0."""
        noise = _normal(generators, math.sqrt(INIT_VARIANCE / self.d), self.heads, self.d, self.d)
        identities = self._signs(noise)[:, None, None] * torch.eye(self.d)
        return {"B": noise + identities, "gain": torch.zeros(len(generators), self.heads)}

    def _weights(self, parameters: Parameters, n: int) -> tuple[Tensor, Tensor]:
        """Score matrices and gains as `softmax_layers` takes them, with an axis for the tasks."""
        B, gain = parameters["B"].unsqueeze(-4), parameters["gain"].unsqueeze(-2)
        unit = self._signs(gain) * (n / (self.kernel_scale * self.heads))
        return self.kernel_scale * B, gain * unit

    def logits(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """Σ over heads of gain · attention."""
        A, b, A_query = tasks.documents.A, tasks.documents.b, tasks.documents.A_query
        return softmax_layers.softmax_logits(A_query, A, b, *self._weights(parameters, A.shape[-2]))

    def directions(self, parameters: Parameters, tasks: StartedTasks) -> Tensor:
        """One for each query word, since the word enters its own scores."""
        A, b, A_query = tasks.documents.A, tasks.documents.b, tasks.documents.A_query
        return softmax_layers.softmax_directions(A_query, A, b, *self._weights(parameters, A.shape[-2]))

"""Several self-attention layers on labelled contexts: all tokens are updated, all weights are trained.

Tokens are rows: (x_i, y_i), then (x_query, 0) for every query, at which no token looks. A layer adds to every token its
self-attention, W_P Σ_j s_ij W_V t_j with the scores s_ij = ⟨W_Q t_i, W_K t_j⟩/n or their softmax, and a read-out (C, e)
of a query's token gives its logits. K layers can be K steps of least squares (`prop-stack-steps`).
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import xarray
from torch import Tensor

from icl_lib.attention import KINDS, self_attention
from icl_lib.classification.contexts import ContextTask, Examples
from icl_lib.classification.descent import cross_entropy
from icl_lib.classification.few_shot import FewShot
from icl_lib.running import training
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import (
    check_choice,
    check_count,
    check_instance,
    check_integer,
    check_last_dimensions,
    check_number,
)

# Training multiplies rounding, as that of one head does.
DTYPE = torch.float64


class StackWeights(NamedTuple):
    """The matrices of all layers, (..., K, e, e) each with e = d + C, and the read-out (..., C, e)."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_P: Tensor
    readout: Tensor


@dataclass(frozen=True)
class Stack:
    """Train `layers` layers of one kind of attention on `task`, and predict queries that training has not seen.

    `batch` fresh contexts an update and repetition, each with a query of every class; `rate` is Adam's, falling to 0
    along a cosine; `clip` the largest norm of a repetition's gradient; `init` the standard deviation of the entries at
    the start in units of 1/√(d + C). Of a `FewShot` training sees the side `"fit"`, rotated if it is, and the test the
    other side as it is, of a split of its own for every repetition.
    """

    task: ContextTask
    attention: str
    layers: int
    rate: float = 0.01
    clip: float = 1.0
    init: float = 0.2
    repetitions: int = 5
    steps: int = 1500
    batch: int = 8
    test: int = 400
    record_every: int = 100
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_instance("task", self.task, ContextTask)
        check_choice("attention", self.attention, KINDS)
        check_number("clip", self.clip, above=0)
        check_number("init", self.init, above=0)
        for name in ("layers", "repetitions", "batch", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        self.optimiser.__post_init__()
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, "cosine")

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`loss` over (repetition, step) on new contexts, and `p` over (repetition, context, class) at the end."""
        steps = training.recorded_steps(self.steps, self.record_every)
        snapshots = StackWeights(*(value.cpu() for value in train_stack(self, device, steps)))
        losses, predictions = [], []
        for repetition in range(self.repetitions):
            context = unseen_contexts(self.task, self.test, self.seed, repetition)
            asked = context._replace(x_query=context.x_query.unsqueeze(-2))
            now = [StackWeights(*(value[k, repetition] for value in snapshots)) for k in range(len(steps))]
            logits = [stacked_logits(self.attention, asked, weights).squeeze(-2) for weights in now]
            losses.append([float(cross_entropy(each, context.y_query).mean()) for each in logits])
            predictions.append(torch.softmax(logits[-1], dim=-1).numpy())
        return xarray.Dataset(
            {"loss": (("repetition", "step"), losses), "p": (("repetition", "context", "class"), predictions)},
            coords={"step": steps},
        )


def unseen_contexts(task: ContextTask, count: int, seed: int, repetition: int) -> Examples:
    """The contexts, with one query each, on which stacks and their rivals are tested in a repetition."""
    there = task.of_repetition(repetition)
    if isinstance(there, FewShot):
        there = replace(there, side="test", rotated=False)
    return there.sample(count, stream(seed, "test/stack", repetition), dtype=DTYPE)


def train_stack(config: Stack, device: torch.device, record_at: list[int]) -> StackWeights:
    """Snapshots of the matrices (S, R, K, e, e) and of the read-out (S, R, C, e)."""
    generators = [stream(config.seed, "train/stack", r, device) for r in range(config.repetitions)]
    sources = [(config.task.of_repetition(r), generator) for r, generator in enumerate(generators)]

    def objective(parameters: training.Parameters, context: Examples) -> Tensor:
        weights = StackWeights(**{name: value.unsqueeze(1) for name, value in parameters.items()})
        logits = stacked_logits(config.attention, context, weights)
        # A repetition's gradient is that of its own mean.
        return cross_entropy(logits, context.y_query).mean((1, 2)).sum()

    def gradient(parameters: training.Parameters) -> training.Parameters:
        drawn = [task.sample_every_query(config.batch, generator, device, DTYPE) for task, generator in sources]
        context = Examples(*(torch.stack(part) for part in zip(*drawn, strict=True)))
        return training.clipped(torch.func.grad(objective)(parameters, context), config.clip)

    start = {name: value.to(device) for name, value in _start(config).items()}
    return StackWeights(**training.train(start, gradient, config.optimiser, record_at))


def _start(config: Stack) -> training.Parameters:
    """The weights before training."""
    d, classes = config.task.d, config.task.classes
    e = d + classes
    shapes = dict.fromkeys(StackWeights._fields[:4], (config.layers, e, e)) | {"readout": (classes, e)}
    generators = [stream(config.seed, f"init/stack/{config.layers}", r) for r in range(config.repetitions)]
    drawn = [
        {name: torch.randn(*shape, generator=generator, dtype=DTYPE) for name, shape in shapes.items()}
        for generator in generators
    ]
    return {name: torch.stack([one[name] for one in drawn]) * (config.init / math.sqrt(e)) for name in shapes}


@checked(
    "context.x: ... n d, context.y: ... n C, context.x_query: ... Q d, weights.W_Q: ... K e e_, "
    "weights.W_K: ... K e e_, weights.W_V: ... K e e_, weights.W_P: ... K e e_, weights.readout: ... C e",
    result="any",
)
def stacked_logits(kind: str, context: Examples, weights: StackWeights) -> Tensor:
    """The logits of every query, (..., Q, C).

    `context` x (..., n, d), y (..., n, C), x_query (..., Q, d); its labels of queries are not read. Leading dimensions
    broadcast. Raises `TypeError` or `ValueError` for shapes that do not fit and an unknown kind.
    See `prop-stack-steps`.
    """
    check_choice("kind", kind, KINDS)
    n, classes = context.y.shape[-2:]
    lead = torch.broadcast_shapes(*(part.shape[:-2] for part in context[:3]))
    x, y, x_query = (part.expand(*lead, *part.shape[-2:]) for part in context[:3])
    tokens = torch.cat([torch.cat([x, y], dim=-1), torch.nn.functional.pad(x_query, (0, classes))], dim=-2)
    check_last_dimensions("weights.W_Q", weights.W_Q, e=tokens.shape[-1], e_=tokens.shape[-1])
    mask = torch.arange(tokens.shape[-2], device=tokens.device) < n
    scale = 1 / n if kind == "linear" else 1.0
    for layer in range(weights.W_Q.shape[-3]):
        matrices = [matrix[..., layer, :, :] for matrix in weights[:4]]
        tokens = tokens + self_attention(tokens, *matrices, kind=kind, mask=mask, scale=scale)
    return tokens[..., n:, :] @ weights.readout.mT


@checked()
def least_squares_stack(
    kind: str, d: int, classes: int, layers: int, rate: float, gain: float, beta: float = 1.0
) -> StackWeights:
    """The weights with which a stack is `layers` steps of `least_squares_steps`, the logits `gain` times theirs.

    Linear attention has the kernel ⟨x, x'⟩/n, softmax attention that of width β, normalised for every token; `beta` is
    for the latter. In float64. See `prop-stack-steps`.
    """
    check_choice("kind", kind, KINDS)
    for name, count in (("d", d), ("classes", classes), ("layers", layers)):
        check_count(name, count)
    for name, value in (("rate", rate), ("gain", gain), ("beta", beta)):
        check_number(name, value)
    e = d + classes
    inputs, labels = torch.zeros(2, e, e, dtype=DTYPE)
    inputs[:d, :d], labels[d:, d:] = torch.eye(d), torch.eye(classes)
    width = beta if kind == "softmax" else 1.0
    W_Q, W_K, W_V, W_P = (one.expand(layers, e, e) for one in (width * inputs, inputs, labels, -rate * labels))
    # A query's token starts at label 0 and ends at minus the prediction.
    return StackWeights(W_Q, W_K, W_V, W_P, -gain * labels[d:])


@checked("gram: ... n n_, gram_query: ... n, y: ... n C")
def least_squares_steps(gram: Tensor, gram_query: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    """Predictions (..., C) after `steps` steps of least squares from 0, in the space of a kernel.

    Residuals r ← r − rate · gram r, from y (..., n, C); the prediction gathers rate · gram_query r. `gram` (..., n, n)
    and `gram_query` (..., n) hold the kernel with its normaliser. See `prop-stack-steps`.
    """
    if gram.shape[-1] != gram.shape[-2]:
        raise ValueError(f"gram must be square, got {tuple(gram.shape)}")
    check_number("rate", rate)
    check_count("steps", steps)
    row = rate * gram_query.unsqueeze(-2)
    prediction, residual = row @ y, y
    for _ in range(steps - 1):
        residual = residual - rate * (gram @ residual)
        prediction = prediction + row @ residual
    return prediction.squeeze(-2)

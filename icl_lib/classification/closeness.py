"""Paper 2's experiment: one trained self-attention head beside one gradient-descent step, on classes in context.

Linear attention is compared with a step of linear classification, softmax attention with a context-adaptive step
of kernel gradient descent; rate and width of the steps are fitted on contexts of their own.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import xarray
from torch import Tensor

from icl_lib import alignment, constructions
from icl_lib.attention import KINDS
from icl_lib.classification import descent, head
from icl_lib.classification.contexts import ContextTask, Examples
from icl_lib.classification.head import Row
from icl_lib.classification.kernels import LINEAR, OWN_TOKEN, SOFTMAX, KernelStep, Scores
from icl_lib.running import training
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_number

# Adam's rate, and the norm that a gradient is cut to, by kind of attention.
TRAINING: dict[str, dict[str, float]] = {
    "linear": {"rate": 0.01, "clip": 0.001},
    "softmax": {"rate": 0.03, "clip": 1.0},
}
# From its small start training multiplies rounding: in float32 another processor ends at other widths, and at the other
# sign of one.
DTYPE = torch.float64
# Contexts of a repetition drawn at once, for several updates where those are small.
CONTEXTS_TOGETHER = 160
BLOCKS = ("all", "apart")
STARTS = ("random", "step")


@dataclass(frozen=True)
class ClassifierCloseness:
    """Train full W_Q, W_K, W_V, W_P on `task` and measure the head against the step it should be.

    `batch` fresh contexts a training step and repetition, each repetition with its own, and where the query is
    class-balanced a query of every class in each; `tuning` contexts for the step's two numbers, one set, so that their
    error is small beside the differences reported; `test` contexts a repetition, one query each. `rate` is Adam's,
    falling to 0 along a cosine after `warm_up` steps, or constant by `schedule`; `init` the standard deviation of the
    weights at the start in units of 1/√(d + C); `clip` the largest norm of a repetition's gradient, None for no limit.
    Without `projected` there is no W_P, with `own_token` the query attends to itself. With `blocks="apart"` W_Q and W_K
    see inputs only and W_V and W_P labels only, as in the construction; with `"all"` every entry is trained. With
    `start="step"` the random start is added to the layer that is the fitted step.
    """

    task: ContextTask
    attention: str
    rate: float
    clip: float | None = None
    init: float = 0.002
    beta2: float = 0.999
    projected: bool = True
    own_token: bool = False
    blocks: str = "all"
    start: str = "random"
    repetitions: int = 10
    steps: int = 2000
    batch: int = 16
    schedule: str = "cosine"
    warm_up: int = 0
    tuning: int = 10_000
    test: int = 1000
    record_every: int = 100
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_instance("task", self.task, ContextTask)
        check_choice("attention", self.attention, KINDS)
        check_choice("blocks", self.blocks, BLOCKS)
        check_choice("start", self.start, STARTS)
        self.optimiser.__post_init__()
        check_number("init", self.init, above=0)
        if self.clip is not None:
            check_number("clip", self.clip, above=0)
        for name in ("projected", "own_token"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("repetitions", "batch", "tuning", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, self.schedule, self.warm_up, 0.9, self.beta2)

    @property
    def scale(self) -> float:
        """The factor of the scores in training, in softmax attention 1/√(d + C) as in the authors' code."""
        return 1 / math.sqrt(self.task.d + self.task.classes) if self.attention == "softmax" else 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The matrices that are trained."""
        return ("W_Q", "W_K", "W_V", "W_P") if self.projected else ("W_Q", "W_K", "W_V")

    @property
    def step(self) -> KernelStep:
        """The step that the head is compared with."""
        if self.attention == "linear":
            return LINEAR
        return OWN_TOKEN if self.own_token else SOFTMAX

    def row(self, weights: training.Parameters) -> Row:
        """The query's row of layers with `weights` (..., e, e)."""
        return Row.of(weights["W_Q"], weights["W_K"], weights["W_V"], self.task.d, weights.get("W_P"), self.scale)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, fit and test: named arrays over (repetition, step), the last weights, and the last losses."""
        return self.compute_together([self], device)[0]

    @property
    def draws(self) -> Hashable:
        """By what `compute_together` draws; trainings for which it is equal see the same contexts."""
        alike = replace(self, attention="linear", projected=True, init=1.0, blocks="all", start="random")
        return replace(alike, rate=1.0, clip=None, beta2=0.0, schedule="constant", warm_up=0)

    @staticmethod
    def compute_together(configs: "Sequence[ClassifierCloseness]", device: torch.device) -> list[xarray.Dataset]:
        """The results of trainings with the same `draws`, each as if it were computed alone."""
        steps = training.recorded_steps(configs[0].steps, configs[0].record_every)
        trained = train_weights_together(configs, device, steps)
        # They see the same contexts in tuning too, so a step is fitted once.
        first_of = {config.step: config for config in reversed(configs)}
        fits = {step: (fit_step(config), _fit_shorter(config)) for step, config in first_of.items()}
        return [
            config.tested(weights, steps, *fits[config.step]) for config, weights in zip(configs, trained, strict=True)
        ]

    def tested(
        self, trained: training.Parameters, steps: list[int], fitted: descent.Fit, other: descent.Fit
    ) -> xarray.Dataset:
        """Test the trained weights at every one of `steps` beside the step `fitted`, and one fitted at another n."""
        weights = {name: value.cpu() for name, value in trained.items()}
        rows = self.row(weights)
        tested = [measure(self, r, Row(rows.A[:, r], rows.V[:, r]), fitted, other) for r in range(self.repetitions)]
        means = {name: (("repetition", "step"), [row[0][name].tolist() for row in tested]) for name in tested[0][0]}
        means["width"] = (("repetition", "step"), rows.width.mT.tolist())
        last = {
            name: (("repetition", "context"), torch.stack([row[1][name] for row in tested]).numpy())
            for name in tested[0][1]
        }
        # The row is all that the prediction depends on.
        ends = {
            "A": (("repetition", "input", "token"), rows.A[-1].numpy()),
            "V": (("repetition", "class", "token"), rows.V[-1].numpy()),
        }
        coordinates = {"step": steps, "repetition": list(range(self.repetitions))}
        return xarray.Dataset({**means, **last, **ends}, coords=coordinates).assign(
            beta=fitted.beta, eta=fitted.eta[0], classes=self.task.classes
        )


@checked()
def paper_scale(task: ContextTask, attention: str, **changes: Any) -> ClassifierCloseness:
    """The experiment with the rate and clipping that belong to the kind of attention; `changes` replaces fields."""
    check_choice("attention", attention, KINDS)
    return ClassifierCloseness(**{"task": task, "attention": attention, **TRAINING[attention], **changes})


def train_weights(config: ClassifierCloseness, device: torch.device, record_at: list[int]) -> training.Parameters:
    """Snapshots of the trained matrices, (S, R, e, e) each."""
    return train_weights_together([config], device, record_at)[0]


def train_weights_together(
    configs: Sequence[ClassifierCloseness], device: torch.device, record_at: list[int]
) -> list[training.Parameters]:
    """The same for every one of configs with the same `draws`, on the same contexts."""
    first = configs[0]
    generators = [stream(first.seed, "train", r, device) for r in range(first.repetitions)]
    drawn = batches(first, generators, device)
    members = [_member(config, device) for config in configs]
    alike = generators if first.task.draws_alike else None
    return training.train_together(members, lambda: next(drawn), record_at, alike)


def _member(config: ClassifierCloseness, device: torch.device) -> training.Member:
    free = _free_entries(config, device)
    start = {name: free[name] * value.to(device) for name, value in _start(config).items()}

    def gradient(parameters: training.Parameters, batch: tuple[Tensor, ...]) -> training.Parameters:
        tokens, x_query, y_query = batch
        slopes = head.weight_gradient(config.attention, tokens, x_query, y_query, parameters, config.scale)
        moved = {name: free[name] * slopes[name] for name in config.names}
        return moved if config.clip is None else training.clipped(moved, config.clip)

    return training.Member(start, gradient, config.optimiser)


def batches(
    config: ClassifierCloseness, generators: list[torch.Generator], device: torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """What each update sees, without end: tokens (R, B, e, T), queries (R, B, Q, d) and their labels (R, B, Q, C)."""
    # A small batch is all overhead where contexts are drawn by rejection; one that a GPU records is drawn each time.
    together = 1 if config.task.draws_alike else max(1, CONTEXTS_TOGETHER // config.batch)
    sources = [(config.task.of_repetition(r), generator) for r, generator in enumerate(generators)]
    while True:
        drawn = [_contexts(config, task, together * config.batch, generator, device) for task, generator in sources]
        parts = [torch.stack(part) for part in zip(*drawn, strict=True)]
        yield from zip(*(part.split(config.batch, dim=1) for part in parts), strict=True)


def _contexts(
    config: ClassifierCloseness, task: ContextTask, count: int, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, e, T), queries (B, Q, d) and labels (B, Q, C): a query of every class where each is asked alike."""
    if task.balance == "context and query" and not config.own_token:
        context = task.sample_every_query(count, generator, device, DTYPE)
        return head.token_columns(context), context.x_query, context.y_query
    context = task.sample(count, generator, device, DTYPE)
    return head.token_columns(context, config.own_token), context.x_query.unsqueeze(-2), context.y_query.unsqueeze(-2)


def _start(config: ClassifierCloseness) -> training.Parameters:
    """The weights before training, (R, e, e) each."""
    e = config.task.d + config.task.classes
    drawn = torch.stack(
        [
            torch.randn(len(config.names), e, e, generator=stream(config.seed, "init", r))
            for r in range(config.repetitions)
        ]
    ).to(DTYPE) * (config.init / math.sqrt(e))
    start = {name: drawn[:, k] for k, name in enumerate(config.names)}
    if config.start == "random":
        return start
    at = _at_the_step(config)
    return {name: at[name] + value for name, value in start.items()}


def _at_the_step(config: ClassifierCloseness) -> training.Parameters:
    """The layers that are the steps fitted to what each repetition draws from, (R, e, e) each."""
    tasks = [config.task.of_repetition(r) for r in range(config.repetitions)]
    fitted = {task: fit_step(replace(config, task=task)) for task in dict.fromkeys(tasks)}
    made = [step_weights(config, fitted[task]) for task in tasks]
    W_Q, W_K, W_V = (torch.stack(parts) for parts in zip(*made, strict=True))
    return {"W_Q": W_Q / config.scale, "W_K": W_K, "W_V": W_V, "W_P": torch.eye(W_Q.shape[-1], dtype=DTYPE)}


def _free_entries(config: ClassifierCloseness, device: torch.device) -> training.Parameters:
    """1 where an entry of a matrix is trained, 0 where it stays 0."""
    d, e = config.task.d, config.task.d + config.task.classes
    if config.blocks == "all":
        return {name: torch.ones(e, e, device=device, dtype=DTYPE) for name in config.names}
    inputs, labels = (torch.zeros(e, e, device=device, dtype=DTYPE) for _ in range(2))
    inputs[:d, :d], labels[d:, d:] = 1, 1
    return {name: inputs if name in ("W_Q", "W_K") else labels for name in config.names}


def tuning_contexts(config: ClassifierCloseness) -> Examples:
    """The contexts that rate and width are fitted on, `tuning` of them, drawn in float32 and given in float64."""
    return config.task.sample(config.tuning, stream(config.seed, "tune")).double()


def fit_step(config: ClassifierCloseness) -> descent.Fit:
    """Rate and width of the step on the tuning contexts."""
    context = tuning_contexts(config)
    return descent.fit(config.step, [Scores.of_examples(context)], context.y_query)


def _fit_shorter(config: ClassifierCloseness) -> descent.Fit:
    """The control: the same step with the numbers that fit contexts a tenth as long."""
    shorter = max(1, config.task.n // 10 // config.task.classes) * config.task.classes
    return fit_step(replace(config, task=replace(config.task, n=shorter)))


@checked()
def step_weights(config: ClassifierCloseness, fitted: descent.Fit) -> constructions.Weights:
    """The layer that is the fitted step (`prop-linear-step`, `prop-kernel-step`), in float64."""
    n, d, classes, eta = config.task.n, config.task.d, config.task.classes, fitted.eta[0]
    if config.attention == "linear":
        return constructions.linear_classifier_step(n, d, classes, eta, dtype=DTYPE)
    return constructions.kernel_classifier_step(d, classes, fitted.beta, eta, dtype=DTYPE)


@checked()
def step_row(config: ClassifierCloseness, fitted: descent.Fit) -> Row:
    """The query's row of that layer."""
    return Row.of(*step_weights(config, fitted), config.task.d)


def measure(
    config: ClassifierCloseness, repetition: int, rows: Row, fitted: descent.Fit, other: descent.Fit
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Means over this repetition's test contexts for every snapshot's row (S,), and the last snapshot's contexts (B,).

    Losses are cross-entropies; `accuracy_*` the share of contexts in which the likeliest class is the right one.
    `cos_by_class` is the cosine of every class's gradient by itself, averaged over classes, as the authors take it.
    Controls, which must not look close: the step on contexts whose labels have been shuffled, and the step
    `other`, fitted at another n.
    """
    generator = stream(config.seed, "test", repetition)
    context = config.task.sample(config.test, generator, dtype=DTYPE)
    see = _Seen(config.attention, context, config.own_token)
    p_gd, J_gd = see.sensitivity(step_row(config, fitted))
    # Points are independent given their labels, so labels in another order are shuffled ones.
    order = torch.randperm(config.task.n, generator=generator)
    shuffled = _Seen(config.attention, context._replace(y=context.y[:, order]), config.own_token)
    p_shuffled, J_shuffled = shuffled.sensitivity(step_row(config, fitted))
    p_other = torch.softmax(see.logits(step_row(config, other)), dim=-1)
    taken: list[dict[str, Tensor]] = []
    for A, V in zip(rows.A, rows.V, strict=True):
        p_sa, J_sa = see.sensitivity(Row(A, V))
        taken.append(
            {
                "loss_sa": _loss(p_sa, context.y_query),
                "loss_gd": _loss(p_gd, context.y_query),
                "accuracy_sa": _right(p_sa, context.y_query),
                "accuracy_gd": _right(p_gd, context.y_query),
                "preds_diff": alignment.preds_diff(p_sa, p_gd),
                "model_diff": alignment.classifier_model_diff(J_sa, J_gd),
                "model_diff_by_class": (J_sa - J_gd).norm(dim=-1).mean(-1),
                "model_cos": alignment.classifier_model_cos(J_sa, J_gd),
                "cos_by_class": alignment.cosine(J_sa, J_gd).mean(-1),
                "control_shuffled_loss": _loss(p_shuffled, context.y_query),
                "control_shuffled_diff": alignment.preds_diff(p_sa, p_shuffled),
                "control_shuffled_cos": alignment.classifier_model_cos(J_sa, J_shuffled),
                "control_other_n_loss": _loss(p_other, context.y_query),
            }
        )
    means = {name: torch.stack([row[name].double().mean() for row in taken]) for name in taken[0]}
    last = {"context_loss_sa": taken[-1]["loss_sa"], "context_loss_gd": taken[-1]["loss_gd"]}
    last["context_loss_shuffled"] = _loss(p_shuffled, context.y_query)
    for model, p in (("sa", p_sa), ("gd", p_gd), ("shuffled", p_shuffled)):
        last[f"context_probability_{model}"] = (p * context.y_query).sum(-1)
        last[f"context_entropy_{model}"] = alignment.entropy(p)
    return means, last


class _Seen:
    """Test contexts as a head of one kind of attention sees them."""

    def __init__(self, kind: str, context: Examples, own_token: bool) -> None:
        self.kind, self.own_token, self.x_query = kind, own_token, context.x_query
        self.tokens = head.token_columns(context, own_token)

    def logits(self, row: Row) -> Tensor:
        return head.logits(self.kind, self.tokens, self.x_query, row)

    def sensitivity(self, row: Row) -> tuple[Tensor, Tensor]:
        return head.sensitivity(self.kind, self.tokens, self.x_query, row, self.own_token)


def _loss(p: Tensor, y: Tensor) -> Tensor:
    return -(p * y).sum(-1).clamp_min(torch.finfo(p.dtype).tiny).log()


def _right(p: Tensor, y: Tensor) -> Tensor:
    return (p.argmax(-1) == y.argmax(-1)).to(p.dtype)

"""Paper 2's experiment: one trained self-attention head beside one gradient-descent step, on classes in context.

Linear attention is compared with a step of linear classification, softmax attention with a context-adaptive step
of kernel gradient descent; rate and width of the steps are fitted on contexts of their own.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
import xarray
from torch import Tensor

from icl_lib import alignment, constructions
from icl_lib.attention import KINDS
from icl_lib.classification import descent
from icl_lib.classification import head as classifier_attention
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.head import Row
from icl_lib.classification.kernels import KernelStep, Scores
from icl_lib.running import training
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer, check_number

# Adam's rate and the entries' standard deviation at the start; a larger start puts softmax attention at risk of
# the minimum with β < 0.
TRAINING: dict[str, dict[str, float]] = {
    "linear": {"rate": 0.03, "init": 0.1},
    "softmax": {"rate": 0.06, "init": 0.03},
}
BLOCKS = ("all", "apart")
STARTS = ("random", "step")
STEPS = {"linear": KernelStep("linear", "n"), "softmax": KernelStep()}


@dataclass(frozen=True)
class ClassifierCloseness:
    """Train full W_Q, W_K, W_V on `task` and measure the head against the step it should be.

    `batch` fresh contexts a training step and repetition, each repetition with its own; `tuning` contexts for the
    step's two numbers, one set, so that their error is small beside the differences reported; `test` contexts a
    repetition. `rate` is Adam's, cosine to 0 after `warm_up` steps; `init` the standard deviation of the weights.
    With `blocks="apart"` W_Q and W_K see inputs only and W_V labels only, as in the construction; with `"all"`
    every entry is trained. With `start="step"` the random start is added to the layer that is the fitted step.
    """

    task: SphereClassification
    attention: str
    rate: float
    init: float
    blocks: str = "all"
    start: str = "random"
    repetitions: int = 10
    steps: int = 2000
    batch: int = 64
    warm_up: int = 20
    tuning: int = 10_000
    test: int = 1000
    record_every: int = 100
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.task, SphereClassification):
            raise TypeError(f"task must be a SphereClassification, got {self.task!r}")
        check_choice("attention", self.attention, KINDS)
        check_choice("blocks", self.blocks, BLOCKS)
        check_choice("start", self.start, STARTS)
        self.optimiser.__post_init__()
        check_number("init", self.init, above=0)
        for name in ("repetitions", "batch", "tuning", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, "cosine", self.warm_up, 0.9, 0.95)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, fit and test: named arrays over (repetition, step), the last weights, and the last losses."""
        steps = training.recorded_steps(self.steps, self.record_every)
        weights = {name: value.cpu() for name, value in train_weights(self, device, steps).items()}
        fitted = fit_step(self)
        # The control: the same step with the numbers that fit contexts a tenth as long.
        other = fit_step(replace(self, task=replace(self.task, n=max(1, self.task.n // 10))))
        tested = [
            test_repetition(self, r, {k: v[:, r] for k, v in weights.items()}, fitted, other) for r in self._repetitions
        ]
        means = {name: (("repetition", "step"), [row[0][name].tolist() for row in tested]) for name in tested[0][0]}
        rows = Row.of(weights["W_Q"], weights["W_K"], weights["W_V"], self.task.d)
        means["width"] = (("repetition", "step"), rows.width.mT.tolist())
        last = {
            name: (("repetition", "context"), torch.stack([row[1][name] for row in tested]).numpy())
            for name in tested[0][1]
        }
        matrices = {name: (("repetition", "row", "column"), value[-1].numpy()) for name, value in weights.items()}
        coordinates = {"step": steps, "repetition": list(self._repetitions)}
        return xarray.Dataset({**means, **last, **matrices}, coords=coordinates).assign(
            beta=fitted.beta, eta=fitted.eta[0], classes=self.task.classes
        )

    @property
    def _repetitions(self) -> range:
        return range(self.repetitions)


def paper_scale(task: SphereClassification, attention: str, **changes: Any) -> ClassifierCloseness:
    """The experiment with the rate and start that belong to the kind of attention; `changes` replaces fields."""
    check_choice("attention", attention, KINDS)
    return ClassifierCloseness(**{"task": task, "attention": attention, **TRAINING[attention], **changes})


def train_weights(config: ClassifierCloseness, device: torch.device, record_at: list[int]) -> training.Parameters:
    """Snapshots of W_Q, W_K, W_V while they train, (S, R, e, e) each; linear attention's values hold the 1/n."""
    task, names = config.task, ("W_Q", "W_K", "W_V")
    d, e = task.d, task.d + task.classes
    generators = [stream(config.seed, "train", r, device) for r in range(config.repetitions)]
    drawn = [
        torch.randn(3, e, e, generator=stream(config.seed, "init", r)) * config.init for r in range(config.repetitions)
    ]
    free = _free_entries(config, device)
    start = {name: free[name] * torch.stack([w[k] for w in drawn]).to(device) for k, name in enumerate(names)}
    tokens = torch.zeros(config.repetitions, config.batch, e, task.n + 1, device=device)
    y_query = torch.zeros(config.repetitions, config.batch, task.classes, device=device)
    scale = 1 / task.n if config.attention == "linear" else 1.0
    if config.start == "step":
        W_Q, W_K, W_V = (weight.to(device) for weight in step_weights(config, fit_step(config)))
        start = {"W_Q": start["W_Q"] + W_Q, "W_K": start["W_K"] + W_K, "W_V": start["W_V"] + W_V / scale}

    def gradient(parameters: training.Parameters) -> training.Parameters:
        for r, generator in enumerate(generators):
            context = task.sample(config.batch, generator, device)
            tokens[r, :, :d, :-1], tokens[r, :, :d, -1] = context.x.mT, context.x_query
            tokens[r, :, d:, :-1], y_query[r] = context.y.mT, context.y_query
        W_Q, W_K, W_V = (parameters[name] for name in names)
        slope = classifier_attention.weight_gradient(config.attention, tokens, y_query, W_Q, W_K, scale * W_V)
        slope["W_V"] = scale * slope["W_V"]
        return slope if config.blocks == "all" else {name: free[name] * slope[name] for name in names}

    alike = generators if task.draws_alike else None
    snapshots = training.train(start, gradient, config.optimiser, record_at, alike)
    return {**snapshots, "W_V": scale * snapshots["W_V"]}


def _free_entries(config: ClassifierCloseness, device: torch.device) -> training.Parameters:
    """1 where an entry of W_Q, W_K, W_V is trained, 0 where it stays 0."""
    d, e = config.task.d, config.task.d + config.task.classes
    if config.blocks == "all":
        return {name: torch.ones(e, e, device=device) for name in ("W_Q", "W_K", "W_V")}
    inputs, labels = torch.zeros(e, e, device=device), torch.zeros(e, e, device=device)
    inputs[:d, :d], labels[d:, d:] = 1, 1
    return {"W_Q": inputs, "W_K": inputs, "W_V": labels}


def fit_step(config: ClassifierCloseness) -> descent.Fit:
    """Rate and width of the step on the tuning contexts."""
    context = config.task.sample(config.tuning, stream(config.seed, "tune"))
    return descent.fit(STEPS[config.attention], [Scores.of_examples(context)], context.y_query)


def step_weights(config: ClassifierCloseness, fitted: descent.Fit) -> constructions.Weights:
    """The layer that is the fitted step (Propositions 3.1 and 3.2), in float32."""
    n, d, classes, eta = config.task.n, config.task.d, config.task.classes, fitted.eta[0]
    if config.attention == "linear":
        return constructions.linear_classifier_step(n, d, classes, eta, dtype=torch.float32)
    return constructions.kernel_classifier_step(d, classes, fitted.beta, eta, dtype=torch.float32)


def step_row(config: ClassifierCloseness, fitted: descent.Fit) -> Row:
    """The query's row of that layer."""
    return Row.of(*step_weights(config, fitted), config.task.d)


def test_repetition(
    config: ClassifierCloseness, repetition: int, weights: training.Parameters, fitted: descent.Fit, other: descent.Fit
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Means over this repetition's test contexts for every snapshot (S,), and the last snapshot's contexts (B,).

    Losses are cross-entropies; `accuracy_*` the share of contexts in which the likeliest class is the right one.
    Controls, which must not look close: the step on contexts whose labels have been shuffled, and the step
    `other`, fitted at another n.
    """
    context = config.task.sample(config.test, stream(config.seed, "test", repetition))
    tokens, kind = classifier_attention.token_columns(context), config.attention
    row = step_row(config, fitted)
    p_gd, J_gd = classifier_attention.sensitivity(kind, tokens, row)
    # Points are independent draws, so moving every label on to the next point shuffles them.
    shuffled = classifier_attention.token_columns(context._replace(y=context.y.roll(1, dims=-2)))
    p_shuffled, J_shuffled = classifier_attention.sensitivity(kind, shuffled, row)
    p_other, _ = classifier_attention.sensitivity(kind, tokens, step_row(config, other))
    rows = Row.of(weights["W_Q"], weights["W_K"], weights["W_V"], config.task.d)
    taken: list[dict[str, Tensor]] = []
    for A, V in zip(rows.A, rows.V, strict=True):
        p_sa, J_sa = classifier_attention.sensitivity(kind, tokens, Row(A, V))
        taken.append(
            {
                "loss_sa": _loss(p_sa, context.y_query),
                "loss_gd": _loss(p_gd, context.y_query),
                "accuracy_sa": _right(p_sa, context.y_query),
                "accuracy_gd": _right(p_gd, context.y_query),
                "preds_diff": alignment.preds_diff(p_sa, p_gd),
                "model_diff": alignment.classifier_model_diff(J_sa, J_gd),
                "model_cos": alignment.classifier_model_cos(J_sa, J_gd),
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


def _loss(p: Tensor, y: Tensor) -> Tensor:
    return -(p * y).sum(-1).clamp_min(torch.finfo(p.dtype).tiny).log()


def _right(p: Tensor, y: Tensor) -> Tensor:
    return (p.argmax(-1) == y.argmax(-1)).to(p.dtype)

"""Readings of paper 1's experiment: each way to fill what its record leaves open, trained and measured alike.

Every reading trains a layer by autograd on explicit tasks and holds it against one gradient-descent step on the
same tasks, with the rate from a line search on others, those of all repetitions. Readings share their streams, so two
readings with the same documents are tested on the same tasks.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import xarray
from torch import Generator, Tensor

from icl_lib import alignment
from icl_lib.running import training
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_number, check_sign
from icl_lib.softmax_regression import word_sensitivity
from icl_lib.softmax_regression.descent_rate import minimise_over_rates
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.layers import logits, readout, step_values
from icl_lib.softmax_regression.reading_layers import Layer, LinearLayer, SoftmaxLayer, StartedTasks, TokenLayer
from icl_lib.softmax_regression.variations import VariedDocuments
from icl_lib.softmax_regression.word_sensitivity import Sensitivity

LAYERS = ("linear", "tokens", "softmax")
VALUES = {"linear": ("centred", "raw"), "tokens": ("centred", "constant channel"), "softmax": ("raw",)}
UNITS = ("softmax", "none")
OPTIMISERS = {"adam": training.Adam, "sgd": training.SGD}


@dataclass(frozen=True)
class Reading:
    """One reading of the experiment on n words in d dimensions.

    `layer`: linear attention with one matrix (`"linear"`), with full W_Q, W_K, W_V, P on tokens (`"tokens"`), or
    softmax attention with a trained score matrix and gain a head (`"softmax"`; `heads` 1 or 2, which differ in
    sign; `sign` is that of the first head's scores at the start and `kernel_scale` their size). `values`: what
    the layer reads of b, centred, raw, or raw beside a constant channel. `unit`: the softmax unit over words on
    top, or none. `own_target`: query tokens carry their own b (only `"tokens"` on the same document).
    `start`: standard deviation of the logits A x₀ of a random x₀ (0: x₀ = 0).

    `target`, `words`, `scale`, `row_scale` are those of `VariedDocuments`. `training_set` tasks a repetition are
    used again and again where it is not 0, else every update draws fresh ones. `init` is the standard deviation of
    the entries of full matrices at the start; that of a single matrix is √(0.002/d).
    """

    n: int = 25
    d: int = 20
    query: str = "held"
    layer: str = "linear"
    values: str = "centred"
    heads: int = 1
    sign: int = 1
    kernel_scale: float = 0.05
    unit: str = "softmax"
    own_target: bool = False
    start: float = 0.0
    target: str = "softmax"
    words: str = "gaussian"
    scale: float = 1.0
    row_scale: float = 1.0
    optimiser: str = "adam"
    rate: float = 0.01
    schedule: str = "cosine"
    training_set: int = 0
    init: float = 0.1
    repetitions: int = 10
    steps: int = 300
    batch: int = 50
    tuning: int = 1000
    test: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.task.__post_init__()
        check_choice("layer", self.layer, LAYERS)
        check_choice("values", self.values, VALUES[self.layer])
        check_integer("heads", self.heads, 1, 2 if self.layer == "softmax" else 1)
        check_sign("sign", self.sign)
        check_instance("own_target", self.own_target, bool)
        if self.sign == -1 and self.layer != "softmax":
            raise ValueError(f"sign must be 1, or -1 with layer='softmax', got {self.sign!r}")
        check_number("kernel_scale", self.kernel_scale, above=0)
        check_choice("unit", self.unit, UNITS)
        if self.own_target and (self.layer, self.query) != ("tokens", "same"):
            raise ValueError("own_target must be False unless layer='tokens' and query='same', got True")
        check_number("start", self.start, minimum=0)
        if self.start > 0 and (self.layer, self.values, self.unit) != ("linear", "centred", "softmax"):
            raise ValueError(f"start must be 0 unless the layer is linear and centred with a unit, got {self.start}")
        check_choice("optimiser", self.optimiser, tuple(OPTIMISERS))
        _ = self.updates
        for name in ("repetitions", "batch", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("training_set", self.training_set, 0)
        if self.training_set % self.batch:
            raise ValueError(f"training_set must be a multiple of batch = {self.batch}, got {self.training_set}")
        check_number("init", self.init, minimum=0)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> VariedDocuments:
        """The distribution of tasks."""
        return VariedDocuments(self.n, self.d, self.query, self.target, self.words, self.scale, self.row_scale)

    @property
    def updates(self) -> training.Optimiser:
        """The optimiser and its schedule."""
        return OPTIMISERS[self.optimiser](self.rate, self.steps, self.schedule)

    @property
    def model(self) -> Layer:
        """The layer that is trained."""
        if self.layer == "linear":
            return LinearLayer(self.d, self.values == "centred")
        if self.layer == "tokens":
            return TokenLayer(self.d, self.values == "constant channel", self.own_target, self.init)
        return SoftmaxLayer(self.d, self.heads, self.sign, self.kernel_scale)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, tune and test: named arrays over (repetition, step), step 0 and the last, and the last parameters.

        Those are called `trained_<name>`.
        """
        steps = [0, self.steps]
        start = self.model.initial([stream(self.seed, "init/reading", r) for r in range(self.repetitions)])
        start = {name: values.to(device) for name, values in start.items()}
        generators = [stream(self.seed, "train/reading", r, device) for r in range(self.repetitions)]
        gradient = _gradient(self, generators, device)
        # A training set is gone through in turns, so its steps differ in more than what the generators draw.
        alike = generators if self.training_set == 0 else None
        snapshots = training.train(start, gradient, self.updates, steps, alike)
        trained = {name: values.to("cpu", torch.float64) for name, values in snapshots.items()}
        rate = tune_rate(self, *range(self.repetitions))
        tested = [
            test_repetition(self, r, {name: values[:, r] for name, values in trained.items()}, rate)
            for r in range(self.repetitions)
        ]
        data = {name: (("repetition", "step"), [row[name].tolist() for row in tested]) for name in tested[0]}
        result = xarray.Dataset(data, coords={"step": steps, "repetition": range(self.repetitions)})
        last = {
            f"trained_{name}": (("repetition", *(f"{name}_{k}" for k in range(values.dim() - 2))), values[-1].numpy())
            for name, values in trained.items()
        }
        return result.assign(rate=("repetition", [rate] * self.repetitions)).assign(last)


def draw(
    config: Reading, batch: int, generators: Sequence[Generator], device: torch.device, dtype: torch.dtype
) -> StartedTasks:
    """`batch` tasks for each of the R generators; leading dimensions (R, batch)."""
    drawn = [config.task.sample(batch, generator, device, dtype) for generator in generators]
    documents = _stack(drawn)
    if config.start == 0:
        return StartedTasks(documents, None)
    deviation = config.start / (config.row_scale * math.sqrt(config.d))
    x0 = [torch.randn(batch, config.d, generator=generator, device=device).to(dtype) for generator in generators]
    return StartedTasks(documents, torch.stack(x0) * deviation)


def _stack(drawn: Sequence[Documents]) -> Documents:
    """Tasks of all repetitions; the query of the same document stays without a copy."""
    A, b, x = (torch.stack([getattr(part, name) for part in drawn]) for name in ("A", "b", "x"))
    if drawn[0].A_query is drawn[0].A:
        return Documents(A, b, A, b, x)
    A_query, b_query = (torch.stack([getattr(part, name) for part in drawn]) for name in ("A_query", "b_query"))
    return Documents(A, b, A_query, b_query, x)


def _batches(config: Reading, generators: Sequence[Generator], device: torch.device) -> Callable[[], StartedTasks]:
    """What gives the next batch: fresh tasks, or the parts of a fixed training set in turn."""
    if config.training_set == 0:
        return lambda: draw(config, config.batch, generators, device, torch.float32)
    parts = [
        draw(config, config.batch, generators, device, torch.float32)
        for _ in range(config.training_set // config.batch)
    ]
    turns = itertools.cycle(parts)
    return lambda: next(turns)


def predictions(config: Reading, parameters: training.Parameters, tasks: StartedTasks) -> Tensor:
    """f (..., n) of the layer on the query documents."""
    z = config.model.logits(parameters, tasks)
    return torch.softmax(z, dim=-1) if config.unit == "softmax" else z


def _gradient(
    config: Reading, generators: Sequence[Generator], device: torch.device
) -> Callable[[training.Parameters], training.Parameters]:
    """The gradient of (n/2)‖f − b‖², a mean over the batch and a sum over repetitions, by autograd."""
    batches = _batches(config, generators, device)

    def objective(parameters: training.Parameters, tasks: StartedTasks) -> Tensor:
        f = predictions(config, parameters, tasks)
        return (0.5 * config.n) * (f - tasks.documents.b_query).square().sum(-1).mean(-1).sum()

    slope = torch.func.grad(objective)
    return lambda parameters: slope(parameters, batches())


def _tasks(config: Reading, purpose: str, repetition: int, count: int) -> StartedTasks:
    """Tasks of a repetition's stream without the leading dimension, in float64."""
    generator = stream(config.seed, f"{purpose}/reading", repetition)
    tasks = draw(config, count, [generator], torch.device("cpu"), torch.float64)
    return StartedTasks(Documents(*(part[0] for part in tasks.documents)), None if tasks.x0 is None else tasks.x0[0])


def _step(tasks: StartedTasks) -> tuple[Tensor, Tensor]:
    """x₀ and the direction −n ∇L(x₀) of the step, (B, d) each."""
    A, b = tasks.documents.A, tasks.documents.b
    h = readout(A, step_values(A, b, tasks.x0))
    return torch.zeros_like(h) if tasks.x0 is None else tasks.x0, h


def tune_rate(config: Reading, *repetitions: int) -> float:
    """η/n that minimises the loss of one step over the tuning tasks of these repetitions, by line search."""
    z0, z, b = (torch.cat(part) for part in zip(*(_tuning_logits(config, r) for r in repetitions), strict=True))
    return minimise_over_rates(lambda rate: float((torch.softmax(z0 + rate * z, dim=-1) - b).square().sum(-1).mean()))


def _tuning_logits(config: Reading, repetition: int) -> tuple[Tensor, Tensor, Tensor]:
    """The logits of x₀, those of the step at η/n = 1 beyond them, and the targets."""
    tasks = _tasks(config, "tune", repetition, config.tuning)
    x0, h = _step(tasks)
    A_query = tasks.documents.A_query
    return logits(A_query, x0), logits(A_query, h), tasks.documents.b_query


def test_repetition(
    config: Reading, repetition: int, parameters: training.Parameters, rate: float
) -> dict[str, Tensor]:
    """Means over this repetition's test tasks for every snapshot (S, ...): each entry has shape (S,).

    As in the closeness experiment; `gd_shift` is the mean of ‖f_GD − f(x₀)‖, how far the step goes.
    """
    tasks = _tasks(config, "test", repetition, config.test)
    A_query, b = tasks.documents.A_query, tasks.documents.b_query
    f_sa = predictions(config, parameters, tasks)
    of_layer = word_sensitivity.of_softmax if config.unit == "softmax" else word_sensitivity.of_logits
    J_sa = of_layer(f_sa, config.model.directions(parameters, tasks))
    x0, h = _step(tasks)
    f_start, _ = _predict(A_query, x0)
    f_gd, J_gd = _predict(A_query, x0 + rate * h)
    f_far, J_far = _predict(A_query, x0 + 3 * rate * h)
    model_diff, model_cos = word_sensitivity.model_diff_and_cos(J_sa, J_gd)
    measured = {
        "loss_sa": _loss(f_sa, b),
        "loss_gd": _loss(f_gd, b),
        "loss_uniform": _loss(torch.full_like(b, 1 / config.n), b),
        "preds_diff": alignment.preds_diff(f_sa, f_gd.expand_as(f_sa)),
        "model_diff": model_diff,
        "model_cos": model_cos,
        "gd_shift": alignment.preds_diff(f_gd, f_start),
        "control_threefold_diff": alignment.preds_diff(f_far, f_gd),
        "control_threefold_cos": word_sensitivity.model_cos(J_far, J_gd),
        "control_shuffled_cos": word_sensitivity.model_cos(J_sa, Sensitivity(*(part.roll(1, 0) for part in J_gd))),
    }
    return {name: value.mean(-1).expand(len(f_sa)) for name, value in measured.items()}


def _predict(A_query: Tensor, x: Tensor) -> tuple[Tensor, Sensitivity]:
    f = torch.softmax(logits(A_query, x), dim=-1)
    return f, word_sensitivity.of_softmax(f, x.unsqueeze(-2))


def _loss(f: Tensor, b: Tensor) -> Tensor:
    return 0.5 * (f - b).square().sum(-1)

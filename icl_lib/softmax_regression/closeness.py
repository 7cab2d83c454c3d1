"""Paper 1's experiment: one trained self-attention layer beside one gradient-descent step, on softmax regression.

The layer is linear attention with centred values, then the softmax unit over words: f_SA = softmax(A_q M h),
h = Aᵀ(b − mean b), with M (d, d) trained. The step is f_GD = softmax(A_q (η/n) h), η by line search.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running import training
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression import descent_rate, reduced_sampling
from icl_lib.softmax_regression.blocks import Block, blocks
from icl_lib.softmax_regression.documents import SoftmaxRegression

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Words drawn at a time. Fewer, and the calls of some fifty operations take longer than their work; more, and the eight
# or so arrays of a step leave a core's caches. Memory is bounded by blocks, not by n × batch × repetitions. A GPU
# takes all repetitions at once.
CPU_BLOCK = 200_000
GPU_BLOCK = 2**27


@dataclass(frozen=True)
class Closeness:
    """Train the layer on n words in d dimensions and measure it against the step.

    `batch` fresh tasks a training step and repetition and `test` tasks for every number reported; each repetition has
    its own of each. Every repetition draws `tuning` tasks, and the line search for the step's rate sees those of all:
    the layer has seen many more. What a search on those of one repetition gives stands beside it. `rate` is Adam's,
    constant unless `schedule` is "cosine". `init_variance` / d is the variance of the entries of M at the start.
    `condition` is that of the words' covariance, as in `SoftmaxRegression`.
    """

    n: int
    d: int
    query: str = "held"
    scale: float = 1.0
    repetitions: int = 10
    steps: int = 400
    batch: int = 1000
    tuning: int = 1000
    test: int = 1000
    rate: float = 0.005
    schedule: str = "constant"
    init_variance: float = 0.002
    record_every: int = 20
    seed: int = 0
    dtype: str = "float32"
    condition: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.task.__post_init__()
        self.optimiser.__post_init__()
        for name in ("repetitions", "batch", "tuning", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_number("init_variance", self.init_variance, minimum=0)
        check_choice("dtype", self.dtype, tuple(DTYPES))
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> SoftmaxRegression:
        """The distribution of tasks."""
        return SoftmaxRegression(self.n, self.d, self.scale, self.query, self.condition)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, self.schedule)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, tune and test: named arrays over (repetition, step), and the last M of every repetition.

        `rate` is that of the step, the same for all repetitions, and `own_rate` that of each repetition's own search.
        """
        return self.compute_together([self], device)[0]

    @property
    def draws(self) -> Hashable:
        """By what `compute_together` draws: the same normals serve every d, scale and condition, and both queries."""
        return replace(self, d=1, query="held", scale=1.0, condition=1.0, init_variance=0.0)

    @staticmethod
    def compute_together(configs: "Sequence[Closeness]", device: torch.device) -> list[xarray.Dataset]:
        """The results of trainings with the same `draws`, each as if it were computed alone."""
        steps = training.recorded_steps(configs[0].steps, configs[0].record_every)
        trained = train_matrices_together(configs, device, steps)
        return [config.tested(M.to("cpu", torch.float64), steps) for config, M in zip(configs, trained, strict=True)]

    def tested(self, M: Tensor, steps: list[int]) -> xarray.Dataset:
        """Tune the step, and test the trained M (S, R, d, d) beside it at every one of `steps`."""
        rate, own = _tune_rates(self)
        tested = [test_repetition(self, r, M[:, r], rate, own[r]) for r in range(self.repetitions)]
        data = {name: (("repetition", "step"), [row[name].tolist() for row in tested]) for name in tested[0]}
        result = xarray.Dataset(data, coords={"step": steps, "repetition": range(self.repetitions)})
        rates = {"rate": ("repetition", [rate] * self.repetitions), "own_rate": ("repetition", own)}
        return result.assign(rates).assign(M=(("repetition", "row", "column"), M[-1].numpy()))


def initial_matrices(config: Closeness, device: torch.device) -> Tensor:
    """M at the start, (R, d, d): drawn on the CPU, so that it is the same for every device."""
    deviation = math.sqrt(config.init_variance / config.d)
    drawn = [
        torch.randn(config.d, config.d, generator=stream(config.seed, "init", r), dtype=torch.float64)
        for r in range(config.repetitions)
    ]
    return (torch.stack(drawn) * deviation).to(device, DTYPES[config.dtype])


def train_matrices(config: Closeness, device: torch.device, record_at: list[int]) -> Tensor:
    """Snapshots of M while it trains on reduced tasks, (S, R, d, d)."""
    return train_matrices_together([config], device, record_at)[0]


def train_matrices_together(configs: Sequence[Closeness], device: torch.device, record_at: list[int]) -> list[Tensor]:
    """The same for every one of configs with the same `draws`, on the same normals."""
    config, dtype = configs[0], DTYPES[configs[0].dtype]
    normals = _Normals.of(configs, device)
    block = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    tasks_at_once = max(1, min(config.batch, block // config.n))
    together = max(1, min(config.repetitions, block // (config.n * tasks_at_once)))
    sizes = training.even_parts(config.batch, tasks_at_once)
    names = [f"M {index}" for index in range(len(configs))]
    # In the coordinates in which words have the covariance I, M does what Σ^{1/2} M Σ^{1/2} does.
    roots = [each.task.root.to(device, dtype) for each in configs]

    def gradient(parameters: training.Parameters) -> training.Parameters:
        parts = []
        for start in range(0, config.repetitions, together):
            some = slice(start, start + together)
            unstretched = [root @ parameters[name][some] @ root for root, name in zip(roots, names, strict=True)]
            parts.append(_summed_gradients(configs, normals.part(some), sizes, unstretched))
        slopes = [torch.cat(slope) / config.batch for slope in zip(*parts, strict=True)]
        return {name: root @ slope @ root for name, root, slope in zip(names, roots, slopes, strict=True)}

    start = {name: initial_matrices(each, device) for name, each in zip(names, configs, strict=True)}
    trained = training.train(start, gradient, config.optimiser, record_at, normals.all)
    return [trained[name] for name in names]


class _Normals(NamedTuple):
    """The streams of trainings that draw together, one for each repetition: of words, of query words, of inputs by d.

    Words have the same normals in every dimension, and a held-out query has its own beside them: so what a training
    sees does not depend on which others there are.
    """

    words: list[torch.Generator]
    query: list[torch.Generator] | None
    inputs: dict[int, list[torch.Generator]]

    @classmethod
    def of(cls, configs: Sequence[Closeness], device: torch.device) -> "_Normals":
        seed, repetitions = configs[0].seed, range(configs[0].repetitions)

        def streams(purpose: str) -> list[torch.Generator]:
            return [stream(seed, purpose, r, device) for r in repetitions]

        query = streams("train/query") if any(config.query == "held" for config in configs) else None
        dimensions = dict.fromkeys(config.d for config in configs)
        return cls(streams("train"), query, {d: streams(f"train/inputs/{d}") for d in dimensions})

    @property
    def all(self) -> list[torch.Generator]:
        return [*self.words, *(self.query or []), *(one for streams in self.inputs.values() for one in streams)]

    def part(self, some: slice) -> "_Normals":
        """Those of some of the repetitions."""
        inputs = {d: streams[some] for d, streams in self.inputs.items()}
        return _Normals(self.words[some], self.query and self.query[some], inputs)


def _summed_gradients(
    configs: Sequence[Closeness], normals: _Normals, sizes: list[int], matrices: list[Tensor]
) -> list[Tensor]:
    """The gradients over `matrices` (R, d, d), summed over fresh tasks in parts of `sizes`."""
    sums = [torch.zeros_like(M) for M in matrices]
    (n, device, dtype) = configs[0].n, matrices[0].device, matrices[0].dtype
    alike: dict[tuple[int, float], list[int]] = {}
    for index, config in enumerate(configs):
        alike.setdefault((config.d, config.scale), []).append(index)
    for size in sizes:
        words = reduced_sampling.draw_normals((2, size, n), normals.words, device, dtype)
        own = reduced_sampling.draw_normals((size, n), normals.query, device, dtype) if normals.query else None
        inputs = {
            d: reduced_sampling.draw_normals((3, size, d), streams, device, dtype)
            for d, streams in normals.inputs.items()
        }
        for (d, _), members in alike.items():
            queries = {configs[index].query for index in members}
            tasks = reduced_sampling.assemble(configs[members[0]].task, queries, words, inputs[d], own)
            for index in members:
                sums[index] += reduced_sampling.matrix_gradient(tasks[configs[index].query], matrices[index])
    return sums


def _blocks(config: Closeness, purpose: str, repetition: int) -> Iterator[Block]:
    count = config.tuning if purpose == "tune" else config.test
    return blocks(config.task, count, stream(config.seed, purpose, repetition))


def tune_rate(config: Closeness, *repetitions: int, matrix: Tensor | None = None) -> float:
    """η/n that minimises the loss of one step over the tuning tasks of these repetitions, by line search.

    With a `matrix` M (d, d), or one for each repetition, the c with the least loss of layers cM; without, M = I.
    """
    eye = torch.eye(config.d, dtype=torch.float64)
    matrices = (eye if matrix is None else matrix).expand(len(repetitions), config.d, config.d)
    return _best_rate([part for r, M in zip(repetitions, matrices, strict=True) for part in _tuning(config, r, M)])


def _tune_rates(config: Closeness) -> tuple[float, list[float]]:
    """The rate by the tasks of all repetitions, and the rates by those of each."""
    eye = torch.eye(config.d, dtype=torch.float64)
    parts = [_tuning(config, r, eye) for r in range(config.repetitions)]
    return _best_rate([part for each in parts for part in each]), [_best_rate(each) for each in parts]


def _tuning(config: Closeness, repetition: int, M: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Logits (B, n) of the layer M on tuning tasks, and their targets: those of cM are c times as large."""
    return [
        (torch.einsum("bnd,bd->bn", tasks.A_query, tasks.h @ M.mT), tasks.b_query)
        for tasks in _blocks(config, "tune", repetition)
    ]


def _best_rate(parts: list[tuple[Tensor, Tensor]]) -> float:
    def loss(rate: float) -> float:
        return float(torch.cat([_loss(torch.softmax(rate * logits, dim=-1), b) for logits, b in parts]).mean())

    return descent_rate.minimise_over_rates(loss)


def test_repetition(config: Closeness, repetition: int, M: Tensor, rate: float, own_rate: float) -> dict[str, Tensor]:
    """Means over this repetition's test tasks for every snapshot of M (S, d, d): each entry has shape (S,).

    `loss_*` is ½‖f − b‖², `loss_gd_own` that of a step with `own_rate`; `gd_shift` is the mean of ‖f_GD − 1/n‖, the
    scale that belongs to `preds_diff`. The `control_*` entries must not look like closeness: the step against one with
    a threefold rate, and the layer against the step on another task.
    """
    measured: list[dict[str, Tensor]] = []
    controls: list[Tensor] = []
    ends: list[_Models] = []
    for tasks in _blocks(config, "test", repetition):
        models = _Models.of(tasks, M, rate)
        own = _step_loss(tasks, own_rate).unsqueeze(-1)
        measured.append({**_measures(models, tasks.b_query), "loss_gd_own": own})
        first, last = models.part(0, 1), models.part(-1, None)
        if ends:
            controls.append(_on_another_task(first, ends[-1]))
        controls.append(_on_another_task(models.part(1, None), models.part(0, -1)))
        ends = [*(ends[:1] or [first]), last]
    controls.insert(0, _on_another_task(ends[0], ends[-1]))
    found = {name: torch.cat([part[name] for part in measured]) for name in measured[0]}
    found["control_shuffled_cos"] = torch.cat(controls)
    return {name: value.mean(0).expand(len(M)) for name, value in found.items()}


class _Models(NamedTuple):
    """Predictions and directions of the layer, (B, S, n) and (B, S, d), and of the step, (B, 1, n) and (B, 1, d)."""

    f_sa: Tensor
    w: Tensor
    f_gd: Tensor
    x1: Tensor
    f_threefold: Tensor

    @classmethod
    def of(cls, tasks: Block, M: Tensor, rate: float) -> "_Models":
        w = torch.einsum("sij,bj->bsi", M, tasks.h)
        x1 = (rate * tasks.h).unsqueeze(-2)
        f_sa, f_gd, f_threefold = (torch.softmax((tasks.A_query @ v.mT).mT, dim=-1) for v in (w, x1, 3 * x1))
        return cls(f_sa, w, f_gd, x1, f_threefold)

    def part(self, start: int, stop: int | None) -> "_Models":
        """The tasks in [start, stop), in memory of their own."""
        return _Models(*(tensor[start:stop].clone() for tensor in self))


def _measures(models: _Models, b: Tensor) -> dict[str, Tensor]:
    """The entries of `test_repetition` for each task, (B, S), or (B, 1) where the layer has no part in it."""
    f_sa, w, f_gd, x1, f_threefold = models
    b = b.unsqueeze(-2)
    uniform = torch.full_like(b, 1 / b.shape[-1])
    model_diff, model_cos = alignment.model_diff_and_cos(f_sa, w, f_gd, x1)
    return {
        "loss_sa": _loss(f_sa, b),
        "loss_gd": _loss(f_gd, b),
        "loss_uniform": _loss(uniform, b),
        "preds_diff": alignment.preds_diff(f_sa, f_gd.expand_as(f_sa)),
        "model_diff": model_diff,
        "model_cos": model_cos,
        "gd_shift": alignment.preds_diff(f_gd, uniform),
        "control_threefold_diff": alignment.preds_diff(f_threefold, f_gd),
        "control_threefold_cos": alignment.model_cos(f_threefold, 3 * x1, f_gd, x1),
    }


def _on_another_task(layer: _Models, step: _Models) -> Tensor:
    """Model Cos of the trained layer on some tasks and the step on others, (B, 1)."""
    return alignment.model_cos(layer.f_sa[:, -1:], layer.w[:, -1:], step.f_gd, step.x1)


def _step_loss(tasks: Block, rate: float) -> Tensor:
    """The loss of a step for each task, (B,)."""
    return _loss(torch.softmax(rate * torch.einsum("bnd,bd->bn", tasks.A_query, tasks.h), dim=-1), tasks.b_query)


def _loss(f: Tensor, b: Tensor) -> Tensor:
    return 0.5 * (f - b).square().sum(-1)

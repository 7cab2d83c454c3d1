"""K attention layers beside K gradient-descent steps on softmax regression.

Layer k adds M_k h_k to the direction w_k, h_k = n Aᵀ J(f_k)(b − f_k), f_k = softmax(A w_k): linear attention with
the values of the step at w_k, a residual and the softmax unit between layers. With M_k = (η_k/n) I it is a step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import xarray
from scipy.optimize import minimize
from torch import Tensor

from icl_lib import alignment
from icl_lib.running import training
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run
from icl_lib.running.validation import check_choice, check_integer, check_number, check_tuple
from icl_lib.softmax_regression.closeness import DTYPES
from icl_lib.softmax_regression.descent_rate import minimise_over_rates
from icl_lib.softmax_regression.documents import TASKS, Documents
from icl_lib.softmax_regression.layers import logits, stacked_direction
from icl_lib.softmax_regression.variations import VariedDocuments

STARTS = ("grown", "random")
# η/n of a step that is added to tuned ones, from which the search goes on.
ADDED_RATE = 0.03


@dataclass(frozen=True)
class StepRates:
    """Tune η/n for 1, …, `layers` gradient-descent steps: the best one for all steps, and the best for each.

    The loss has more than one valley in the rates. A quasi-Newton search in log rates starts from the rates for one
    step less and a small one added, and from the best common rate; the better is kept.
    """

    layers: int
    n: int = 25
    d: int = 20
    query: str = "held"
    repetitions: int = 10
    tuning: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, 1)
        self.task.__post_init__()
        check_integer("repetitions", self.repetitions, 1)
        check_integer("tuning", self.tuning, 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> VariedDocuments:
        """The distribution of tasks."""
        return VariedDocuments(self.n, self.d, self.query)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`common` (repetition, layers) and `own` (repetition, layers, layer), where steps there are none are 0."""
        tuned = [self._tune(repetition) for repetition in range(self.repetitions)]
        own = [[[*rates, *[0.0] * (self.layers - len(rates))] for rates in found] for _, found in tuned]
        return xarray.Dataset(
            {
                "common": (("repetition", "layers"), [c for c, _ in tuned]),
                "own": (("repetition", "layers", "layer"), own),
            },
            {"repetition": range(self.repetitions), "layers": range(1, self.layers + 1)},
        )

    def _tune(self, repetition: int) -> tuple[list[float], list[list[float]]]:
        """Common rates and own rates for 1, …, `layers` steps."""
        generator = stream(self.seed, "tune/depth", repetition)
        tasks = self.task.sample(self.tuning, generator, dtype=torch.float64)
        common = [tune_common_rate(tasks, k) for k in range(1, self.layers + 1)]
        own = [common[:1]]
        for k in range(2, self.layers + 1):
            starts = [*own[-1], ADDED_RATE], [common[k - 1]] * k
            own.append(min(tune_own_rates(tasks, start) for start in starts)[1])
        return common, own


@dataclass(frozen=True)
class Depth:
    """Train 1, …, `layers` layers, each with a matrix of its own, and measure K of them against K steps.

    With `start="grown"` K layers start from the K − 1 trained before and a last one with small random entries
    (variance `init_variance` / d), at Adam's rate `later_rate`; with `start="random"` every K starts anew, all small
    and random, at `rate`. `steps` updates for each K; the rate falls to 0 along a cosine. The training of a deep stack
    multiplies what rounding differs by, so it is done in float64 unless `dtype` says otherwise.
    """

    layers: int
    n: int = 25
    d: int = 20
    query: str = "held"
    repetitions: int = 10
    steps: int = 300
    batch: int = 100
    tuning: int = 1000
    test: int = 1000
    rate: float = 0.01
    later_rate: float = 0.001
    start: str = "grown"
    init_variance: float = 0.002
    record_every: int = 30
    seed: int = 0
    dtype: str = "float64"
    device: str = "auto"

    def __post_init__(self) -> None:
        self.rates.__post_init__()
        check_choice("dtype", self.dtype, tuple(DTYPES))
        for layers in (1, 2):
            self.optimiser(layers).__post_init__()
        check_choice("start", self.start, STARTS)
        check_number("init_variance", self.init_variance, minimum=0)
        for name in ("batch", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)

    @property
    def rates(self) -> StepRates:
        """The tuning of gradient descent that belongs to this experiment."""
        return StepRates(self.layers, self.n, self.d, self.query, self.repetitions, self.tuning, self.seed, self.device)

    def optimiser(self, layers: int) -> training.Adam:
        """The optimiser for so many layers, and its schedule."""
        grows = layers > 1 and self.start == "grown"
        return training.Adam(self.later_rate if grows else self.rate, self.steps, "cosine")

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Arrays over (layers, repetition, step), the rates of `StepRates`, and the last matrices, 0 where none are."""
        rates, steps = run(self.rates), training.recorded_steps(self.steps, self.record_every)
        before: Tensor | None = None
        tested: list[list[dict[str, Tensor]]] = []
        matrices = torch.zeros(self.layers, self.repetitions, self.layers, self.d, self.d, dtype=torch.float64)
        for K in range(1, self.layers + 1):
            snapshots = train_layers(self, K, before, device, steps)
            before = snapshots[-1]
            matrices[K - 1, :, :K] = before.cpu()
            M = snapshots.to("cpu", torch.float64)
            tested.append([_test(self, r, M[:, r], _tuned_rates(rates, r, K)) for r in range(self.repetitions)])
        axes = ("layers", "repetition", "step")
        data = {name: (axes, [[row[name].tolist() for row in rows] for rows in tested]) for name in tested[0][0]}
        result = xarray.Dataset(data, coords={"step": steps})
        return result.assign(
            common_rate=rates.common,
            own_rates=rates.own,
            M=(("layers", "repetition", "layer", "row", "column"), matrices.numpy()),
        )


def initial_layers(config: Depth, layers: int, trained: Tensor | None) -> Tensor:
    """The matrices at the start, (R, K, d, d); `trained` (R, K − 1, d, d) are those that it grows from."""
    grows = trained is not None and config.start == "grown"
    shape = (1 if grows else layers, config.d, config.d)
    generators = [stream(config.seed, f"init/depth/{layers}", r) for r in range(config.repetitions)]
    fresh = torch.stack([torch.randn(*shape, generator=generator) for generator in generators])
    fresh = fresh.to(DTYPES[config.dtype]) * math.sqrt(config.init_variance / config.d)
    return fresh if not grows or trained is None else torch.cat([trained.cpu(), fresh], dim=1)


def train_layers(
    config: Depth, layers: int, trained: Tensor | None, device: torch.device, record_at: list[int]
) -> Tensor:
    """Snapshots of the K = `layers` matrices while they train on explicit tasks, (S, R, K, d, d)."""
    start, dtype = initial_layers(config, layers, trained).to(device), DTYPES[config.dtype]
    generators = [stream(config.seed, f"train/depth/{layers}", r, device) for r in range(config.repetitions)]

    def objective(parameters: training.Parameters, tasks: Documents) -> Tensor:
        f = torch.softmax(logits(tasks.A_query, _direction(parameters["M"], tasks)), dim=-1)
        return (0.5 * config.n) * (f - tasks.b_query).square().sum(-1).mean(-1).sum()

    def gradient(parameters: training.Parameters) -> training.Parameters:
        drawn = [config.rates.task.sample(config.batch, generator, device, dtype) for generator in generators]
        tasks = Documents(*(torch.stack(part) for part in zip(*drawn, strict=True)))
        return torch.func.grad(objective)(parameters, tasks)

    return training.train({"M": start}, gradient, config.optimiser(layers), record_at, generators)["M"]


def _direction(M: Tensor, tasks: Documents) -> Tensor:
    """The direction after the layers M (..., K, d, d)."""
    return stacked_direction(M.unbind(-3), tasks.A, tasks.b)


@checked(f"{TASKS}, rates: K")
def step_direction(rates: Tensor, tasks: Documents) -> Tensor:
    """The direction after gradient-descent steps with η/n = `rates` (K,)."""
    return _direction(rates[:, None, None] * torch.eye(tasks.A.shape[-1], dtype=rates.dtype), tasks)


def _mean_loss(w: Tensor, tasks: Documents) -> Tensor:
    return 0.5 * (torch.softmax(logits(tasks.A_query, w), dim=-1) - tasks.b_query).square().sum(-1).mean()


@checked(TASKS, counts=("steps",))
def tune_common_rate(tasks: Documents, steps: int) -> float:
    """η/n, the same for all steps, with the least loss on `tasks`."""
    ones = torch.ones(steps, dtype=tasks.A.dtype)
    return minimise_over_rates(lambda rate: float(_mean_loss(step_direction(rate * ones, tasks), tasks)), 1e-2, 1e2)


@checked(TASKS)
def tune_own_rates(tasks: Documents, start: list[float]) -> tuple[float, list[float]]:
    """The loss, and η/n of each step, at the end of a quasi-Newton search in log rates from `start`."""
    check_tuple("start", tuple(start), "rates")
    for one in start:
        check_number("start", one, above=0)
    # In units of 1/n, so that the search's own tolerances fit whatever n is.
    unit = tasks.A.shape[-2]

    def loss(logarithms: Sequence[float]) -> tuple[float, list[float]]:
        t = torch.tensor(logarithms, dtype=tasks.A.dtype, requires_grad=True)
        value = unit * _mean_loss(step_direction(t.exp(), tasks), tasks)
        (slope,) = torch.autograd.grad(value, t)
        return value.item(), slope.tolist()

    found = minimize(loss, [math.log(rate) for rate in start], jac=True, method="L-BFGS-B")
    return float(found.fun), [math.exp(value) for value in found.x]


class TunedRates(NamedTuple):
    """η/n of K steps, own and common, and own rates of K − 1 steps."""

    own: Tensor
    common: Tensor
    fewer: Tensor


def _tuned_rates(rates: xarray.Dataset, repetition: int, layers: int) -> TunedRates:
    own, common = torch.tensor(rates.own.values[repetition]), float(rates.common.values[repetition, layers - 1])
    # No step at all is one step of rate 0.
    fewer = own[layers - 2, : layers - 1] if layers > 1 else torch.zeros_like(own[0, :1])
    return TunedRates(own[layers - 1, :layers], torch.full_like(own[0, :layers], common), fewer)


def _test(config: Depth, repetition: int, M: Tensor, rates: TunedRates) -> dict[str, Tensor]:
    """Means over test tasks for every snapshot of M (S, K, d, d), each of shape (S,).

    `preds_diff`, `model_diff`, `model_cos` and `gd_shift` are against K steps with their own rates, and
    `preds_diff_fewer` against K − 1.
    """
    tasks = config.rates.task.sample(config.test, stream(config.seed, "test/depth", repetition), dtype=torch.float64)
    w = _direction(M, tasks)
    f_sa = torch.softmax(logits(tasks.A_query, w), dim=-1)

    def steps(rates: Tensor) -> tuple[Tensor, Tensor]:
        x = step_direction(rates, tasks)
        return torch.softmax(logits(tasks.A_query, x), dim=-1), x

    def loss(f: Tensor) -> Tensor:
        return 0.5 * (f - tasks.b_query).square().sum(-1)

    f_gd, x = steps(rates.own)
    f_common, _ = steps(rates.common)
    f_fewer, _ = steps(rates.fewer)
    uniform = torch.full_like(f_gd, 1 / config.n)
    model_diff, model_cos = alignment.model_diff_and_cos(f_sa, w, f_gd, x)
    measured = {
        "loss_sa": loss(f_sa),
        "loss_gd": loss(f_gd),
        "loss_gd_common": loss(f_common),
        "loss_uniform": loss(uniform),
        "preds_diff": alignment.preds_diff(f_sa, f_gd.expand_as(f_sa)),
        "model_diff": model_diff,
        "model_cos": model_cos,
        "gd_shift": alignment.preds_diff(f_gd, uniform),
        "preds_diff_fewer": alignment.preds_diff(f_sa, f_fewer.expand_as(f_sa)),
    }
    return {name: value.mean(-1).expand(len(M)) for name, value in measured.items()}

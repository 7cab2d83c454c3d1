"""K attention layers beside K gradient-descent steps on softmax regression.

Layer k adds M_k h_k to the direction w_k, h_k = n Aᵀ J(f_k)(b − f_k), f_k = softmax(A w_k): linear attention with
the values of the step at w_k, a residual and the softmax unit between layers. With M_k = (η_k/n) I it is a step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import xarray
from scipy.optimize import minimize
from torch import Tensor

from icl_lib import alignment, training
from icl_lib.descent_rate import minimise_over_rates
from icl_lib.device import DEVICES
from icl_lib.document_variations import VariedDocuments
from icl_lib.randomness import stream
from icl_lib.softmax_layers import logits, stacked_direction
from icl_lib.sweep import run
from icl_lib.tasks import Documents
from icl_lib.validation import check_choice, check_integer, check_number

STARTS = ("grown", "random")
# η/n of a step that is added to tuned ones, from which the search goes on.
ADDED_RATE = 0.03


@dataclass(frozen=True)
class Depth:
    """Train K = `layers` layers, each with a matrix of its own, and measure them against K steps.

    With `start="grown"` the first K − 1 layers start from those of the experiment with one layer less, and only
    the last from small random numbers (entries of variance `init_variance` / d), with Adam's rate at `later_rate`;
    with `start="random"` all start small and random, at `rate`. The rate falls to 0 along a cosine.
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
    device: str = "auto"

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, 1)
        self.task.__post_init__()
        self.optimiser.__post_init__()
        check_number("later_rate", self.later_rate, above=0)
        check_choice("start", self.start, STARTS)
        check_number("init_variance", self.init_variance, minimum=0)
        for name in ("repetitions", "batch", "tuning", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> VariedDocuments:
        """The distribution of tasks."""
        return VariedDocuments(self.n, self.d, self.query)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        grows = self.layers > 1 and self.start == "grown"
        return training.Adam(self.later_rate if grows else self.rate, self.steps, "cosine")

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Arrays over (repetition, step), the rates (repetition, layer), and the last M (repetition, layer, d, d)."""
        steps = training.recorded_steps(self.steps, self.record_every)
        M = train_layers(self, device, steps).to("cpu", torch.float64)
        tested = [_test(self, r, M[:, r]) for r in range(self.repetitions)]
        data = {name: (("repetition", "step"), [row[name].tolist() for row, _ in tested]) for name in tested[0][0]}
        result = xarray.Dataset(data, coords={"step": steps, "repetition": range(self.repetitions)})
        rates = torch.tensor([found for _, found in tested], dtype=torch.float64)
        return result.assign(
            common_rate=("repetition", rates[:, 0, 0].numpy()),
            own_rates=(("repetition", "layer"), rates[:, 1].numpy()),
            M=(("repetition", "layer", "row", "column"), M[-1].numpy()),
        )


def initial_layers(config: Depth) -> Tensor:
    """The matrices at the start, (R, K, d, d)."""
    grows = config.layers > 1 and config.start == "grown"
    shape = (1 if grows else config.layers, config.d, config.d)
    drawn = [torch.randn(*shape, generator=stream(config.seed, "init/depth", r)) for r in range(config.repetitions)]
    fresh = math.sqrt(config.init_variance / config.d) * torch.stack(drawn)
    if not grows:
        return fresh
    trained = run(replace(config, layers=config.layers - 1))
    return torch.cat([torch.tensor(trained.M.values, dtype=fresh.dtype), fresh], dim=1)


def train_layers(config: Depth, device: torch.device, record_at: list[int]) -> Tensor:
    """Snapshots of the matrices while they train on explicit tasks, (S, R, K, d, d)."""
    start = initial_layers(config).to(device)
    generators = [stream(config.seed, "train/depth", r, device) for r in range(config.repetitions)]

    def objective(parameters: training.Parameters, tasks: Documents) -> Tensor:
        f = torch.softmax(logits(tasks.A_query, _direction(parameters["M"], tasks)), dim=-1)
        return (0.5 * config.n) * (f - tasks.b_query).square().sum(-1).mean(-1).sum()

    def gradient(parameters: training.Parameters) -> training.Parameters:
        drawn = [config.task.sample(config.batch, generator, device) for generator in generators]
        tasks = Documents(*(torch.stack(part) for part in zip(*drawn, strict=True)))
        return torch.func.grad(objective)(parameters, tasks)

    return training.train({"M": start}, gradient, config.optimiser, record_at)["M"]


def _direction(M: Tensor, tasks: Documents) -> Tensor:
    """The direction after the layers M (..., K, d, d)."""
    return stacked_direction(M.unbind(-3), tasks.A, tasks.b)


def _step_direction(rates: Tensor, tasks: Documents) -> Tensor:
    """The direction after gradient-descent steps with η/n = `rates` (K,)."""
    return _direction(rates[:, None, None] * torch.eye(tasks.A.shape[-1], dtype=rates.dtype), tasks)


def _tasks(config: Depth, purpose: str, repetition: int, count: int) -> Documents:
    return config.task.sample(count, stream(config.seed, f"{purpose}/depth", repetition), dtype=torch.float64)


def _mean_loss(w: Tensor, tasks: Documents) -> Tensor:
    return 0.5 * (torch.softmax(logits(tasks.A_query, w), dim=-1) - tasks.b_query).square().sum(-1).mean()


def tune_common_rate(tasks: Documents, steps: int) -> float:
    """η/n, the same for all steps, with the least loss on `tasks`."""
    ones = torch.ones(steps, dtype=tasks.A.dtype)
    return minimise_over_rates(lambda rate: float(_mean_loss(_step_direction(rate * ones, tasks), tasks)), 1e-2, 1e2)


def tune_rates(tasks: Documents, steps: int) -> tuple[list[float], list[list[float]]]:
    """η/n with the least loss on `tasks` for 1, 2, …, `steps` steps: the same for all of them, and one for each.

    The loss has more than one valley. For each number of steps a quasi-Newton search in log rates starts from the
    rates found for one step less with a small one added, and from the best common rate; the better is kept.
    """
    common = [tune_common_rate(tasks, k) for k in range(1, steps + 1)]
    own = [common[:1]]
    for k in range(2, steps + 1):
        starts = [*own[-1], ADDED_RATE], [common[k - 1]] * k
        own.append(min(_descend(tasks, start) for start in starts)[1])
    return common, own


def _descend(tasks: Documents, start: list[float]) -> tuple[float, list[float]]:
    """The loss and the rates at the end of a search from `start`."""
    # In units of 1/n, so that the search's own tolerances fit whatever n is.
    unit = tasks.A.shape[-2]

    def loss(logarithms: Sequence[float]) -> tuple[float, list[float]]:
        t = torch.tensor(logarithms, dtype=tasks.A.dtype, requires_grad=True)
        value = unit * _mean_loss(_step_direction(t.exp(), tasks), tasks)
        (slope,) = torch.autograd.grad(value, t)
        return value.item(), slope.tolist()

    found = minimize(loss, [math.log(rate) for rate in start], jac=True, method="L-BFGS-B")
    return float(found.fun), [math.exp(value) for value in found.x]


def _test(config: Depth, repetition: int, M: Tensor) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Means over test tasks for every snapshot of M (S, K, d, d), and the rates, common and own.

    `preds_diff`, `model_diff`, `model_cos` and `gd_shift` are against K steps with own rates; `preds_diff_fewer`
    against K − 1 steps with own rates (none: the uniform prediction).
    """
    tuning = _tasks(config, "tune", repetition, config.tuning)
    tasks = _tasks(config, "test", repetition, config.test)
    K = config.layers
    common, own = tune_rates(tuning, K)
    w = _direction(M, tasks)
    f_sa = torch.softmax(logits(tasks.A_query, w), dim=-1)

    def steps(rates: list[float]) -> tuple[Tensor, Tensor]:
        x = _step_direction(torch.tensor(rates, dtype=torch.float64), tasks)
        return torch.softmax(logits(tasks.A_query, x), dim=-1), x

    def loss(f: Tensor) -> Tensor:
        return 0.5 * (f - tasks.b_query).square().sum(-1)

    f_gd, x = steps(own[-1])
    f_common, _ = steps([common[-1]] * K)
    uniform = torch.full_like(f_gd, 1 / config.n)
    f_fewer = steps(own[-2])[0] if K > 1 else uniform
    measured = {
        "loss_sa": loss(f_sa),
        "loss_gd": loss(f_gd),
        "loss_gd_common": loss(f_common),
        "loss_uniform": loss(uniform),
        "preds_diff": alignment.preds_diff(f_sa, f_gd.expand_as(f_sa)),
        "model_diff": alignment.model_diff(f_sa, w, f_gd, x),
        "model_cos": alignment.model_cos(f_sa, w, f_gd, x),
        "gd_shift": alignment.preds_diff(f_gd, uniform),
        "preds_diff_fewer": alignment.preds_diff(f_sa, f_fewer.expand_as(f_sa)),
    }
    return {name: value.mean(-1).expand(len(M)) for name, value in measured.items()}, [[common[-1]] * K, own[-1]]

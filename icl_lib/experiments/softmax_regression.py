"""Paper 1's experiment: one trained self-attention layer beside one gradient-descent step, on softmax regression.

The layer is linear attention with centred values, then the softmax unit over words: f_SA = softmax(A_q M h),
h = Aᵀ(b − mean b), with M (d, d) trained. The step is f_GD = softmax(A_q (η/n) h), η by line search.
"""

import math
from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib import alignment, descent_rate, reduced_sampling, training
from icl_lib.device import DEVICES
from icl_lib.randomness import stream
from icl_lib.softmax_regression import centred_readout
from icl_lib.tasks import Documents, SoftmaxRegression
from icl_lib.validation import check_choice, check_integer, check_number

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Words drawn at a time: the eight or so arrays of a step then stay in a core's second-level cache, and memory is
# bounded by blocks and not by n × batch × repetitions. A GPU takes all repetitions at once.
CPU_BLOCK = 100_000
GPU_BLOCK = 2**27


@dataclass(frozen=True)
class Closeness:
    """Train the layer on n words in d dimensions and measure it against the step.

    `batch` fresh tasks a training step and repetition, `tuning` tasks for the rate of gradient descent, `test`
    tasks for every number reported; each repetition has its own of each. `rate` is Adam's, constant unless
    `schedule` is "cosine". `init_variance` / d is the variance of the entries of M at the start.
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
        return SoftmaxRegression(self.n, self.d, self.scale, self.query)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, self.schedule)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, tune and test: named arrays over (repetition, step), and the last M of every repetition."""
        steps = training.recorded_steps(self.steps, self.record_every)
        M = train_matrices(self, device, steps).to("cpu", torch.float64)
        rates = [tune_rate(self, repetition) for repetition in range(self.repetitions)]
        tested = [test_repetition(self, r, M[:, r], rates[r]) for r in range(self.repetitions)]
        data = {name: (("repetition", "step"), [row[name].tolist() for row in tested]) for name in tested[0]}
        result = xarray.Dataset(data, coords={"step": steps, "repetition": range(self.repetitions)})
        return result.assign(rate=("repetition", rates), M=(("repetition", "row", "column"), M[-1].numpy()))


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
    generators = [stream(config.seed, "train", r, device) for r in range(config.repetitions)]
    block = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    tasks_at_once = max(1, min(config.batch, block // config.n))
    together = max(1, min(config.repetitions, block // (config.n * tasks_at_once)))
    sizes = training.even_parts(config.batch, tasks_at_once)
    task, dtype = config.task, DTYPES[config.dtype]

    def gradient(parameters: training.Parameters) -> training.Parameters:
        slopes: list[Tensor] = []
        for M in parameters["M"].split(together):
            slope = torch.zeros_like(M)
            chosen = generators[len(slopes) * together :][: len(M)]
            for size in sizes:
                tasks = reduced_sampling.draw(task, size, chosen, device, dtype)
                slope += reduced_sampling.matrix_gradient(tasks, M)
            slopes.append(slope)
        return {"M": torch.cat(slopes) / config.batch}

    return training.train({"M": initial_matrices(config, device)}, gradient, config.optimiser, record_at)["M"]


def _documents(config: Closeness, purpose: str, repetition: int, count: int) -> Documents:
    """Explicit tasks of a stream, drawn in float32 and used in float64: the rounding is part of the task."""
    drawn = config.task.sample(count, stream(config.seed, purpose, repetition))
    if config.query == "same":
        A, x = drawn.A.double(), drawn.x.double()
        b = torch.softmax((A @ x.unsqueeze(-1)).squeeze(-1), dim=-1)
        return Documents(A, b, A, b, x)
    A, A_query, x = drawn.A.double(), drawn.A_query.double(), drawn.x.double().unsqueeze(-1)
    return Documents(
        A, torch.softmax((A @ x).squeeze(-1), -1), A_query, torch.softmax((A_query @ x).squeeze(-1), -1), x.squeeze(-1)
    )


def tune_rate(config: Closeness, repetition: int) -> float:
    """η/n that minimises the loss of one step over this repetition's tuning tasks, by line search."""
    tasks = _documents(config, "tune", repetition, config.tuning)
    return descent_rate.best_rate(tasks.A_query, centred_readout(tasks.A, tasks.b), tasks.b_query)


def test_repetition(config: Closeness, repetition: int, M: Tensor, rate: float) -> dict[str, Tensor]:
    """Means over this repetition's test tasks for every snapshot of M (S, d, d): each entry has shape (S,).

    `loss_*` is ½‖f − b‖²; `gd_shift` is the mean of ‖f_GD − 1/n‖, the scale that belongs to `preds_diff`. The
    `control_*` entries must not look like closeness: the step against one with a threefold rate, and the layer
    against the step on another task.
    """
    tasks = _documents(config, "test", repetition, config.test)
    h = centred_readout(tasks.A, tasks.b)
    w = torch.einsum("sij,bj->bsi", M, h)
    f_sa = torch.softmax((tasks.A_query @ w.mT).mT, dim=-1)
    x1 = (rate * h).unsqueeze(-2)
    f_gd = torch.softmax((tasks.A_query @ x1.mT).mT, dim=-1)
    f_threefold = torch.softmax((tasks.A_query @ (3 * x1).mT).mT, dim=-1)
    b = tasks.b_query.unsqueeze(-2)
    uniform = torch.full_like(b, 1 / config.n)
    measured = {
        "loss_sa": _loss(f_sa, b),
        "loss_gd": _loss(f_gd, b),
        "loss_uniform": _loss(uniform, b),
        "preds_diff": alignment.preds_diff(f_sa, f_gd.expand_as(f_sa)),
        "model_diff": alignment.model_diff(f_sa, w, f_gd, x1),
        "model_cos": alignment.model_cos(f_sa, w, f_gd, x1),
        "gd_shift": alignment.preds_diff(f_gd, uniform),
        "control_threefold_diff": alignment.preds_diff(f_threefold, f_gd),
        "control_threefold_cos": alignment.model_cos(f_threefold, 3 * x1, f_gd, x1),
        "control_shuffled_cos": alignment.model_cos(f_sa[:, -1:], w[:, -1:], f_gd.roll(1, 0), x1.roll(1, 0)),
    }
    return {name: value.mean(0).expand(len(M)) for name, value in measured.items()}


def _loss(f: Tensor, b: Tensor) -> Tensor:
    return 0.5 * (f - b).square().sum(-1)

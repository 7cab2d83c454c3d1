"""The field's baseline (von Oswald et al., 2023): linear attention beside one gradient step on linear regression.

Tokens (x_i, y_i), query (x_query, 0); the layer's full matrices W_Q, W_K, W_V are trained and only the y-entry
of the query's update is used. The step is W₁ = (η/n) Σ y_i x_i, with η by line search on tasks never tested on.
"""

from dataclasses import dataclass

import pandas
import torch
import xarray
from torch import Generator, Tensor

from icl_lib.alignment import cosine
from icl_lib.attention import labelled_tokens
from icl_lib.classification.contexts import Examples
from icl_lib.running import training
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression.descent_rate import minimise_over_rates


@dataclass(frozen=True)
class LinearRegression:
    """Linear regression in context, after von Oswald et al. (2023): y = ⟨w, x⟩, w ~ N(0, I), x ~ U(−1, 1)ᵈ.

    `n` examples, `d` inputs; one real target, so y has shape (..., 1).
    """

    n: int
    d: int

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)
        check_integer("d", self.d, 1)

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` tasks with n examples and one query each."""
        check_integer("batch", batch, 1)
        w = torch.randn(batch, self.d, 1, generator=generator, device=device, dtype=dtype)
        x = 2 * torch.rand(batch, self.n + 1, self.d, generator=generator, device=device, dtype=dtype) - 1
        y = x @ w
        return Examples(x[:, :-1], y[:, :-1], x[:, -1], y[:, -1])


NAMES = ("W_Q", "W_K", "W_V")


@dataclass(frozen=True)
class Baseline:
    """Train full attention matrices on n examples in d dimensions and measure them against the step.

    `batch` fresh tasks a training step and repetition; `init` is the standard deviation of every entry at the
    start; `rate` is Adam's, falling to 0 along a cosine after `warm_up` steps.
    """

    n: int = 10
    d: int = 10
    repetitions: int = 10
    steps: int = 1000
    batch: int = 512
    tuning: int = 10_000
    test: int = 10_000
    rate: float = 0.02
    warm_up: int = 50
    init: float = 0.1
    record_every: int = 50
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.task.__post_init__()
        self.optimiser.__post_init__()
        for name in ("repetitions", "batch", "tuning", "test", "record_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_number("init", self.init, minimum=0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> LinearRegression:
        """The distribution of tasks."""
        return LinearRegression(self.n, self.d)

    @property
    def optimiser(self) -> training.Adam:
        """The optimiser and its schedule."""
        return training.Adam(self.rate, self.steps, "cosine", self.warm_up)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Train, tune and test: named arrays over (repetition, step)."""
        steps = training.recorded_steps(self.steps, self.record_every)
        trained = train_layers(self, device, steps)
        rates = [tune_rate(self, repetition) for repetition in range(self.repetitions)]
        tested = [
            test_repetition(self, r, {k: W[:, r].to("cpu", torch.float64) for k, W in trained.items()}, rates[r])
            for r in range(self.repetitions)
        ]
        data = {name: (("repetition", "step"), [row[name].tolist() for row in tested]) for name in tested[0]}
        result = xarray.Dataset(data, coords={"step": steps, "repetition": range(self.repetitions)})
        return result.assign(rate=("repetition", rates))


@checked("moment: ... e e_, weights.W_Q: ... e e_, weights.W_K: ... e e_, weights.W_V: ... e e_")
def query_weights(moment: Tensor, weights: training.Parameters, d: int) -> Tensor:
    """The vector w (..., d) with which the layer predicts ⟨w, x_query⟩.

    The y-entry of the query's update is Σ_j (W_V e_j)_y ⟨W_K e_j, W_Q e_query⟩ with e_query = (x_query, 0), so
    only the moment Σ_j e_j e_jᵀ (..., d+1, d+1) of the context matters: no token-by-token score is formed.
    """
    check_integer("d", d, 1, moment.shape[-1] - 1)
    value = moment @ weights["W_V"][..., d, :].unsqueeze(-1)
    return (weights["W_Q"].mT @ (weights["W_K"] @ value)).squeeze(-1)[..., :d]


def _moment(tasks: Examples) -> Tensor:
    # The query's own token, with 0 in the place of its label, is a key like every other.
    tokens = labelled_tokens(tasks.x, tasks.y, tasks.x_query)
    return tokens.mT @ tokens


def train_layers(config: Baseline, device: torch.device, record_at: list[int]) -> training.Parameters:
    """Snapshots of W_Q, W_K, W_V while they train, each (S, R, d+1, d+1)."""
    size = config.d + 1
    start = {
        name: torch.stack(
            [
                config.init * torch.randn(size, size, generator=stream(config.seed, f"init/{name}", r))
                for r in range(config.repetitions)
            ]
        ).to(device)
        for name in NAMES
    }
    generators = [stream(config.seed, "train", r, device) for r in range(config.repetitions)]

    def loss(parameters: training.Parameters, tasks: Examples) -> Tensor:
        # Repetitions in front, their tasks behind; the scores are divided by n, which only rescales W_V.
        stacked = {name: W.unsqueeze(1) for name, W in parameters.items()}
        w = query_weights(_moment(tasks) / config.n, stacked, config.d)
        prediction = torch.linalg.vecdot(w, tasks.x_query)
        return 0.5 * (prediction - tasks.y_query.squeeze(-1)).square().mean(-1).sum()

    def gradient(parameters: training.Parameters) -> training.Parameters:
        drawn = [config.task.sample(config.batch, generator, device) for generator in generators]
        tasks = Examples(*(torch.stack(part) for part in zip(*drawn, strict=True)))
        return torch.func.grad(loss)(parameters, tasks)

    return training.train(start, gradient, config.optimiser, record_at, generators)


def _examples(config: Baseline, purpose: str, repetition: int, count: int) -> Examples:
    return config.task.sample(count, stream(config.seed, purpose, repetition), dtype=torch.float64)


def _step_direction(tasks: Examples) -> Tensor:
    """(1/n) Σ y_i x_i, (B, d): the step with rate 1."""
    return torch.einsum("bnd,bnc->bd", tasks.x, tasks.y) / tasks.x.shape[-2]


def tune_rate(config: Baseline, repetition: int) -> float:
    """η that minimises the loss of one step over this repetition's tuning tasks."""
    tasks = _examples(config, "tune", repetition, config.tuning)
    prediction = torch.linalg.vecdot(_step_direction(tasks), tasks.x_query)
    return minimise_over_rates(lambda rate: float((rate * prediction - tasks.y_query.squeeze(-1)).square().mean()))


def test_repetition(config: Baseline, repetition: int, weights: training.Parameters, rate: float) -> dict[str, Tensor]:
    """Means over this repetition's test tasks for every snapshot: each entry has shape (S,)."""
    tasks = _examples(config, "test", repetition, config.test)
    y = tasks.y_query.squeeze(-1)
    moment = _moment(tasks) / config.n
    w_sa = query_weights(moment, {name: W.unsqueeze(1) for name, W in weights.items()}, config.d)
    w_gd = rate * _step_direction(tasks)
    y_sa, y_gd = torch.linalg.vecdot(w_sa, tasks.x_query), torch.linalg.vecdot(w_gd, tasks.x_query)
    measured = {
        "loss_sa": 0.5 * (y_sa - y).square(),
        "loss_gd": 0.5 * (y_gd - y).square(),
        "loss_zero": 0.5 * y.square(),
        "preds_diff": (y_sa - y_gd).abs(),
        "model_diff": torch.linalg.vector_norm(w_sa - w_gd, dim=-1),
        "model_cos": cosine(w_sa, w_gd),
    }
    return {name: value.mean(-1).expand(len(w_sa)) for name, value in measured.items()}


def table(result: xarray.Dataset) -> pandas.DataFrame:
    """The result as one tidy row for each repetition and step."""
    names = ["loss_sa", "loss_gd", "loss_zero", "preds_diff", "model_diff", "model_cos"]
    return result[names].to_dataframe().reset_index()[["repetition", "step", *names]]

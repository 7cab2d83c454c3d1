"""A trained layer on tasks it was not trained on: other sizes of x*, other rows, other lengths of the document."""

from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run
from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression import descent_rate
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.problem import centred_readout
from icl_lib.softmax_regression.variations import VariedDocuments


@dataclass(frozen=True)
class Transfer:
    """Test the layer that `trained` stores on documents of `n` words, with rows × `row_scale` and x* × `scale`.

    `words` as in `VariedDocuments`. `test` tasks a repetition; `tuning` tasks give gradient descent the rate that
    is best on the other tasks, which is reported beside the rate of the layer's own training distribution.
    """

    trained: Closeness
    n: int = 25
    words: str = "gaussian"
    scale: float = 1.0
    row_scale: float = 1.0
    tuning: int = 1000
    test: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.trained, Closeness):
            raise TypeError(f"trained must be a Closeness, got {type(self.trained).__name__}")
        check_number("scale", self.scale, above=0)
        self.task.__post_init__()
        for name in ("tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> VariedDocuments:
        """The distribution of the tasks tested on."""
        return VariedDocuments(
            self.n,
            self.trained.d,
            self.trained.query,
            words=self.words,
            scale=self.scale * self.trained.scale,
            row_scale=self.row_scale,
        )

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Arrays over the repetitions of `trained`: each repetition's last M on its own other tasks."""
        result = run(self.trained)
        tested = [
            _test(self, r, torch.tensor(result.M.values[r]), float(result.rate[r]))
            for r in range(self.trained.repetitions)
        ]
        data = {name: ("repetition", [row[name] for row in tested]) for name in tested[0]}
        return xarray.Dataset(data, {"repetition": range(self.trained.repetitions)})


def _tasks(config: Transfer, purpose: str, repetition: int, count: int) -> Documents:
    return config.task.sample(count, stream(config.seed, f"{purpose}/transfer", repetition), dtype=torch.float64)


def _test(config: Transfer, repetition: int, M: Tensor, rate: float) -> dict[str, float]:
    """Means over test tasks: losses of the layer, of the step at its old rate and at its best, and closeness."""
    tuning = _tasks(config, "tune", repetition, config.tuning)
    best = descent_rate.best_rate(tuning.A_query, centred_readout(tuning.A, tuning.b), tuning.b_query)
    tasks = _tasks(config, "test", repetition, config.test)
    h = centred_readout(tasks.A, tasks.b)

    def predict(w: Tensor) -> Tensor:
        return torch.softmax((tasks.A_query @ w.unsqueeze(-1)).squeeze(-1), dim=-1)

    def loss(f: Tensor) -> Tensor:
        return 0.5 * (f - tasks.b_query).square().sum(-1)

    w, x1 = h @ M.mT, rate * h
    f_sa, f_gd = predict(w), predict(x1)
    uniform = torch.full_like(f_gd, 1 / config.n)
    model_diff, model_cos = alignment.model_diff_and_cos(f_sa, w, f_gd, x1)
    measured = {
        "loss_sa": loss(f_sa),
        "loss_gd": loss(f_gd),
        "loss_gd_retuned": loss(predict(best * h)),
        "loss_uniform": loss(uniform),
        "preds_diff": alignment.preds_diff(f_sa, f_gd),
        "model_diff": model_diff,
        "model_cos": model_cos,
        "gd_shift": alignment.preds_diff(f_gd, uniform),
        "control_shuffled_cos": alignment.model_cos(f_sa, w, f_gd.roll(1, 0), x1.roll(1, 0)),
    }
    means = {name: float(value.mean()) for name, value in measured.items()}
    return {**means, "rate": rate, "best_rate": best}

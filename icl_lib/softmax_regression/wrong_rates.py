"""What the measures of closeness say of a step of the wrong length, at each scale of the logits.

No layer is trained: the step with the best rate is held against steps with multiples of it.
"""

from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer, check_number, check_tuple
from icl_lib.softmax_regression.descent_rate import best_rate
from icl_lib.softmax_regression.documents import Documents, SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout


@dataclass(frozen=True)
class WrongRates:
    """Steps with every multiple in `factors` of the best rate, at every standard deviation of the logits in `scales`.

    `tuning` tasks a repetition and scale give the best rate, `test` others the measures.
    """

    n: int = 25
    d: int = 20
    query: str = "held"
    scales: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
    factors: tuple[float, ...] = (0.1, 1 / 3, 3.0, 10.0)
    repetitions: int = 10
    tuning: int = 1000
    test: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        SoftmaxRegression(self.n, self.d, query=self.query)
        for name in ("scales", "factors"):
            values = getattr(self, name)
            check_tuple(name, values, "numbers")
            for value in values:
                check_number(name, value, above=0)
        for name in ("repetitions", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Arrays over (repetition, scale) and, for the wrong steps, (repetition, scale, factor)."""
        rows = [[_measure(self, repetition, scale) for scale in self.scales] for repetition in range(self.repetitions)]
        axes = ("repetition", "scale", "factor")
        data = {
            name: (axes[: 2 + rows[0][0][name].dim()], [[cell[name].tolist() for cell in row] for row in rows])
            for name in rows[0][0]
        }
        coordinates = {"scale": list(self.scales), "factor": list(self.factors), "repetition": range(self.repetitions)}
        return xarray.Dataset(data, coordinates)


def _tasks(config: WrongRates, scale: float, purpose: str, repetition: int, count: int) -> Documents:
    task = SoftmaxRegression(config.n, config.d, scale, config.query)
    # The same documents and the same directions x* at every scale.
    return task.sample(count, stream(config.seed, f"{purpose}/wrong-rates", repetition), dtype=torch.float64)


def _measure(config: WrongRates, repetition: int, scale: float) -> dict[str, Tensor]:
    """`rate`, `loss_gd`, `loss_uniform` and `gd_shift` of the best step, and measures of the wrong ones."""
    tuning = _tasks(config, scale, "tune", repetition, config.tuning)
    rate = best_rate(tuning.A_query, centred_readout(tuning.A, tuning.b), tuning.b_query)
    tasks = _tasks(config, scale, "test", repetition, config.test)
    h = centred_readout(tasks.A, tasks.b)
    z = rate * torch.einsum("bnd,bd->bn", tasks.A_query, h)
    right, x1 = torch.softmax(z, dim=-1), rate * h
    uniform = torch.full_like(right, 1 / config.n)

    def loss(f: Tensor) -> Tensor:
        return 0.5 * (f - tasks.b_query).square().sum(-1).mean()

    wrong: list[dict[str, Tensor]] = []
    for factor in config.factors:
        f = torch.softmax(factor * z, dim=-1)
        wrong.append(
            {
                "wrong_loss": loss(f),
                "wrong_cos": alignment.model_cos(f, factor * x1, right, x1).mean(),
                "wrong_preds_diff": alignment.preds_diff(f, right).mean(),
            }
        )
    return {
        "rate": torch.tensor(rate),
        "loss_gd": loss(right),
        "loss_uniform": loss(uniform),
        "gd_shift": alignment.preds_diff(right, uniform).mean(),
        **{name: torch.stack([row[name] for row in wrong]) for name in wrong[0]},
    }

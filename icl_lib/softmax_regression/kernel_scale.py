"""Softmax inside the attention, untrained: how far it is from the gradient step at each scale of its scores.

Scores are ε⟨a_i, a_j⟩. With one head of either sign or two heads of both, the layer tends to the step as ε → 0;
its own best gain at a given ε may do better or worse than the step.
"""

from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_integer, check_number, check_tuple
from icl_lib.softmax_regression.descent_rate import best_rate, minimise_over_rates
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.layers import logits, softmax_logits
from icl_lib.softmax_regression.problem import centred_readout
from icl_lib.softmax_regression.variations import VariedDocuments

HEADS = {"one head, +": (1,), "one head, −": (-1,), "two heads": (1, -1)}


@dataclass(frozen=True)
class KernelScale:
    """Measure the layers of `HEADS` at every ε in `scales` on n words in d dimensions."""

    n: int = 25
    d: int = 20
    query: str = "held"
    scales: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    repetitions: int = 10
    tuning: int = 1000
    test: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.task.__post_init__()
        check_tuple("scales", self.scales, "numbers")
        for scale in self.scales:
            check_number("scales", scale, above=0)
        for name in ("repetitions", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def task(self) -> VariedDocuments:
        """The distribution of tasks."""
        return VariedDocuments(self.n, self.d, self.query)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Arrays over (repetition, heads, scale): `relative_diff` at the step's gain, `loss_ratio` at the best one."""
        cells = torch.tensor([_measure(self, repetition) for repetition in range(self.repetitions)])
        axes = ("repetition", "heads", "scale")
        coordinates = {"repetition": range(self.repetitions), "heads": list(HEADS), "scale": list(self.scales)}
        names = ("relative_diff", "loss_ratio")
        return xarray.Dataset({name: (axes, cells[..., k].numpy()) for k, name in enumerate(names)}, coordinates)


def _tasks(config: KernelScale, purpose: str, repetition: int, count: int) -> Documents:
    return config.task.sample(count, stream(config.seed, f"{purpose}/kernel-scale", repetition), dtype=torch.float64)


def _kernel_logits(tasks: Documents, signs: tuple[int, ...], eps: float) -> Tensor:
    """Logits (B, n) in the unit in which they tend to A_q Aᵀ(b − mean b) as ε → 0, but for a constant."""
    n, d = tasks.A.shape[-2:]
    gain = torch.tensor(signs, dtype=tasks.A.dtype) * (n / (eps * len(signs)))
    B = torch.stack([sign * eps * torch.eye(d, dtype=tasks.A.dtype) for sign in signs])
    z = softmax_logits(tasks.A_query, tasks.A, tasks.b, B, gain)
    return z - z.mean(-1, keepdim=True)


def _mean_loss(z: Tensor, b: Tensor) -> float:
    return float(0.5 * (torch.softmax(z, dim=-1) - b).square().sum(-1).mean())


def _measure(config: KernelScale, repetition: int) -> list[list[tuple[float, float]]]:
    """(relative_diff, loss_ratio) for every kind of heads and every ε."""
    tuning = _tasks(config, "tune", repetition, config.tuning)
    tasks = _tasks(config, "test", repetition, config.test)
    rate = best_rate(tuning.A_query, centred_readout(tuning.A, tuning.b), tuning.b_query)
    f_gd = torch.softmax(rate * logits(tasks.A_query, centred_readout(tasks.A, tasks.b)), dim=-1)
    shift = alignment.preds_diff(f_gd, torch.full_like(f_gd, 1 / config.n)).mean()
    loss_gd = 0.5 * (f_gd - tasks.b_query).square().sum(-1).mean()

    def cell(signs: tuple[int, ...], eps: float) -> tuple[float, float]:
        z_tuning, z = _kernel_logits(tuning, signs, eps), _kernel_logits(tasks, signs, eps)
        own = minimise_over_rates(lambda gain: _mean_loss(gain * z_tuning, tuning.b_query))
        distance = alignment.preds_diff(torch.softmax(rate * z, dim=-1), f_gd).mean()
        return float(distance / shift), _mean_loss(own * z, tasks.b_query) / float(loss_gd)

    return [[cell(signs, eps) for eps in config.scales] for signs in HEADS.values()]

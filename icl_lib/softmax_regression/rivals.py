"""Rivals of one gradient-descent step: what else a trained layer might be close to, and how close they are to the step.

Each knows what the step knows, or more: two steps with a tuned rate each; the ridge step, Gauss and Newton's from 0
with a tuned penalty; where words have a covariance Σ, the step along Σ⁻¹h that knows it; and the truth x*.
"""

from dataclasses import dataclass

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run
from icl_lib.running.validation import check_choice, check_integer
from icl_lib.softmax_regression import depth
from icl_lib.softmax_regression.closeness import Closeness, tune_rate
from icl_lib.softmax_regression.covariance import inverse
from icl_lib.softmax_regression.descent_rate import minimise_over_rates
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.problem import centred_readout, predict

RIVALS = ("step", "two-steps", "ridge", "preconditioned", "truth")


@dataclass(frozen=True)
class Rivals:
    """Hold the layers that `trained` stores against each of `RIVALS`, and these against the step, on its test tasks.

    The first `tuning` tuning tasks of each repetition, all together, give the two steps their rates and the ridge step
    its penalty. The preconditioned step has its rate as the step has, from all tuning tasks.
    """

    trained: Closeness
    tuning: int = 200
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.trained, Closeness):
            raise TypeError(f"trained must be a Closeness, got {type(self.trained).__name__}")
        check_integer("tuning", self.tuning, 1, self.trained.tuning)
        check_choice("device", self.device, DEVICES)

    @property
    def names(self) -> tuple[str, ...]:
        """The rivals; with the covariance I the preconditioned step is the step."""
        return tuple(name for name in RIVALS if name != "preconditioned" or self.trained.condition != 1)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Means over test tasks, (repetition, rival), and over repetitions what was tuned.

        `loss` and `shift` = ‖f − 1/n‖ of each rival; `preds_diff`, `model_diff`, `model_cos` of layer and rival, and of
        rival and step with `_step` at the end. `loss_sa` (repetition,) is the layer's, `loss_multiple` that of its
        matrix times the best `multiple` for all repetitions, by a line search on their tuning tasks.
        """
        result = run(self.trained)
        tuned = _Tuned.on(self._pooled(), self.trained, float(result.rate[0]))
        M = torch.from_numpy(result.M.values)
        multiple = tune_rate(self.trained, *range(len(M)), matrix=M)
        measured = [self._measure(r, M[r], multiple, tuned) for r in range(len(M))]
        data = {
            name: (("repetition", "rival")[: value.dim() + 1], [row[name].tolist() for row in measured])
            for name, value in measured[0].items()
        }
        coordinates = {"repetition": range(self.trained.repetitions), "rival": list(self.names)}
        tuned_numbers = {"two_rates": ("step_of_two", tuned.rates.tolist()), "penalty": tuned.penalty}
        return xarray.Dataset(data, coordinates).assign(tuned_numbers).assign(multiple=multiple)

    def _pooled(self) -> Documents:
        parts = [_tasks(self.trained, "tune", r, self.tuning) for r in range(self.trained.repetitions)]
        return Documents(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _measure(self, repetition: int, M: Tensor, multiple: float, tuned: "_Tuned") -> dict[str, Tensor]:
        tasks = _tasks(self.trained, "test", repetition, self.trained.test)
        w_sa = centred_readout(tasks.A, tasks.b) @ M.mT
        layer = predict(tasks.A_query, w_sa), w_sa
        directions = tuned.directions(tasks)
        models = [(predict(tasks.A_query, directions[name]), directions[name]) for name in self.names]
        step, uniform = models[0], torch.full_like(tasks.b_query, 1 / self.trained.n)

        found = {
            "loss": torch.stack([_loss(f, tasks).mean() for f, _ in models]),
            "shift": torch.stack([alignment.preds_diff(f, uniform).mean() for f, _ in models]),
            "loss_sa": _loss(layer[0], tasks).mean(),
            "loss_multiple": _loss(predict(tasks.A_query, multiple * w_sa), tasks).mean(),
        }
        for other, suffix in ((layer, ""), (step, "_step")):
            compared = [_measures(model, other) for model in models]
            found |= {name + suffix: torch.stack([row[name] for row in compared]) for name in compared[0]}
        return found


def _measures(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Means over tasks for two models, each with its predictions (B, n) and directions (B, d)."""
    return {
        "preds_diff": alignment.preds_diff(one[0], other[0]).mean(),
        "model_diff": alignment.model_diff(*one, *other).mean(),
        "model_cos": alignment.model_cos(*one, *other).mean(),
    }


def _tasks(config: Closeness, purpose: str, repetition: int, count: int) -> Documents:
    """The first `count` of a repetition's tasks, in float64, whole: the closeness experiment keeps no documents."""
    drawn = config.task.sample(count, stream(config.seed, purpose, repetition))
    A, A_query, x = (part.double() for part in (drawn.A, drawn.A_query, drawn.x))
    b = predict(A, x)
    return Documents(A, b, A_query, b if config.query == "same" else predict(A_query, x), x)


def _loss(f: Tensor, tasks: Documents) -> Tensor:
    return 0.5 * (f - tasks.b_query).square().sum(-1)


def _scatter(A: Tensor) -> Tensor:
    """AᵀPA/n (..., d, d), the covariance of a document's words."""
    centred = A - A.mean(-2, keepdim=True)
    return centred.mT @ centred / A.shape[-2]


def ridge_direction(A: Tensor, b: Tensor, penalty: float) -> Tensor:
    """The least of ‖(b − 1/n) − PAx/n‖² + (penalty/n)‖x‖², (..., d): a Newton step for the linearised prediction.

    It is (AᵀPA/n + penalty I)⁻¹ h, which tends to the step with η/n = 1/penalty as the penalty grows.
    See `sec-rivals`.
    """
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    return torch.linalg.solve(_scatter(A) + penalty * eye, centred_readout(A, b).unsqueeze(-1)).squeeze(-1)


def tune_penalty(tasks: Documents) -> float:
    """The penalty with which a ridge step has the least mean loss on `tasks`."""
    values, vectors = torch.linalg.eigh(_scatter(tasks.A))
    h = (centred_readout(tasks.A, tasks.b).unsqueeze(-2) @ vectors).squeeze(-2)

    def loss(penalty: float) -> float:
        w = (vectors @ (h / (values + penalty)).unsqueeze(-1)).squeeze(-1)
        return float(_loss(predict(tasks.A_query, w), tasks).mean())

    return minimise_over_rates(loss)


@dataclass(frozen=True)
class _Tuned:
    """What was tuned for the rivals: η/n of the step and of two steps, the ridge step's penalty, and cΣ⁻¹ (d, d)."""

    rate: float
    rates: Tensor
    penalty: float
    preconditioner: Tensor

    @classmethod
    def on(cls, tasks: Documents, config: Closeness, rate: float) -> "_Tuned":
        starts = [rate, depth.ADDED_RATE], [rate / 2] * 2
        rates = min(depth.tune_own_rates(tasks, start) for start in starts)[1]
        known = inverse(config.task.covariance, config.d)
        c = rate if config.condition == 1 else tune_rate(config, *range(config.repetitions), matrix=known)
        return cls(rate, torch.tensor(rates, dtype=torch.float64), tune_penalty(tasks), c * known)

    def directions(self, tasks: Documents) -> dict[str, Tensor]:
        """The direction of each rival on each task, (B, d)."""
        h = centred_readout(tasks.A, tasks.b)
        return {
            "step": self.rate * h,
            "two-steps": depth.step_direction(self.rates, tasks),
            "ridge": ridge_direction(tasks.A, tasks.b, self.penalty),
            "preconditioned": h @ self.preconditioner.mT,
            "truth": tasks.x,
        }

"""Rivals of one gradient-descent step: what else a trained layer might be close to, and how close they are to the step.

Each knows what the step knows, or more: two steps with a tuned rate each; the ridge step, Gauss and Newton's from 0
with a tuned penalty; where words have a covariance Σ, the step along Σ⁻¹h that knows it; where words are not Gaussian,
the step along the best linear guess of x* from h; and the truth x*.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run
from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression import depth
from icl_lib.softmax_regression.closeness import Closeness, tune_rate
from icl_lib.softmax_regression.covariance import inverse
from icl_lib.softmax_regression.descent_rate import minimise_over_rates
from icl_lib.softmax_regression.documents import TASKS, Documents
from icl_lib.softmax_regression.problem import centred_readout, predict

# Those that step along Ph with a P that the experiment gives, if it does.
PRECONDITIONED = ("preconditioned", "regression")
RIVALS = ("step", "two-steps", "ridge", *PRECONDITIONED, "truth")


@runtime_checkable
class OnDocuments(Protocol):
    """What is asked of an experiment that trains layers, in methods: a property would be computed to be looked at."""

    def documents(self, purpose: str, repetition: int, count: int) -> Documents:
        """The first `count` tasks of a repetition to `"tune"` or to `"test"` on, whole and in float64."""

    def best_multiple(self, matrices: Tensor) -> float:
        """The c with the least loss of layers cM on all tuning tasks, for M (R, d, d), or (d, d) for all of them."""

    def preconditioners(self) -> dict[str, Tensor]:
        """P (d, d) of rivals that step along Ph, by their names: Σ⁻¹ as `"preconditioned"` where Σ is not I."""


class Trained(OnDocuments, Protocol):
    """With the numbers of its tasks, and a result with `M` (repetition, row, column) and `rate` (repetition,)."""

    @property
    def repetitions(self) -> int:
        """Layers that are trained."""

    @property
    def tuning(self) -> int:
        """Tuning tasks of each repetition."""

    @property
    def test(self) -> int:
        """Test tasks of each repetition."""

    @property
    def device(self) -> str:
        """The device asked for."""

    def compute(self, device: torch.device) -> xarray.Dataset:
        """The result."""


@dataclass(frozen=True)
class _Gaussian:
    """What is asked of `Closeness`, which itself keeps no documents."""

    config: Closeness

    def documents(self, purpose: str, repetition: int, count: int) -> Documents:
        """Drawn in float32, as the closeness experiment draws them."""
        drawn = self.config.task.sample(count, stream(self.config.seed, purpose, repetition))
        A, A_query, x = (part.double() for part in (drawn.A, drawn.A_query, drawn.x))
        b = predict(A, x)
        return Documents(A, b, A_query, b if self.config.query == "same" else predict(A_query, x), x)

    def best_multiple(self, matrices: Tensor) -> float:
        return tune_rate(self.config, *range(self.config.repetitions), matrix=matrices)

    def preconditioners(self) -> dict[str, Tensor]:
        if self.config.condition == 1:
            return {}
        return {"preconditioned": inverse(self.config.task.covariance, self.config.d)}


@dataclass(frozen=True)
class Rivals:
    """Hold the layers that `trained` stores against each of `RIVALS`, and these against the step, on its test tasks.

    The first `tuning` tuning tasks of each repetition, all together, give the two steps their rates and the ridge step
    its penalty. The preconditioned step has its rate as the step has, from all tuning tasks.
    """

    trained: Closeness | Trained
    tuning: int = 200
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.trained, Closeness | OnDocuments):
            raise TypeError(f"trained must be a Closeness or OnDocuments, got {type(self.trained).__name__}")
        check_integer("tuning", self.tuning, 1, self.trained.tuning)
        check_choice("device", self.device, DEVICES)

    @property
    def _source(self) -> OnDocuments:
        return _Gaussian(self.trained) if isinstance(self.trained, Closeness) else self.trained

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Means over test tasks, (repetition, rival), and over repetitions what was tuned.

        `loss` and `shift` = ‖f − 1/n‖ of each rival; `preds_diff`, `model_diff`, `model_cos` of layer and rival, and of
        rival and step with `_step` at the end. `loss_sa` (repetition,) is the layer's, `loss_multiple` that of its
        matrix times the best `multiple` for all repetitions, by a line search on their tuning tasks.
        """
        result = run(self.trained)
        tuned = _Tuned.on(self._pooled(), self._source, float(result.rate[0]))
        M = torch.from_numpy(result.M.values)
        multiple = self._source.best_multiple(M)
        measured = [self._measure(r, M[r], multiple, tuned) for r in range(len(M))]
        data = {
            name: (("repetition", "rival")[: value.dim() + 1], [row[name].tolist() for row in measured])
            for name, value in measured[0].items()
        }
        coordinates = {"repetition": range(self.trained.repetitions), "rival": tuned.names}
        tuned_numbers = {"two_rates": ("step_of_two", tuned.rates.tolist()), "penalty": tuned.penalty}
        return xarray.Dataset(data, coordinates).assign(tuned_numbers).assign(multiple=multiple)

    def _pooled(self) -> Documents:
        parts = [self._source.documents("tune", r, self.tuning) for r in range(self.trained.repetitions)]
        return Documents(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _measure(self, repetition: int, M: Tensor, multiple: float, tuned: "_Tuned") -> dict[str, Tensor]:
        tasks = self._source.documents("test", repetition, self.trained.test)
        w_sa = centred_readout(tasks.A, tasks.b) @ M.mT
        layer = predict(tasks.A_query, w_sa), w_sa
        directions = tuned.directions(tasks)
        models = [(predict(tasks.A_query, directions[name]), directions[name]) for name in tuned.names]
        step, uniform = models[0], torch.full_like(tasks.b_query, 1 / tasks.b_query.shape[-1])

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
    preds_diff = alignment.preds_diff(one[0], other[0])
    model_diff, model_cos = alignment.model_diff_and_cos(*one, *other)
    return {"preds_diff": preds_diff.mean(), "model_diff": model_diff.mean(), "model_cos": model_cos.mean()}


def _loss(f: Tensor, tasks: Documents) -> Tensor:
    return 0.5 * (f - tasks.b_query).square().sum(-1)


def _scatter(A: Tensor) -> Tensor:
    """AᵀPA/n (..., d, d), the covariance of a document's words."""
    centred = A - A.mean(-2, keepdim=True)
    return centred.mT @ centred / A.shape[-2]


@checked("A: ... n d, b: ... n")
def ridge_direction(A: Tensor, b: Tensor, penalty: float) -> Tensor:
    """The least of ‖(b − 1/n) − PAx/n‖² + (penalty/n)‖x‖², (..., d): a Newton step for the linearised prediction.

    It is (AᵀPA/n + penalty I)⁻¹ h, which tends to the step with η/n = 1/penalty as the penalty grows.
    See `sec-rivals`.
    """
    check_number("penalty", penalty, minimum=0)
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    return torch.linalg.solve(_scatter(A) + penalty * eye, centred_readout(A, b).unsqueeze(-1)).squeeze(-1)


@checked(TASKS)
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
    """What was tuned for the rivals: η/n of the step and of two steps, the ridge step's penalty, and cP (d, d).

    With the covariance I the preconditioned step is the step, and is left out.
    """

    rate: float
    rates: Tensor
    penalty: float
    preconditioners: dict[str, Tensor]

    @classmethod
    def on(cls, tasks: Documents, trained: OnDocuments, rate: float) -> "_Tuned":
        starts = [rate, depth.ADDED_RATE], [rate / 2] * 2
        rates = min(depth.tune_own_rates(tasks, start) for start in starts)[1]
        known = {name: trained.best_multiple(P) * P for name, P in trained.preconditioners().items()}
        return cls(rate, torch.tensor(rates, dtype=torch.float64), tune_penalty(tasks), known)

    @property
    def names(self) -> list[str]:
        """The rivals."""
        return [name for name in RIVALS if name not in PRECONDITIONED or name in self.preconditioners]

    def directions(self, tasks: Documents) -> dict[str, Tensor]:
        """The direction of each rival on each task, (B, d)."""
        h = centred_readout(tasks.A, tasks.b)
        return {name: h @ P.mT for name, P in self.preconditioners.items()} | {
            "step": self.rate * h,
            "two-steps": depth.step_direction(self.rates, tasks),
            "ridge": ridge_direction(tasks.A, tasks.b, self.penalty),
            "truth": tasks.x,
        }

"""How far one step is from what can be reached: a ladder of classifiers on the same contexts."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import xarray
from torch import Tensor

from icl_lib.classification import classifiers as references
from icl_lib.classification.contexts import Examples, SphereClassification
from icl_lib.classification.descent import (
    Fit,
    cross_entropy,
    fit,
    fit_rate,
    kernel_classifier_steps,
    linear_classifier_steps,
    minimise_over_widths,
)
from icl_lib.classification.kernels import LINEAR, OWN_TOKEN, KernelStep, Scores
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_count, check_instance, check_integer

# A rung takes tuning contexts and returns its predictor: contexts to log-probabilities (B, C).
Predictor = Callable[[Examples], Tensor]
NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20)
SMOOTHING = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
INVERSE_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
WIDTHS = (0.3, 1.0, 3.0)
RIDGES = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class ReferenceLadder:
    """Tune each classifier on `tuning` contexts and measure it on the same `test` others.

    `linear_steps` and `kernel_steps` are the numbers of gradient steps tried. The posterior is sampled on the
    first `sampled` test contexts with `sweeps` sweeps of a chain each.
    """

    task: SphereClassification
    linear_steps: tuple[int, ...] = (4, 16, 64)
    kernel_steps: tuple[int, ...] = (4, 16)
    tuning: int = 100
    test: int = 1000
    sampled: int = 400
    sweeps: int = 2000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.task, SphereClassification):
            raise TypeError(f"task must be a SphereClassification, got {self.task!r}")
        # The posterior that is sampled, and the kernel on the sphere, belong to the task without variations.
        if self.task != SphereClassification(self.task.n, self.task.d, self.task.classes, balance="none"):
            raise ValueError(f'task must have balance="none" and no other variation of its contexts, got {self.task}')
        for name in ("tuning", "test", "sampled"):
            check_integer(name, getattr(self, name), 1)
        check_integer("sampled", self.sampled, 1, self.test)
        check_integer("sweeps", self.sweeps, 2)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)
        for name in ("linear_steps", "kernel_steps"):
            check_instance(name, getattr(self, name), tuple)
            for steps in getattr(self, name):
                check_count(name, steps)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Over `classifier`: `loss`, the paired `gap` to the linear step, and `above`, what is lost on the posterior.

        Each with its error; `above` is over the contexts with a posterior. There too: `half`, the loss of the chains'
        halves; `entropy` of the posterior, whose mean is that of its loss if the chains are right, and `surprise`,
        loss − entropy.
        """
        tune = self.task.sample(self.tuning, stream(self.seed, "tune"))
        # One step has one or two numbers to fit, and costs nothing: it gets more contexts.
        many = self.task.sample(40 * self.tuning, stream(self.seed, "tune/steps"))
        test, w = self.task.sample_with_classes(self.test, stream(self.seed, "test"))
        rungs: dict[str, Predictor] = {
            "nearest neighbours": nearest_neighbours(tune),
            "one softmax step": one_step(OWN_TOKEN, many),
            "one linear step": one_step(LINEAR, many),
            "one step, two softmax heads": one_step(replace(OWN_TOKEN, heads="two"), many),
            **{f"{k} kernel steps": kernel_steps(tune, k) for k in self.kernel_steps},
            **{f"{k} linear steps": linear_steps(tune, k) for k in self.linear_steps},
            "logistic regression": logistic_regression(tune),
            "kernel logistic regression": kernel_logistic_regression(tune),
        }
        losses = {name: -(predict(test) * test.y_query).sum(-1).double() for name, predict in rungs.items()}
        few = slice(self.sampled)
        x, y, x_query = (part[few].double() for part in test[:3])
        chain = stream(self.seed, "test/chain")
        p, halves = references.posterior(x, y, x_query, w[few].double(), self.sweeps, chain)
        sampled = _log_loss(p, test.y_query[few])
        base = losses["one linear step"]
        data = {name: (loss, base - loss, loss[few] - sampled) for name, loss in losses.items()}
        data["posterior"] = (sampled, base[few] - sampled, torch.zeros_like(sampled))
        columns = {}
        for k, name in enumerate(("loss", "gap", "above")):
            columns[name] = [float(row[k].mean()) for row in data.values()]
            columns[f"{name}_error"] = [_error(row[k]) for row in data.values()]
        result = xarray.Dataset(
            {name: ("classifier", values) for name, values in columns.items()}, coords={"classifier": list(data)}
        )
        entropy = -(p * p.log()).sum(-1)
        return result.assign(
            half=("part", [float(_log_loss(h, test.y_query[few]).mean()) for h in halves]),
            entropy=float(entropy.mean()),
            surprise=float((sampled - entropy).mean()),
            surprise_error=_error(sampled - entropy),
        )


def _log_loss(p: Tensor, y: Tensor) -> Tensor:
    return -(p.log() * y).sum(-1)


def _error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def _best(candidates: Sequence[tuple[float, ...]], predictor: Callable[..., Predictor], tune: Examples) -> Predictor:
    """The predictor whose parameters, out of `candidates`, have the least loss on the tuning contexts."""

    def loss(parameters: tuple[float, ...]) -> float:
        return float(-(predictor(*parameters)(tune) * tune.y_query).sum(-1).mean())

    return predictor(*min(candidates, key=loss))


def one_step(step: KernelStep, tune: Examples) -> Predictor:
    """One fitted step."""
    return of_fit(fit(step, [Scores.of_examples(tune)], tune.y_query))


def of_fit(fitted: Fit) -> Predictor:
    """The predictor of a step that has been fitted."""
    return lambda context: torch.log_softmax(fitted.logits(Scores.of_examples(context)), dim=-1)


def nearest_neighbours(tune: Examples) -> Predictor:
    """k nearest neighbours, k and the smoothing from a grid."""

    def predictor(k: float, smoothing: float) -> Predictor:
        return lambda context: references.nearest_neighbours(*context[:3], int(k), smoothing).log()

    n = tune.x.shape[-2]
    return _best([(k, s) for k, s in itertools.product(NEIGHBOURS, SMOOTHING) if k <= n], predictor, tune)


def nearest_mean(tune: Examples) -> Predictor:
    """The class whose mean is nearest, softmax(−τ‖x_query − mean‖²), τ fitted."""
    (tau,), _ = fit_rate(references.distances_to_means(*tune[:3]).neg().unsqueeze(-1), tune.y_query)

    def predict(context: Examples) -> Tensor:
        return torch.log_softmax(-tau * references.distances_to_means(*context[:3]), dim=-1)

    return predict


def linear_steps(tune: Examples, steps: int) -> Predictor:
    """`steps` steps of linear classification with one rate for all of them, searched in float64 as in `descent.fit`."""
    tune = tune.double()

    def predictor(rate: float) -> Predictor:
        def predict(context: Examples) -> Tensor:
            W = linear_classifier_steps(context.x, context.y, rate, steps)
            return torch.log_softmax((W @ context.x_query.unsqueeze(-1)).squeeze(-1), dim=-1)

        return predict

    def loss(rate: float) -> float:
        return float(-(predictor(rate)(tune) * tune.y_query).sum(-1).mean())

    return predictor(minimise_over_widths(loss, 0.5, 200.0))


def kernel_steps(tune: Examples, steps: int) -> Predictor:
    """`steps` functional steps in the Gaussian kernel, width from a grid and rate by search, in float64 too."""
    tune = tune.double()

    def predictor(beta: float, rate: float) -> Predictor:
        def predict(context: Examples) -> Tensor:
            gram = torch.exp(beta * (context.x @ context.x.mT - 1))
            alpha = kernel_classifier_steps(gram, context.y, rate, steps)
            k_query = torch.exp(beta * ((context.x @ context.x_query.unsqueeze(-1)).squeeze(-1) - 1))
            return torch.log_softmax((k_query.unsqueeze(-2) @ alpha).squeeze(-2), dim=-1)

        return predict

    def loss(beta: float, rate: float) -> float:
        return float(cross_entropy(predictor(beta, rate)(tune), tune.y_query).mean())

    def best_rate(beta: float) -> float:
        return minimise_over_widths(lambda rate: loss(beta, rate), 1.0, 2000.0)

    candidates = [(beta, best_rate(beta)) for beta in WIDTHS]
    return _best(candidates, predictor, tune)


def logistic_regression(tune: Examples) -> Predictor:
    """scikit-learn's logistic regression, penalty from a grid."""

    def predictor(inverse_penalty: float) -> Predictor:
        return lambda context: references.logistic_regression(*context[:3], inverse_penalty).log()

    return _best([(c,) for c in INVERSE_PENALTIES], predictor, tune)


def kernel_logistic_regression(tune: Examples) -> Predictor:
    """Kernel logistic regression, width and penalty from a grid."""

    def predictor(beta: float, ridge: float) -> Predictor:
        return lambda context: references.kernel_logistic_regression(*context[:3], beta, ridge).log()

    return _best(list(itertools.product(WIDTHS, RIDGES)), predictor, tune)

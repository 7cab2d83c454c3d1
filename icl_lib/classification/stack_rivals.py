"""What a stack of attention layers may resemble: so many steps of one kind or another, and the posterior."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import torch
import xarray
from scipy.optimize import minimize
from torch import Tensor

from icl_lib.classification import ladder
from icl_lib.classification.circle_posterior import posterior_on_circle
from icl_lib.classification.contexts import ContextTask, Examples, SphereClassification
from icl_lib.classification.descent import (
    check_context,
    cross_entropy,
    fit_rate,
    linear_classifier_descent,
    minimise_over_widths,
)
from icl_lib.classification.kernels import SOFTMAX
from icl_lib.classification.stacks import least_squares_steps, unseen_contexts
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import (
    check_choice,
    check_count,
    check_instance,
    check_integer,
    check_number,
    check_tuple,
)

# Between which a search looks for a width, a rate and a penalty, and the ridges that are tried.
WIDTHS = (0.1, 200.0)
RATES = (0.05, 200.0)
PENALTIES = (1e-5, 1.0)
RIDGES = (1e-3, 1e-2, 1e-1)


class Fitted(NamedTuple):
    """A rival with its loss in tuning."""

    loss: float
    predict: ladder.Predictor


@dataclass(frozen=True)
class StackRivals:
    """Tune every rival on `tuning` contexts of what a stack is trained on, and predict the contexts of its test.

    Of steps there are so many as the `layers`. Where `draws` is not 0 the posterior is sampled with so many, for an odd
    number of classes of a `SphereClassification` on the circle without variations.
    """

    task: ContextTask
    layers: tuple[int, ...] = (1, 2, 4)
    repetitions: int = 5
    tuning: int = 200
    test: int = 400
    draws: int = 0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_instance("task", self.task, ContextTask)
        check_tuple("layers", self.layers, "numbers of layers")
        for layers in self.layers:
            check_count("layers", layers)
        for name in ("repetitions", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("draws", self.draws, 0)
        plain = isinstance(self.task, SphereClassification) and self.task == SphereClassification(
            self.task.n, 2, self.task.classes
        )
        if self.draws and not (plain and self.task.classes % 2):
            raise ValueError(
                "draws must be 0 but for an odd number of plain classes on the circle, "
                f"got {self.draws} for {self.task}"
            )
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`p` over (repetition, rival, context, class), and the `label` of each query. Arithmetic is the CPU's."""
        tasks = [self.task.of_repetition(repetition) for repetition in range(self.repetitions)]
        tuned = {task: self._tuned(task) for task in dict.fromkeys(tasks)}
        asked = [unseen_contexts(self.task, self.test, self.seed, r) for r in range(self.repetitions)]
        rows = [self._predicted(r, asked[r], tuned[task]) for r, task in enumerate(tasks)]
        p = torch.stack([torch.stack(list(row.values())) for row in rows])
        axes = ("repetition", "rival", "context", "class")
        label = (("repetition", "context"), torch.stack([context.y_query for context in asked]).argmax(-1).numpy())
        return xarray.Dataset({"p": (axes, p.numpy()), "label": label}, coords={"rival": list(rows[0])})

    def _tuned(self, task: ContextTask) -> dict[str, ladder.Predictor]:
        tune = task.sample(self.tuning, stream(self.seed, "tune/stack"), dtype=torch.float64)
        rivals: dict[str, ladder.Predictor] = {}
        own = cross_entropy_steps(tune, max(self.layers))
        for K in self.layers:
            rivals[f"{K} cross-entropy"] = own[K - 1]
            rivals[f"{K} least squares"] = least_squares(tune, K)
            rivals[f"{K} smoothing"] = smoothing(tune, K)
            rivals[f"{K} preconditioned"] = preconditioned(tune, K)
            rivals[f"{K} Newton"] = newton(tune, K)
            rivals[f"{K} kernel"] = ladder.kernel_steps(tune, K)
        rivals["softmax step"] = ladder.one_step(SOFTMAX, tune)
        rivals["nearest neighbours"] = ladder.nearest_neighbours(tune)
        return rivals

    def _predicted(self, repetition: int, context: Examples, rivals: dict[str, ladder.Predictor]) -> dict[str, Tensor]:
        p = {name: predict(context).exp() for name, predict in rivals.items()}
        if self.draws:
            p["posterior"] = posterior_on_circle(
                *context[:3], self.draws, stream(self.seed, "test/posterior", repetition)
            )
        return p


@checked()
def resemblance(stack: xarray.Dataset, rivals: xarray.Dataset) -> xarray.Dataset:
    """How a `Stack` compares with `StackRivals`, over (repetition, rival).

    `preds_diff`, the mean distance of their predictions, `correlation` of their losses over contexts, and `ahead`, the
    rival's mean loss − the stack's; and `loss`, the stack's. Raises `ValueError` where the contexts are not the same.
    See `sec-layers-rivals`.
    """
    for name in ("repetition", "context", "class"):
        if stack.sizes.get(name) != rivals.sizes.get(name):
            raise ValueError(
                f"rivals must have the contexts of the stack, got {name}: {rivals.sizes.get(name)} beside "
                f"{stack.sizes.get(name)}"
            )
    loss, of_rival = (-numpy.log(one.p.isel({"class": rivals.label})) for one in (stack, rivals))
    return xarray.Dataset(
        {
            "preds_diff": numpy.sqrt(numpy.square(stack.p - rivals.p).sum("class")).mean("context"),
            "correlation": xarray.corr(loss, of_rival, "context"),
            "ahead": (of_rival - loss).mean("context"),
            "loss": loss.mean("context"),
        }
    )


def _of_weights(W: Tensor, context: Examples) -> Tensor:
    """Log-probabilities of classifiers W (B, C, d)."""
    return torch.log_softmax((W @ context.x_query.unsqueeze(-1)).squeeze(-1), dim=-1)


def _loss(predict: ladder.Predictor, context: Examples) -> float:
    return float(cross_entropy(predict(context), context.y_query).mean())


def _searched(predictor: Callable[[float], ladder.Predictor], tune: Examples, within: tuple[float, float]) -> float:
    return minimise_over_widths(lambda number: _loss(predictor(number), tune), *within)


def cross_entropy_steps(tune: Examples, most: int) -> list[ladder.Predictor]:
    """1, …, `most` steps of linear classification with a rate of its own each.

    The loss has several valleys in the rates: a quasi-Newton search in log rates starts from the rates for one step
    less and a small one added, and from equal ones; the better is kept.
    """

    def loss(logarithms: Sequence[float]) -> tuple[float, list[float]]:
        t = torch.tensor(logarithms, dtype=torch.float64, requires_grad=True)
        W = linear_classifier_descent(tune.x, tune.y, t.exp())
        value = cross_entropy((W @ tune.x_query.unsqueeze(-1)).squeeze(-1), tune.y_query).mean()
        (slope,) = torch.autograd.grad(value, t)
        return value.item(), slope.tolist()

    def of(rates: Sequence[float]) -> ladder.Predictor:
        told = torch.tensor(rates, dtype=torch.float64)
        return lambda context: _of_weights(linear_classifier_descent(context.x, context.y, told), context)

    found = [_searched(lambda rate: of([rate]), tune, RATES)]
    predictors = [of(found)]
    for K in range(2, most + 1):
        starts = [*found, RATES[0]], [found[0] / K] * K
        within = [(math.log(RATES[0] / 100), math.log(10 * RATES[1]))] * K
        ends = [minimize(loss, numpy.log(start), jac=True, method="L-BFGS-B", bounds=within) for start in starts]
        found = numpy.exp(min(ends, key=lambda end: end.fun).x).tolist()
        predictors.append(of(found))
    return predictors


def _boosted(tune: Examples, steps: int, kernel: Callable[[Examples], tuple[Tensor, Tensor]]) -> Fitted:
    """Steps of least squares with a kernel, one rate and the gain tuned, and the loss in tuning."""
    grams = kernel(tune)

    def at(rate: float) -> tuple[tuple[float, ...], float]:
        return fit_rate(least_squares_steps(*grams, tune.y, rate, steps).unsqueeze(-1), tune.y_query)

    # One step has but the product of rate and gain.
    rate = 1.0 if steps == 1 else minimise_over_widths(lambda rate: at(rate)[1], *RATES)
    (gain,), loss = at(rate)

    def predict(context: Examples) -> Tensor:
        return torch.log_softmax(gain * least_squares_steps(*kernel(context), context.y, rate, steps), dim=-1)

    return Fitted(loss, predict)


def _inner_products(context: Examples) -> tuple[Tensor, Tensor]:
    return context.x @ context.x.mT, (context.x @ context.x_query.unsqueeze(-1)).squeeze(-1)


def least_squares(tune: Examples, steps: int) -> ladder.Predictor:
    """Steps of least squares of a linear classifier, rate and gain tuned: what linear layers can be.

    See `prop-stack-steps`.
    """

    def kernel(context: Examples) -> tuple[Tensor, Tensor]:
        among, of_query = _inner_products(context)
        return among / context.x.shape[-2], of_query / context.x.shape[-2]

    return _boosted(tune, steps, kernel).predict


def smoothing(tune: Examples, steps: int) -> ladder.Predictor:
    """The same with softmax's own kernel, its width tuned too: what softmax layers can be. See `prop-stack-steps`."""

    def of(beta: float) -> Fitted:
        def kernel(context: Examples) -> tuple[Tensor, Tensor]:
            among, of_query = _inner_products(context)
            return torch.softmax(beta * among, dim=-1), torch.softmax(beta * of_query, dim=-1)

        return _boosted(tune, steps, kernel)

    return of(minimise_over_widths(lambda beta: of(beta).loss, *WIDTHS)).predict


def preconditioned(tune: Examples, steps: int) -> ladder.Predictor:
    """Steps preconditioned by the inputs' second moments, ridge from a list and rate by search."""

    def of(ridge: float, rate: float) -> ladder.Predictor:
        return lambda context: _of_weights(preconditioned_steps(context.x, context.y, rate, ridge, steps), context)

    tried = [of(ridge, _searched(functools.partial(of, ridge), tune, RATES)) for ridge in RIDGES]
    return min(tried, key=lambda predict: _loss(predict, tune))


def newton(tune: Examples, steps: int) -> ladder.Predictor:
    """Newton's steps with the penalty that fits."""

    def of(ridge: float) -> ladder.Predictor:
        return lambda context: _of_weights(newton_steps(context.x, context.y, ridge, steps), context)

    return of(_searched(of, tune, PENALTIES))


@checked("x: ... n d, y: ... n C")
def preconditioned_steps(x: Tensor, y: Tensor, rate: float, ridge: float, steps: int) -> Tensor:
    """The weights W (..., C, d) after steps W ← W − rate · ∇L(W) (S + ridge I)⁻¹ from 0, S = Σ x_i x_iᵀ/n.

    L is the mean cross-entropy of the context. Raises as `linear_classifier_steps`, and for a ridge ≤ 0.
    See `sec-layers-rivals`.
    """
    check_context(x, y, x[..., 0, :])
    check_number("rate", rate)
    check_number("ridge", ridge, above=0)
    check_count("steps", steps)
    n, d = x.shape[-2:]
    moments = x.mT @ x / n + ridge * torch.eye(d, dtype=x.dtype, device=x.device)
    whitened = torch.linalg.solve(moments, x.mT).mT
    W = torch.zeros(y.shape[-1], d, dtype=x.dtype, device=x.device)
    for _ in range(steps):
        W = W + (rate / n) * (y - torch.softmax(x @ W.mT, dim=-1)).mT @ whitened
    return W


@checked("x: ... n d, y: ... n C")
def newton_steps(x: Tensor, y: Tensor, ridge: float, steps: int) -> Tensor:
    """The weights W (..., C, d) after Newton's steps from 0 on the mean cross-entropy + ridge ‖W‖²/2.

    Raises as `linear_classifier_steps`, and for a ridge ≤ 0. See `sec-layers-rivals`.
    """
    check_context(x, y, x[..., 0, :])
    check_number("ridge", ridge, above=0)
    check_count("steps", steps)
    n, d, classes = x.shape[-2], x.shape[-1], y.shape[-1]
    lead = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    W = torch.zeros(*lead, classes, d, dtype=x.dtype, device=x.device)
    identity = torch.eye(classes * d, dtype=x.dtype, device=x.device)
    for _ in range(steps):
        p = torch.softmax(x @ W.mT, dim=-1)
        slope = (p - y).mT @ x / n + ridge * W
        # diag(p) ⊗ xxᵀ less (p ⊗ x)(p ⊗ x)ᵀ, with the entries of W in rows.
        both = (p.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
        own = torch.einsum("...nc,...nd,...ne,cf->...cdfe", p, x, x, torch.eye(classes, dtype=x.dtype, device=x.device))
        curvature = own.flatten(-4, -3).flatten(-2) - both.mT @ both
        move = torch.linalg.solve(curvature / n + ridge * identity, slope.flatten(-2).unsqueeze(-1))
        W = W - move.view_as(W)
    return W

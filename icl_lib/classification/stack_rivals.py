"""What a stack of attention layers may resemble: so many steps of one kind or another, and the posterior."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
import xarray
from torch import Tensor

from icl_lib.classification import ladder
from icl_lib.classification.classifiers import posterior_in_balance
from icl_lib.classification.contexts import ContextTask, Examples, SphereClassification
from icl_lib.classification.descent import check_context, cross_entropy, fit_rate, minimise_over_widths
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

# Numbers that a search tries; the rate and the gain are searched at each of them.
WIDTHS = (0.5, 2.0, 6.0, 15.0, 40.0)
RIDGES = (1e-3, 1e-2, 1e-1)
RATES = (0.05, 50.0)
PENALTIES = (1e-5, 1.0)


@dataclass(frozen=True)
class StackRivals:
    """Tune every rival on `tuning` contexts of what a stack is trained on, and predict the contexts of its test.

    Of steps there are so many as the `layers`. Where `sweeps` is not 0 the posterior is sampled with so many, for a
    `SphereClassification` in the plane without variations.
    """

    task: ContextTask
    layers: tuple[int, ...] = (1, 2, 4)
    repetitions: int = 5
    tuning: int = 200
    test: int = 400
    sweeps: int = 0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_instance("task", self.task, ContextTask)
        check_tuple("layers", self.layers, "numbers of layers")
        for layers in self.layers:
            check_count("layers", layers)
        for name in ("repetitions", "tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("sweeps", self.sweeps, 0)
        plain = isinstance(self.task, SphereClassification) and self.task == SphereClassification(
            self.task.n, 2, self.task.classes
        )
        if self.sweeps and not plain:
            raise ValueError(f"sweeps must be 0 but for plain classes on the circle, got {self.sweeps} for {self.task}")
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`p` over (repetition, rival, context, class), and the `label` of each query. Arithmetic is the CPU's."""
        tasks = [self.task.of_repetition(repetition) for repetition in range(self.repetitions)]
        tuned = {task: self._tuned(task) for task in dict.fromkeys(tasks)}
        rows = [self._predicted(repetition, tuned[task]) for repetition, task in enumerate(tasks)]
        p = torch.stack([torch.stack(list(row.values())) for row in rows])
        asked = [unseen_contexts(self.task, self.test, self.seed, r).y_query for r in range(self.repetitions)]
        axes = ("repetition", "rival", "context", "class")
        label = (("repetition", "context"), torch.stack(asked).argmax(-1).numpy())
        return xarray.Dataset({"p": (axes, p.numpy()), "label": label}, coords={"rival": list(rows[0])})

    def _tuned(self, task: ContextTask) -> dict[str, ladder.Predictor]:
        tune = task.sample(self.tuning, stream(self.seed, "tune/stack"), dtype=torch.float64)
        rivals: dict[str, ladder.Predictor] = {}
        for K in self.layers:
            rivals[f"{K} cross-entropy"] = ladder.linear_steps(tune, K)
            rivals[f"{K} least squares"] = least_squares(tune, K, None)
            rivals[f"{K} smoothing"] = least_squares(tune, K, WIDTHS)
            rivals[f"{K} preconditioned"] = preconditioned(tune, K)
            rivals[f"{K} Newton"] = newton(tune, K)
            rivals[f"{K} kernel"] = ladder.kernel_steps(tune, K)
        rivals["softmax step"] = ladder.one_step(SOFTMAX, tune)
        rivals["nearest neighbours"] = ladder.nearest_neighbours(tune)
        return rivals

    def _predicted(self, repetition: int, rivals: dict[str, ladder.Predictor]) -> dict[str, Tensor]:
        context = unseen_contexts(self.task, self.test, self.seed, repetition)
        p = {name: predict(context).exp() for name, predict in rivals.items()}
        if self.sweeps and isinstance(self.task, SphereClassification):
            # The same contexts, with the class vectors behind them.
            same = stream(self.seed, "test/stack", repetition)
            _, w = self.task.sample_with_classes(self.test, same, dtype=torch.float64)
            chain = stream(self.seed, "test/stack/chain", repetition)
            p["posterior"] = posterior_in_balance(*context[:3], w, self.sweeps, chain)
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


def least_squares(tune: Examples, steps: int, widths: Sequence[float] | None) -> ladder.Predictor:
    """Steps of least squares, rate and gain tuned: with the linear kernel, or softmax's own with one of the `widths`.

    They are what linear and softmax stacks can be. See `prop-stack-steps`.
    """

    def kernel(context: Examples, beta: float | None) -> tuple[Tensor, Tensor]:
        among, of_query = context.x @ context.x.mT, (context.x @ context.x_query.unsqueeze(-1)).squeeze(-1)
        if beta is None:
            return among / context.x.shape[-2], of_query / context.x.shape[-2]
        return torch.softmax(beta * among, dim=-1), torch.softmax(beta * of_query, dim=-1)

    def fitted(beta: float | None) -> tuple[float, ladder.Predictor]:
        grams = kernel(tune, beta)

        def at(rate: float) -> tuple[tuple[float, ...], float]:
            return fit_rate(least_squares_steps(*grams, tune.y, rate, steps).unsqueeze(-1), tune.y_query)

        # One step has but the product of rate and gain.
        rate = 1.0 if steps == 1 else minimise_over_widths(lambda rate: at(rate)[1], *RATES)
        (gain,), loss = at(rate)

        def predict(context: Examples) -> Tensor:
            return torch.log_softmax(gain * least_squares_steps(*kernel(context, beta), context.y, rate, steps), dim=-1)

        return loss, predict

    tried = [fitted(beta) for beta in (widths or (None,))]
    return min(tried, key=lambda one: one[0])[1]


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
    W = torch.zeros(*y.shape[:-2], y.shape[-1], d, dtype=x.dtype, device=x.device)
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
    W = torch.zeros(*y.shape[:-2], classes, d, dtype=x.dtype, device=x.device)
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

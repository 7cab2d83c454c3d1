"""Gradient-descent steps fitted to a task and compared on the same contexts: paired differences, no training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy
import torch
import xarray
from torch import Tensor

from icl_lib.classification.contexts import Examples, SphereClassification
from icl_lib.classification.descent import Fit, cross_entropy, fit, fit_rate
from icl_lib.classification.kernels import LINEAR, SOFTMAX, KernelStep, Scores
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

VIEWS = ("all", "relevant")
# Points of contexts held at a time, so that memory does not grow with n × contexts.
BLOCK = 2**21
# A head of width 0 sees how many points a class has, which in balanced contexts is nothing.
NEAR_ZERO = 1e-3


def _check_counts(config: object, *names: str) -> None:
    for name in names:
        check_integer(name, getattr(config, name), 1)
    check_integer("seed", getattr(config, "seed", 0), 0)
    check_choice("device", getattr(config, "device", "auto"), DEVICES)


def _check_task(task: object) -> None:
    if not isinstance(task, SphereClassification):
        raise TypeError(f"task must be a SphereClassification, got {task!r}")


def _check_steps(steps: object) -> None:
    check_tuple("steps", steps, "kernel steps")
    for step in steps if isinstance(steps, tuple) else ():
        if not isinstance(step, KernelStep):
            raise TypeError(f"steps must hold kernel steps, got {step!r}")


@checked()
def contexts(
    task: SphereClassification, count: int, purpose: str, seed: int, view: str = "all"
) -> Iterator[tuple[Scores, Tensor]]:
    """`count` contexts of a stream in blocks, as scores and the query's label (B, C).

    With `view="relevant"` only the dimensions that the classes depend on enter the scores.
    """
    check_count("count", count)
    check_integer("seed", seed, 0)
    check_choice("view", view, VIEWS)
    generator = stream(seed, purpose)
    block = max(1, BLOCK // (task.n * task.classes))
    for done in range(0, count, block):
        drawn = _in_double(task.sample(min(block, count - done), generator), task)
        yield Scores.of_examples(_seen(drawn, task, view)), drawn.y_query


def _in_double(context: Examples, task: SphereClassification) -> Examples:
    """The same context in float64."""
    x, y, x_query, y_query = context.double()
    if task.inputs != "gaussian":
        # Drawn in float32, the points lie beside the sphere by more than float64 would.
        x, x_query = (part / torch.linalg.vector_norm(part, dim=-1, keepdim=True) for part in (x, x_query))
    return Examples(x, y, x_query, y_query)


def _seen(context: Examples, task: SphereClassification, view: str) -> Examples:
    if view == "all" or task.relevant is None:
        return context
    kept = slice(task.relevant)
    return context._replace(x=context.x[..., kept], x_query=context.x_query[..., kept])


def collect(blocks: Iterator[tuple[Scores, Tensor]]) -> tuple[list[Scores], Tensor]:
    """The scores of all blocks, and the labels of all queries in their order."""
    scores, labels = zip(*blocks, strict=True)
    return list(scores), torch.cat(labels)


@dataclass(frozen=True)
class FittedSteps:
    """Fit every step of `steps` on `tuning` contexts of `task`, then compare them with the first on `test` others.

    `first_factor` multiplies the fitted rates of the first step: a step with a rate that is off. With `groups` every
    step is fitted once more on each of so many parts of the tuning contexts: what its numbers vary by.
    """

    task: SphereClassification
    steps: tuple[KernelStep, ...] = (LINEAR, SOFTMAX)
    view: str = "all"
    first_factor: float = 1.0
    groups: int = 0
    tuning: int = 3000
    test: int = 6000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_task(self.task)
        _check_steps(self.steps)
        _check_counts(self, "tuning", "test")
        check_choice("view", self.view, VIEWS)
        check_number("first_factor", self.first_factor, above=0)
        check_integer("groups", self.groups, 0, self.tuning)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """Per step: β, η, loss and accuracy, and the paired differences (first step − this one) with their errors.

        With groups also `beta_group` and `eta_group`, (step, group). Arithmetic is the CPU's: the contexts are few, and
        the same on every device.
        """
        scores, y = collect(contexts(self.task, self.tuning, "tune", self.seed, self.view))
        fits = [fit(step, scores, y) for step in self.steps]
        fits[0] = replace(fits[0], eta=tuple(self.first_factor * eta for eta in fits[0].eta))
        found = compare(fits, contexts(self.task, self.test, "test", self.seed, self.view))
        if not self.groups:
            return found
        apart = [[fit(step, *part) for part in _groups(scores, y, self.groups)] for step in self.steps]
        return found.assign(
            beta_group=(("step", "group"), [[one.beta for one in row] for row in apart]),
            eta_group=(("step", "group"), [[one.eta[0] for one in row] for row in apart]),
        )


def _groups(scores: list[Scores], y: Tensor, groups: int) -> list[tuple[list[Scores], Tensor]]:
    """Contexts of one length in `groups` parts of equal size; what does not fill a part is left out."""
    together = Scores(*(torch.cat(parts) for parts in zip(*scores, strict=True)))
    size = len(y) // groups
    parts = [slice(k * size, (k + 1) * size) for k in range(groups)]
    return [([Scores(*(values[part] for values in together))], y[part]) for part in parts]


def compare(fits: Sequence[Fit], tests: Iterator[tuple[Scores, Tensor]]) -> xarray.Dataset:
    """Losses and accuracies of fitted steps on the same contexts, over a dimension `step` in the order of `fits`.

    `difference` is the loss of the first step − that of each, `gap` (step, other) that of every pair, both with errors.
    """
    losses, right = [], []
    for scores, y in tests:
        logits = [fitted.logits(scores) for fitted in fits]
        losses.append(torch.stack([cross_entropy(each, y) for each in logits]))
        right.append(torch.stack([(each.argmax(-1) == y.argmax(-1)).float() for each in logits]))
    loss, accuracy = torch.cat(losses, -1).double(), torch.cat(right, -1).double()
    per_step = {
        "beta": torch.tensor([fitted.beta for fitted in fits], dtype=torch.float64),
        "at_bound": torch.tensor([fitted.at_bound for fitted in fits]),
        "eta": torch.tensor([fitted.eta[0] for fitted in fits], dtype=torch.float64),
        "eta_second": torch.tensor([fitted.eta[1] if len(fitted.eta) > 1 else math.nan for fitted in fits]),
        "loss": loss.mean(-1),
        "loss_error": _error(loss),
        "loss_deviation": loss.std(-1),
        "accuracy": accuracy.mean(-1),
        "difference": (loss[:1] - loss).mean(-1),
        "standard_error": _error(loss[:1] - loss),
        "accuracy_difference": (accuracy - accuracy[:1]).mean(-1),
        "accuracy_error": _error(accuracy - accuracy[:1]),
    }
    gaps = loss.unsqueeze(1) - loss
    per_pair = {"gap": gaps.mean(-1), "gap_error": _error(gaps)}
    return xarray.Dataset(
        {name: ("step", value.numpy()) for name, value in per_step.items()}
        | {name: (("step", "other"), value.numpy()) for name, value in per_pair.items()}
    )


def _error(values: Tensor) -> Tensor:
    return values.std(-1) / math.sqrt(values.shape[-1])


@dataclass(frozen=True)
class MixedLengths:
    """Fit every step once on contexts of several lengths, test it on each of other lengths.

    `lengths` are those of the tuning contexts, in equal shares; the task's own n is not used.
    """

    task: SphereClassification
    steps: tuple[KernelStep, ...]
    lengths: tuple[int, ...]
    test_lengths: tuple[int, ...]
    tuning: int = 4000
    test: int = 4000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_task(self.task)
        _check_steps(self.steps)
        _check_counts(self, "tuning", "test")
        for name in ("lengths", "test_lengths"):
            check_tuple(name, getattr(self, name), "numbers of points")
            for n in getattr(self, name):
                check_count(name, n)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """What `compare` returns, with a further dimension `n`, the length of the test contexts."""
        share = max(1, self.tuning // len(self.lengths))
        parts = [collect(contexts(self._task(n), share, f"tune/{n}", self.seed)) for n in self.lengths]
        scores, y = [part for many, _ in parts for part in many], torch.cat([labels for _, labels in parts])
        fits = [fit(step, scores, y) for step in self.steps]
        tested = [compare(fits, contexts(self._task(n), self.test, f"test/{n}", self.seed)) for n in self.test_lengths]
        return xarray.concat(tested, dim="n").assign_coords(n=list(self.test_lengths))

    def _task(self, n: int) -> SphereClassification:
        return replace(self.task, n=n)


@dataclass(frozen=True)
class Landscape:
    """The loss of a softmax head over the width β in [`lowest`, `highest`], with its best gain η(β).

    A width 0 is replaced by `NEAR_ZERO`, as it has no best gain in balanced contexts.
    """

    task: SphereClassification
    step: KernelStep = SOFTMAX
    lowest: float = -12.0
    highest: float = 16.0
    points: int = 29
    tuning: int = 4000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_task(self.task)
        check_instance("step", self.step, KernelStep)
        _check_counts(self, "tuning", "points")
        check_number("lowest", self.lowest)
        check_number("highest", self.highest, above=self.lowest)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`loss` and `eta` over `beta`, and `surface`, the loss over `gain` and `beta`."""
        scores, y = collect(contexts(self.task, self.tuning, "tune", self.seed))
        widths = numpy.linspace(self.lowest, self.highest, self.points)
        widths = numpy.where(numpy.abs(widths) < NEAR_ZERO, NEAR_ZERO, widths)
        gains = numpy.linspace(-16, 24, 41)
        eta, loss, surface = [], [], []
        for beta in widths:
            features = torch.cat([self.step.features(part, float(beta)) for part in scores])
            (best,), value = fit_rate(features, y)
            eta.append(best)
            loss.append(value)
            surface.append([float(cross_entropy(features.squeeze(-1) * gain, y).mean()) for gain in gains])
        data = {"eta": ("beta", eta), "loss": ("beta", loss), "surface": (("beta", "gain"), surface)}
        return xarray.Dataset(data, coords={"beta": widths, "gain": gains})


@dataclass(frozen=True)
class AdaptiveRates:
    """The rate ηn/S, S = Σ e^{β(⟨x_j, x_query⟩ − 1)}, that a fitted softmax head gives to single contexts."""

    task: SphereClassification
    tuning: int = 4000
    test: int = 4000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_task(self.task)
        _check_counts(self, "tuning", "test")

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`rate` and `loss` over `context`, with the β and η fitted."""
        scores, y = collect(contexts(self.task, self.tuning, "tune", self.seed))
        fitted = fit(SOFTMAX, scores, y)
        scores, y = collect(contexts(self.task, self.test, "test", self.seed))
        total = torch.cat([torch.exp(fitted.beta * (part.s - 1)).sum(-1) for part in scores])
        loss = torch.cat([cross_entropy(fitted.logits(part), part_y) for part, part_y in _paired(scores, y)])
        rate = fitted.eta[0] * self.task.n / total
        data = {"rate": ("context", rate.numpy()), "loss": ("context", loss.numpy())}
        return xarray.Dataset(data).assign(beta=fitted.beta, eta=fitted.eta[0])


def _paired(scores: list[Scores], y: Tensor) -> Iterator[tuple[Scores, Tensor]]:
    return zip(scores, y.split([len(part.s) for part in scores]), strict=True)

"""Steps, heads and other classifiers on few-shot contexts: fitted on one side of a split, tested on the other."""

from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
import xarray
from numpy.typing import ArrayLike
from torch import Tensor

from icl_lib.classification import ladder, real_data
from icl_lib.classification.closeness import (
    TRAINING,
    ClassifierCloseness,
    fit_step,
    measure,
    paper_scale,
    train_weights_together,
)
from icl_lib.classification.contexts import Examples
from icl_lib.classification.descent import fit
from icl_lib.classification.few_shot import FewShot
from icl_lib.classification.head import Row
from icl_lib.classification.kernels import FIXED_RATE, LINEAR, SOFTMAX, Scores
from icl_lib.running.checked import checked
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_instance, check_integer
from icl_lib.statistics import Measurement, finite_array, rounded

STEPS = {"linear step": LINEAR, "fixed-rate step": FIXED_RATE, "softmax step": SOFTMAX}
OTHERS = ("nearest class mean", "nearest neighbours", "logistic regression")
# A mistake that a classifier is sure of must not weigh without limit.
LEAST = 1e-6


@dataclass(frozen=True)
class FewShotSteps:
    """Fit steps and other classifiers on the side `"fit"` of every split, and compare them on the side `"test"`.

    `task` is that of the first of 2 · `pairs` splits; its side is not used. `tuning` contexts a split to fit steps, of
    which the first `few` tune logistic regression, that is tested on the first `few_test` of `test`.
    """

    task: FewShot
    pairs: int = 5
    tuning: int = 400
    test: int = 500
    few: int = 5
    few_test: int = 12
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check(self)
        for name in ("tuning", "test"):
            check_integer(name, getattr(self, name), 1)
        check_integer("few", self.few, 1, self.tuning)
        check_integer("few_test", self.few_test, 1, self.test)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`loss` and `accuracy` over (split, model), over splits `beta` of the softmax step and the loss `shuffled`.

        The latter is that of the softmax step on contexts whose labels are in another order.
        Losses are cross-entropies with probabilities of at least `LEAST`. Arithmetic is the CPU's.
        """
        rows = [self._split(split) for split in range(2 * self.pairs)]
        columns = {
            name: (("split", "model"), [[value[name] for value in row.values()] for row, _ in rows])
            for name in ("loss", "accuracy")
        }
        others = {name: ("split", [other[name] for _, other in rows]) for name in rows[0][1]}
        return xarray.Dataset(columns | others, coords={"model": list(rows[0][0])})

    def _split(self, split: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        fitted_on, tested_on = sides(self.task, split)
        tune = fitted_on.sample(self.tuning, stream(self.seed, f"tune/{split}"), dtype=torch.float64)
        test = tested_on.sample(self.test, stream(self.seed, f"test/{split}"), dtype=torch.float64)
        scores = [Scores.of_examples(tune)]
        fits = {name: fit(step, scores, tune.y_query) for name, step in STEPS.items()}
        predictors = {name: ladder.of_fit(fitted) for name, fitted in fits.items()}
        predictors["nearest class mean"] = ladder.nearest_mean(tune)
        predictors["nearest neighbours"] = ladder.nearest_neighbours(tune)
        found = {name: _scored(predict(test), test.y_query) for name, predict in predictors.items()}
        few_to_tune, few = _first(tune, self.few), _first(test, self.few_test)
        found["logistic regression"] = _scored(ladder.logistic_regression(few_to_tune)(few), few.y_query)
        order = torch.randperm(self.task.n, generator=stream(self.seed, f"test/shuffled/{split}"))
        shuffled = _scored(predictors["softmax step"](test._replace(y=test.y[:, order])), test.y_query)
        return found, {"beta": fits["softmax step"].beta, "shuffled": shuffled["loss"]}


def _first(context: Examples, count: int) -> Examples:
    return Examples(*(part[:count] for part in context))


def _check(config: Any) -> None:
    check_instance("task", config.task, FewShot)
    check_integer("pairs", config.pairs, 1)
    check_integer("seed", config.seed, 0)
    check_choice("device", config.device, DEVICES)


@checked()
def sides(task: FewShot, split: int) -> tuple[FewShot, FewShot]:
    """The task of a split, counted from its own, to fit on, and that to test on."""
    check_integer("split", split, 0)
    there = task.of_repetition(split)
    return replace(there, side="fit"), replace(there, side="test")


def _scored(log_p: Tensor, y: Tensor) -> dict[str, float]:
    p = (log_p.exp() * y).sum(-1).clamp_min(LEAST)
    return {"loss": float(-p.log().mean()), "accuracy": float((log_p.argmax(-1) == y.argmax(-1)).double().mean())}


@dataclass(frozen=True)
class FewShotHeads:
    """Train a linear and a softmax head on the side `"fit"` of every split, and measure both on each side.

    As in `ClassifierCloseness`, from its `start`: a repetition is the training on a split, `steps` updates of `batch`
    contexts. With a `task` that is rotated training sees rotated contexts; tests never do.
    """

    task: FewShot
    start: str = "random"
    pairs: int = 4
    steps: int = 600
    batch: int = 16
    tuning: int = 400
    test: int = 500
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check(self)
        _ = self.trainings

    @property
    def trainings(self) -> list[ClassifierCloseness]:
        """Those of the linear and of the softmax head, which see the same contexts."""
        shared = {
            "start": self.start, "repetitions": 2 * self.pairs, "steps": self.steps, "batch": self.batch,
            "tuning": self.tuning, "test": self.test, "record_every": self.steps, "seed": self.seed,
        }  # fmt: skip
        task, _ = sides(self.task, 0)
        return [paper_scale(task, kind, **shared) for kind in TRAINING]

    def compute(self, device: torch.device) -> xarray.Dataset:
        """What `measure` returns, its means, over (attention, split, side), and `width` over (attention, split)."""
        configs = self.trainings
        trained = train_weights_together(configs, device, [self.steps])
        found = [self._measured(config, weights) for config, weights in zip(configs, trained, strict=True)]
        means = {
            name: (
                ("attention", "split", "side"),
                [[[side[name] for side in split] for split in one] for one, _ in found],
            )
            for name in found[0][0][0][0]
        }
        widths = {"width": (("attention", "split"), [width for _, width in found])}
        return xarray.Dataset(means | widths, coords={"attention": list(TRAINING), "side": list(real_data.SIDES)})

    def _measured(
        self, config: ClassifierCloseness, weights: dict[str, Tensor]
    ) -> tuple[list[list[dict[str, float]]], list[float]]:
        """Means on both sides of every split, and widths."""
        rows = config.row({name: value.cpu() for name, value in weights.items()})
        means = []
        for split in range(config.repetitions):
            fitted = fit_step(replace(config, task=config.task.of_repetition(split)))
            row = Row(rows.A[:, split], rows.V[:, split])
            tested = [replace(config, task=side) for side in sides(replace(self.task, rotated=False), split)]
            both = [measure(side, split, row, fitted, fitted)[0] for side in tested]
            means.append([{name: float(value[-1]) for name, value in one.items()} for one in both])
        return means, rows.width[-1].tolist()


@checked()
def over_splits(values: ArrayLike) -> Measurement:
    """Mean over splits, and its error over rows *and* classes: half the r.m.s. difference between a split's two sides.

    `values` (2 · pairs,), in the order of `real_data.halves`: 2k and 2k + 1 are one split with its sides exchanged,
    which share no row, and no class where classes are split. Raises `ValueError` for an odd number of values.
    See `prop-two-sides`.
    """
    array = finite_array(values)
    if array.size % 2:
        raise ValueError(f"values must hold both sides of every split, got {array.size} values")
    pairs = array.reshape(-1, 2)
    apart = float(numpy.sqrt(numpy.square(pairs[:, 0] - pairs[:, 1]).mean()))
    mean = float(pairs.mean())
    return Measurement(mean, apart / 2, freedom=len(pairs)) if apart else rounded(mean)

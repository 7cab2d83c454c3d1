"""The authors' setting with fitted steps: their printed numbers beside ours, and the ladder from linear to softmax."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy
import pandas
import xarray

from icl_lib.classification import printed
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.fitted_steps import FittedSteps
from icl_lib.classification.kernels import FIXED_RATE, LINEAR, OWN_TOKEN, SOFTMAX, KernelStep
from icl_lib.classification.step_controls import NamedSteps
from icl_lib.running.sweep import Experiment, sweep
from icl_lib.statistics import Measurement, over_repetitions, rounded

STEPS = (LINEAR, SOFTMAX, OWN_TOKEN, FIXED_RATE)
SIGNED = ("masked", "masked, β > 0", "masked, foreign rate")
ADAPTIVE = "adaptive rate"
RUNGS = ("kernel", ADAPTIVE, "own token")


@dataclass(frozen=True)
class FitsAt:
    """What was fitted at one d, compared on the same contexts.

    `steps`: those of `STEPS`, whose numbers were also fitted in groups; `signed`: softmax, with β > 0, with the rates
    of other contexts.
    """

    d: int
    steps: xarray.Dataset
    signed: xarray.Dataset

    @property
    def beta_of_softmax(self) -> Measurement:
        """β of the softmax step, to the digits that parts of the contexts repeat."""
        return fitted_number(self.steps.beta, self.steps.beta_group, 1)

    @property
    def softmax_ahead(self) -> Measurement:
        """Loss of the linear step − loss of the softmax step, paired."""
        return _gap(self.steps, LINEAR, SOFTMAX)

    @property
    def fixed_behind(self) -> Measurement:
        """Loss of the kernel step at a fixed rate − loss of the softmax step, paired."""
        return _gap(self.steps, FIXED_RATE, SOFTMAX)

    @property
    def positive_side(self) -> Measurement:
        """Loss of the softmax step of either sign − loss of the one with β > 0, paired."""
        return _difference(self.signed, 1)

    @property
    def foreign_rate(self) -> Measurement:
        """Loss of the softmax step − loss of the step with the rates of other contexts, paired."""
        return _difference(self.signed, 2)


def _difference(result: xarray.Dataset, step: int) -> Measurement:
    at = result.isel(step=step)
    return Measurement(float(at.difference), float(at.standard_error))


def _gap(steps: xarray.Dataset, one: KernelStep, other: KernelStep) -> Measurement:
    """Loss of `one` − loss of `other` of `STEPS`, paired."""
    at = steps.isel(step=STEPS.index(one), other=STEPS.index(other))
    return Measurement(float(at.gap), float(at.gap_error))


def fitted_number(values: xarray.DataArray, groups: xarray.DataArray, step: int) -> Measurement:
    """A fitted number of one step with the error that fits on parts of the contexts tell: their deviation / √groups.

    See `sec-authors-numbers`.
    """
    return _repeated(float(values.isel(step=step)), groups.isel(step=step).values)


def _repeated(value: float, apart: numpy.ndarray) -> Measurement:
    """A fitted number with the error that the same fit on parts of the contexts tells."""
    return replace(over_repetitions(apart), value=value)


def fits_at(dimensions: Sequence[int], tuning: int, test: int, groups: int, seed: int) -> dict[int, FitsAt]:
    """The fits at every d in the authors' setting. See `sec-authors-numbers`."""
    tasks = {d: SphereClassification(printed.LENGTH, d, printed.CLASSES) for d in dimensions}
    configs: list[Experiment] = []
    for task in tasks.values():
        configs += [
            FittedSteps(task, STEPS, groups=groups, tuning=tuning, test=test, seed=seed),
            NamedSteps(task, SIGNED, tuning=tuning, test=test, seed=seed),
        ]
    results = iter(sweep(configs))
    return {d: FitsAt(d, next(results), next(results)) for d in tasks}


def table_of_fits(found: Mapping[int, FitsAt]) -> pandas.DataFrame:
    """One row for each d: fitted numbers, losses and paired differences. See `sec-authors-numbers`."""
    rows = []
    for d, one in found.items():
        linear, softmax = one.steps.isel(step=0), one.steps.isel(step=1)
        rows.append(
            {
                "C": printed.CLASSES, "n": printed.LENGTH, "d": d,
                "rate": float(linear.eta), "loss_linear": float(linear.loss),
                "beta": float(softmax.beta), "eta": float(softmax.eta), "loss_softmax": float(softmax.loss),
                "difference": float(softmax.difference), "standard_error": float(softmax.standard_error),
                "fixed_minus_adaptive": one.fixed_behind.value, "fixed_standard_error": one.fixed_behind.standard_error,
            }
        )  # fmt: skip
    return pandas.DataFrame(rows)


def agreement_of_fits(found: Mapping[int, FitsAt], masked: bool = True) -> pandas.DataFrame:
    """Rate, ηβ and |β| of every d beside those printed; `excess` is the factor between them over that allowed, in logs.

    Without `masked` the softmax step is that with the query's own token. See `sec-authors-numbers`.
    """
    rows = []
    for d, one in found.items():
        theirs, steps, k = printed.PRINTED[d], one.steps, STEPS.index(SOFTMAX if masked else OWN_TOKEN)
        beta, eta = (steps[name].isel(step=k) for name in ("beta", "eta"))
        product = steps.beta_group.isel(step=k) * steps.eta_group.isel(step=k)
        width = printed.width_of(theirs.c_qk, d)
        qk, pv = printed.spacing(theirs.decades_qk), printed.spacing(theirs.decades_pv)
        rate_grid = printed.spacing(printed.DECADES_OF_RATE)
        for quantity, ours, groups, printed_number, grids in (
            ("rate", steps.eta.isel(step=0), steps.eta_group.isel(step=0), theirs.rate, (rate_grid,)),
            ("ηβ", beta * eta, product, theirs.c_pv * width, (qk, pv)),
            ("|β|", beta, steps.beta_group.isel(step=k), width, (qk,)),
        ):
            rows.append({"d": d, "quantity": quantity, **_beside(float(ours), groups.values, printed_number, grids)})
    frame = pandas.DataFrame(rows)
    return frame.sort_values("quantity", key=lambda names: names.map({"rate": 0, "ηβ": 1, "|β|": 2}), kind="stable")


def _beside(ours: float, groups: numpy.ndarray, theirs: float, grids: tuple[float, ...]) -> dict[str, object]:
    measured = _repeated(ours, groups)
    relative = measured.standard_error / abs(ours)
    allowed = printed.allowed_ratio(relative, *grids)
    # The factor has our error alone; that of theirs is in what is allowed.
    factor = abs(math.log(abs(ours) / theirs)) / math.log(allowed)
    return {
        "ours": ours, "relative_error": relative, "measured": measured, "theirs": theirs,
        "grid_ratio": math.prod(grids), "allowed": allowed,
        "agrees": printed.agrees_by_ratio(abs(ours), theirs, allowed),
        "excess": rounded(factor, scale=max(1.0, factor)),
    }  # fmt: skip


def agreement_of_losses(found: Mapping[int, FitsAt]) -> pandas.DataFrame:
    """Losses of both steps at every d beside those read off the authors' figures. See `sec-authors-numbers`."""
    rows = []
    for d, one in found.items():
        theirs = printed.PRINTED[d]
        for k, (step, read) in enumerate((("linear", theirs.loss_linear), ("softmax", theirs.loss_softmax))):
            at = one.steps.isel(step=k)
            ours = Measurement(float(at.loss), float(at.loss_error))
            allowed = printed.allowed_difference(ours, float(at.loss_deviation))
            rows.append(
                {
                    "d": d, "step": step, "measured": ours, "theirs": read, "allowed": allowed,
                    "agrees": abs(ours.value - read) <= allowed,
                }
            )  # fmt: skip
    return pandas.DataFrame(rows)


def ladder(found: Mapping[int, FitsAt]) -> pandas.DataFrame:
    """What every rung gains over the one before, at every d. See `sec-authors-ladder`."""
    rows = []
    for d, one in found.items():
        gains = (_gap(one.steps, LINEAR, FIXED_RATE), one.fixed_behind, _gap(one.steps, SOFTMAX, OWN_TOKEN))
        for rung, gain in zip(RUNGS, gains, strict=True):
            rows.append(
                {"d": d, "rung": rung, "gained": gain.value, "standard_error": gain.standard_error, "measured": gain}
            )
    return pandas.DataFrame(rows)

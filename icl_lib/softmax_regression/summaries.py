"""What a closeness result comes to: tidy tables, the numbers at the end of training, and its controls.

Apart from the experiment, so that a change of what is printed makes no training stale.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy
import pandas
import torch
import xarray
from torch import Tensor

from icl_lib import matrices
from icl_lib.running.checked import checked
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.statistics import Measurement, not_resolved_from, over_repetitions, over_runs, rounded

LOSSES = ("loss_sa", "loss_gd", "loss_uniform")
# A layer whose cosine ends below the first number, and moved by less than the second in the last quarter of
# training, does not get closer by training on: Adam's noise at a constant rate holds it where it is.
PLATEAU_COSINE = 0.98
PLATEAU_CHANGE = 0.01


def closeness_table(result: xarray.Dataset) -> pandas.DataFrame:
    """One row for each repetition and step, with `relative_diff` = mean Preds Diff / mean ‖f_GD − 1/n‖."""
    names = [*LOSSES, "preds_diff", "model_diff", "model_cos", "relative_diff"]
    tidy = result.assign(relative_diff=result.preds_diff / result.gd_shift)
    return tidy[names].to_dataframe().reset_index()[["repetition", "step", *names]]


def final_losses(result: xarray.Dataset, **labels: int) -> pandas.DataFrame:
    """The losses after training, one row for each repetition, with a column in front for each label."""
    tidy = result.isel(step=-1)[list(LOSSES)].to_dataframe().reset_index()
    return tidy.assign(**labels)[[*labels, "repetition", *LOSSES]]


def loss_ratio(result: xarray.Dataset, step: int = -1) -> xarray.DataArray:
    """L_SA / L_GD at a recorded step, (repetition,): a ratio of means over the same test tasks."""
    return (result.loss_sa / result.loss_gd).isel(step=step)


def left_over(result: xarray.Dataset, name: str, end_name: str | None = None) -> xarray.DataArray:
    """A difference at the end of training over what it was at the start, (repetition,).

    `end_name` puts another measure in the place of the end.
    """
    return result[end_name or name].isel(step=-1) / result[name].isel(step=0)


def summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """What the end of training comes to, with standard errors; ratios are of means over all repetitions."""
    return over_runs(_ends, result)


def _ends(result: xarray.Dataset) -> dict[str, float]:
    first, end = result.isel(step=0).mean(), result.isel(step=-1).mean()
    own = {"L_SA / L_GD, own search": float(end.loss_sa / end.loss_gd_own)} if "loss_gd_own" in end else {}
    return {
        "η/n": float(result.rate.mean()),
        "L(1/n)": float(end.loss_uniform),
        "L_GD": float(end.loss_gd),
        "L_SA / L_GD": float(end.loss_sa / end.loss_gd),
        "gain": float(1 - end.loss_gd / end.loss_uniform),
        "Preds Diff, start": float(first.preds_diff),
        "Preds Diff, end": float(end.preds_diff),
        "rel": float(end.preds_diff / end.gd_shift),
        "Model Diff, start": float(first.model_diff),
        "Model Diff, end": float(end.model_diff),
        "Model Cos": float(end.model_cos),
        **own,
    }


def controls(result: xarray.Dataset) -> dict[str, Measurement]:
    """Measures that must not look like closeness: no training, a threefold rate, the step of another task."""
    return over_runs(_controls, result)


def _controls(result: xarray.Dataset) -> dict[str, float]:
    first, end = result.isel(step=0).mean(), result.isel(step=-1).mean()
    return {
        "untrained: L_SA / L_GD": float(first.loss_sa / end.loss_gd),
        "untrained: Model Cos": float(first.model_cos),
        "threefold rate: rel": float(end.control_threefold_diff / end.gd_shift),
        "threefold rate: Model Cos": float(end.control_threefold_cos),
        "another task: Model Cos": float(end.control_shuffled_cos),
    }


def stays_on_plateau(result: xarray.Dataset) -> bool:
    """Whether the constant rate, and not too short a training, keeps the layer from the step."""
    cosine = result.model_cos.mean("repetition")
    earlier = cosine.isel(step=-1 - max(1, cosine.sizes["step"] // 4))
    return bool(cosine.isel(step=-1) < PLATEAU_COSINE and abs(cosine.isel(step=-1) - earlier) < PLATEAU_CHANGE)


@checked()
def with_decay(config: Closeness) -> Closeness:
    """The same experiment with a rate that falls to 0 along a cosine, from four times the rate, in 3/4 of the steps."""
    return replace(config, schedule="cosine", rate=4 * config.rate, steps=max(1, 3 * config.steps // 4))


def differences_ratio(result: xarray.Dataset) -> Measurement:
    """Model Diff over Preds Diff after training."""

    def ratio(runs: xarray.Dataset) -> dict[str, float]:
        end = runs.isel(step=-1)
        return {"ratio": float(end.model_diff.mean() / end.preds_diff.mean())}

    return over_runs(ratio, result)["ratio"]


def gap_closed(constant: xarray.Dataset, decayed: xarray.Dataset) -> Measurement:
    """The share of what Model Cos lacks of 1 at the constant rate that is gone where the rate decays."""
    # The two end at different steps.
    both = {"constant": constant, "decayed": decayed}
    ends = xarray.Dataset({name: result.model_cos.isel(step=-1, drop=True) for name, result in both.items()})
    return over_runs(lambda end: {"gone": float(1 - (1 - end.decayed.mean()) / (1 - end.constant.mean()))}, ends)[
        "gone"
    ]


def average_cosine(results: Iterable[xarray.Dataset]) -> Measurement:
    """Model Cos after training, averaged over results with as many repetitions each."""
    return over_repetitions(numpy.mean([result.model_cos.isel(step=-1) for result in results], axis=0))


def rate_spread(result: xarray.Dataset) -> Measurement:
    """Standard deviation over repetitions of the rates of their own searches, in units of their mean."""
    return _of_one(over_runs(lambda runs: {"spread": _spread(runs.own_rate.values)}, result)["spread"])


def search_excess(result: xarray.Dataset) -> Measurement:
    """What a step loses by a rate from the tasks of one repetition, as a part of its loss at the rate from all."""

    def excess(runs: xarray.Dataset) -> dict[str, float]:
        end = runs.isel(step=-1).mean()
        return {"excess": float(end.loss_gd_own / end.loss_gd) - 1}

    return _of_one(over_runs(excess, result)["excess"])


def _of_one(share: Measurement) -> Measurement:
    """A share or a spread in units of the mean: without an error it is read against 1, however small it is."""
    return share if share.standard_error else rounded(share.value, scale=1)


def _spread(values: numpy.ndarray | Tensor) -> float:
    """Standard deviation over mean; 0 for a single value."""
    array = numpy.asarray(values)
    return float(array.std(ddof=1) / array.mean()) if array.size > 1 else 0.0


def matrix_summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """How far the learned M are from a multiple cI of the identity, and their mean; c beside the rate of the step."""
    looks = over_runs(_matrix_looks, result[["M", "rate", "own_rate"]])
    return {name: look if name == "c" else _of_one(look) for name, look in looks.items()}


def _matrix_looks(runs: xarray.Dataset) -> dict[str, float]:
    M = torch.from_numpy(runs.M.values)
    c, spectrum = matrices.nearest_multiple(M), matrices.spectrum(M)
    single = float(matrices.distance_from_identity(M).square().mean().sqrt())
    of_mean = float(matrices.distance_from_identity(M.mean(0)))
    return {
        "c": float(c.mean()),
        "c / (η/n)": float(c.mean()) / float(runs.rate.mean()),
        "spread of c": _spread(c),
        "spread of η/n": _spread(runs.own_rate.values),
        "distance": single,
        "of the mean": of_mean,
        "of the mean / distance": of_mean / single,
        "largest σ / |c|": float(spectrum[:, 0].mean()),
        "least σ / |c|": float(spectrum[:, -1].mean()),
    }


def spread_times(results: Sequence[xarray.Dataset]) -> Measurement:
    """How many times as much the rate of a repetition's own search scatters as c, at the median of the results."""
    found = {
        "c": [matrices.nearest_multiple(torch.from_numpy(result.M.values)).tolist() for result in results],
        "rate": [result.own_rate.values for result in results],
    }
    together = xarray.Dataset({name: (("point", "repetition"), values) for name, values in found.items()})
    return over_runs(_median_times, together)["times"]


def _median_times(runs: xarray.Dataset) -> dict[str, float]:
    pairs = zip(runs.rate.values, runs.c.values, strict=True)
    # A spread over a single repetition is no number: then there is no error either.
    return {"times": float(numpy.median([_spread(rate) / (_spread(c) or 1) for rate, c in pairs]))}


def baseline_summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """What a training of the linear baseline comes to; ratios are of means over all repetitions."""
    return over_runs(_baseline_ends, result)


def _baseline_ends(result: xarray.Dataset) -> dict[str, float]:
    first, end = result.isel(step=0).mean(), result.isel(step=-1).mean()
    return {
        "L_SA / L_GD": float(end.loss_sa / end.loss_gd),
        "gain": float(1 - end.loss_gd / end.loss_zero),
        "Preds Diff, end / start": float(end.preds_diff / first.preds_diff),
        "Model Cos": float(end.model_cos),
    }


@checked()
def beside(cases: Mapping[str, Mapping[str, Measurement]]) -> pandas.DataFrame:
    """A table of summaries with a column for each case and a row for each measure."""
    return pandas.DataFrame(cases).rename_axis("measure").reset_index()


@checked()
def named(cases: Mapping[str, Measurement], chosen: str) -> str:
    """The case called `chosen`, with the others that are not resolved from it."""
    others = not_resolved_from(cases, chosen)
    return f"{chosen} (not resolved from {'; '.join(others)})" if others else chosen

"""What a closeness result comes to: tidy tables, the numbers at the end of training, and its controls.

Apart from the experiment, so that a change of what is printed makes no training stale.
"""

from dataclasses import replace

import pandas
import xarray

from icl_lib.experiments.softmax_regression import Closeness
from icl_lib.statistics import Measurement, over_runs

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


def with_decay(config: Closeness) -> Closeness:
    """The same experiment with a rate that falls to 0 along a cosine, from four times the rate, in 3/4 of the steps."""
    return replace(config, schedule="cosine", rate=4 * config.rate, steps=max(1, 3 * config.steps // 4))

"""What a layer and the rivals of the step come to: tables, the most alike, and whom a limit lets pass.

Apart from the experiment, so that a change of what is printed makes no training stale.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas
import xarray

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice
from icl_lib.softmax_regression.closeness_claims import LEAST_COSINE, LOSSES, RIVALS
from icl_lib.statistics import Measurement, not_resolved_from, over_runs, within

# For each measure how far a value is from that of two equal models.
OFF = {
    "L_SA / L": lambda m: replace(m, value=abs(m.value - 1)),
    "rel": lambda m: m,
    "Model Cos": lambda m: replace(m, value=1 - m.value),
}


def rival_table(result: xarray.Dataset, **labels: float) -> pandas.DataFrame:
    """One row for each repetition and rival, with a column in front for each label.

    `loss_ratio` = L_SA / L_rival is infinite for the truth; `relative_diff` = mean Preds Diff / mean ‖f_rival − 1/n‖.
    """
    rows = xarray.Dataset(
        {
            "loss_ratio": (result.loss_sa / result.loss).transpose("repetition", "rival"),
            "relative_diff": result.preds_diff / result["shift"],
            "model_cos": result.model_cos,
        }
    )
    tidy = rows.to_dataframe().reset_index().assign(**labels)
    return tidy[[*labels, "repetition", "rival", "loss_ratio", "relative_diff", "model_cos"]]


def against(result: xarray.Dataset) -> dict[str, dict[str, Measurement]]:
    """The three measures of the layer against each rival; the truth has no loss and so no ratio."""

    def measures(runs: xarray.Dataset) -> dict[str, float]:
        mean, found = runs.mean("repetition"), {}
        for name in map(str, runs.rival.values):
            at = mean.sel(rival=name)
            if name != "truth":
                found[f"{name}|L_SA / L"] = float(mean.loss_sa / at.loss)
            found[f"{name}|rel"] = float(at.preds_diff / at["shift"])
            found[f"{name}|Model Cos"] = float(at.model_cos)
        return found

    told: dict[str, dict[str, Measurement]] = {str(name): {} for name in result.rival.values}
    for key, measured in over_runs(measures, result).items():
        name, measure = key.split("|")
        told[name][measure] = measured
    return told


def multiple_gain(result: xarray.Dataset) -> Measurement:
    """The loss of the layer's matrix at its best length over that of the layer."""
    return over_runs(lambda runs: {"ratio": float(runs.loss_multiple.mean() / runs.loss_sa.mean())}, result)["ratio"]


def beside_step(result: xarray.Dataset) -> xarray.Dataset:
    """The layer beside the step with the names of a closeness result at its last step, (repetition, step)."""
    step = result.sel(rival="step", drop=True)
    ends = xarray.Dataset({"loss_sa": step.loss_sa, "loss_gd": step.loss, "model_cos": step.model_cos})
    return ends.expand_dims("step", axis=-1)


@checked()
def most_alike(measured: Mapping[str, Mapping[str, Measurement]], measure: str) -> str:
    """The rival to which the layer is nearest by a measure, with those not resolved from it, in words."""
    check_choice("measure", measure, OFF)
    off = {RIVALS[name]: OFF[measure](found[measure]) for name, found in measured.items() if measure in found}
    if not off:
        raise ValueError(f"measured must hold {measure!r} of at least one rival, got none")
    nearest = min(off, key=lambda name: off[name].value)
    return ", ".join([nearest, *not_resolved_from(off, nearest)])


def let_pass(result: xarray.Dataset, query: str) -> dict[str, str]:
    """The rivals of the step that the limits for losses and cosines let pass in the layer's place, in words."""

    def measures(runs: xarray.Dataset) -> dict[str, float]:
        mean = runs.mean("repetition")
        step, found = mean.sel(rival="step"), {}
        for name in (str(name) for name in runs.rival.values if name != "step"):
            at = mean.sel(rival=name)
            found[f"{name}|losses"] = float(at.loss / step.loss)
            found[f"{name}|cosine"] = float(at.model_cos_step)
        return found

    limits = {"losses": LOSSES[query], "cosine": (LEAST_COSINE[query], math.inf)}
    passing: dict[str, list[str]] = {test: [] for test in limits}
    for key, measured in over_runs(measures, result).items():
        name, test = key.split("|")
        passes = within(measured, *limits[test])
        if passes is not False:
            passing[test].append(RIVALS[name] + (" (not resolved)" if passes is None else ""))
    return {test: ", ".join(names) or "none" for test, names in passing.items()}

"""What readings, transfers, wrong steps and stacks come to: the numbers of their tables, with standard errors.

Apart from the experiments, so that a change of what is printed makes no training stale.
"""

import math
from collections.abc import Mapping

import pandas
import torch
import xarray

from icl_lib import matrices
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_keys
from icl_lib.softmax_regression.summaries import loss_ratio, summary
from icl_lib.statistics import Measurement, median, over_runs, rounded, within

# A match says something if the step removes at least this part of the uniform prediction's loss.
LEAST_GAIN = 0.2
# A stack has converged if its loss changes by less than this part in the last quarter of its updates.
STANDS_STILL = 0.005


def spread_of_ratios(result: xarray.Dataset) -> dict[str, Measurement]:
    """L_SA / L_GD after training in the least, the median and the largest repetition."""
    ratios = loss_ratio(result)
    return {
        "least": rounded(float(ratios.min()), scale=1),
        "median": median(ratios),
        "largest": rounded(float(ratios.max()), scale=1),
    }


def reading_summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """`summary` of a reading, the spread of its ratios, and the uniform prediction's loss over that of the step."""
    return {**summary(result), **spread_of_ratios(result), **over_runs(_uniform, result)}


def _uniform(result: xarray.Dataset) -> dict[str, float]:
    end = result.isel(step=-1).mean()
    return {"L(1/n) / L_GD": float(end.loss_uniform / end.loss_gd)}


@checked()
def both(first: bool | None, second: bool | None) -> bool | None:
    """Whether both are so; None, not resolved, where neither is denied and one is not resolved."""
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


@checked(result="any")
def says_something(numbers: Mapping[str, Measurement] | pandas.Series) -> bool | None:
    """Whether the step does enough for a match with it to tell anything."""
    check_keys("numbers", numbers, "gain")
    return within(numbers["gain"], LEAST_GAIN, math.inf)


def wrong_steps(result: xarray.Dataset, *factors: float) -> dict[str, Measurement]:
    """Distance over the length of the step, and cosine, of steps with so many times the best rate, at one scale."""

    def measures(result: xarray.Dataset) -> dict[str, float]:
        mean = result.mean("repetition")
        found = {}
        for factor in factors:
            off = mean.sel(factor=factor)
            found[f"× {factor:g}: rel"] = float(off.wrong_preds_diff / off.gd_shift)
            found[f"× {factor:g}: cos"] = float(off.wrong_cos)
        return found

    return over_runs(measures, result)


def transfer_summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """A layer used elsewhere against the step with the old rate and with the rate that is best there."""
    return over_runs(_transfer, result)


def _transfer(result: xarray.Dataset) -> dict[str, float]:
    mean = result.mean()
    return {
        "L_SA / L_GD": float(mean.loss_sa / mean.loss_gd),
        "rel": float(mean.preds_diff / mean.gd_shift),
        "Model Cos": float(mean.model_cos),
        "gain": float(1 - mean.loss_gd / mean.loss_uniform),
        "SA gain": float(1 - mean.loss_sa / mean.loss_uniform),
        "best rate / old": float(mean.best_rate / mean.rate),
        "gain, best rate": float(1 - mean.loss_gd_retuned / mean.loss_uniform),
    }


@checked()
def who_loses(numbers: Mapping[str, Measurement] | pandas.Series) -> str:
    """Who is clearly worse than the uniform prediction: `both`, `step`, `layer`, `neither`, or `not resolved`."""
    check_keys("numbers", numbers, "gain", "SA gain")
    step, layer = (within(numbers[name], -math.inf, 0) for name in ("gain", "SA gain"))
    if step is None or layer is None:
        return "not resolved"
    return {(True, True): "both", (True, False): "step", (False, True): "layer"}.get((step, layer), "neither")


def stack_summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """K layers against K steps after training, and how far the ratio scatters; `result` holds one K."""
    return {**over_runs(_stack, result), "last quarter": since(result, 0.75)}


def _stack(result: xarray.Dataset) -> dict[str, float]:
    end = result.isel(step=-1).mean()
    return {
        "gain of K steps": float(1 - end.loss_gd / end.loss_uniform),
        "common / own rates": float(end.loss_gd_common / end.loss_gd),
        "L_SA / L_GD": float(end.loss_sa / end.loss_gd),
        "its SD": float(loss_ratio(result).std(ddof=min(1, result.sizes["repetition"] - 1))),
        "rel to K steps": float(end.preds_diff / end.gd_shift),
        "rel to K − 1": float(end.preds_diff_fewer / end.gd_shift),
        "Model Cos": float(end.model_cos),
    }


def since(result: xarray.Dataset, share: float) -> Measurement:
    """Loss of the layer at the end over that after a share of its updates, at the nearest step recorded."""

    def fall(result: xarray.Dataset) -> dict[str, float]:
        losses = result.loss_sa.mean("repetition")
        then = losses.sel(step=int(share * int(result.step[-1])), method="nearest")
        return {"fall": float(losses.isel(step=-1) / then)}

    return over_runs(fall, result)["fall"]


@checked()
def converged(numbers: Mapping[str, Measurement] | pandas.Series) -> bool | None:
    """Whether a stack's mean loss has come to rest, from its `stack_summary`."""
    check_keys("numbers", numbers, "last quarter")
    return within(numbers["last quarter"], 1 - STANDS_STILL, 1 + STANDS_STILL)


def layers_of_stack(result: xarray.Dataset, K: int) -> dict[str, list[Measurement]]:
    """The multiple c of the identity nearest to each of K layers, and the distance of each layer from cI.

    The distance is the root mean square over repetitions, and that of the mean matrix; `result` holds one K.
    """

    def measures(result: xarray.Dataset) -> dict[str, float]:
        M = torch.from_numpy(result.M.transpose("repetition", "layer", ...).values)[:, :K]
        found = {
            "c": matrices.nearest_multiple(M).mean(0),
            "distance": matrices.distance_from_identity(M).square().mean(0).sqrt(),
            "of the mean": matrices.distance_from_identity(M.mean(0)),
        }
        return {f"{name} {k}": float(values[k]) for name, values in found.items() for k in range(K)}

    measured = over_runs(measures, result)
    return {name: [measured[f"{name} {k}"] for k in range(K)] for name in ("c", "distance", "of the mean")}

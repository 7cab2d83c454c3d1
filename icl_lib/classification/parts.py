"""Where a trained softmax head differs from the fitted step: structure, gain, or width."""

import numpy
import pandas
import torch
import xarray
from torch import Tensor

from icl_lib import alignment
from icl_lib.classification.closeness import DTYPE, ClassifierCloseness, tuning_contexts
from icl_lib.classification.contexts import Examples
from icl_lib.classification.descent import cross_entropy, fit_rate
from icl_lib.classification.kernels import Scores
from icl_lib.classification.summaries import learned_gain, learned_width
from icl_lib.running.streams import stream
from icl_lib.statistics import Measurement, over_repetitions, rounded

# The part of a fitted width or gain that another processor repeats: where the loss is flat the search ends elsewhere.
FIT_REPEATS_TO = 1e-4


def excess_parts(config: ClassifierCloseness, result: xarray.Dataset) -> pandas.DataFrame:
    """L_SA − L_GD of every repetition as a sum, on its test contexts.

    The head has a width β and a gain η (`width`, `gain`) beside entries that the construction leaves empty. With
    L(β, η) the loss of the step with these numbers and η(β) the gain that fits β on the tuning contexts,
    `off structure` = L_SA − L(β, η), `gain off` = L(β, η) − L(β, η(β)), `width off` = L(β, η(β)) − L_GD.
    Raises `ValueError` for linear attention, whose scores have no scale of their own.
    """
    _check_softmax(config)
    tuning = tuning_contexts(config)
    rows = []
    for repetition, (beta, gain) in enumerate(
        zip(learned_width(result).tolist(), learned_gain(result).tolist(), strict=True)
    ):
        (best,), _ = fit_rate(_features(config, tuning, beta), tuning.y_query)
        test = config.task.sample(config.test, stream(config.seed, "test", repetition), dtype=DTYPE)
        features = _features(config, test, beta).squeeze(-1)
        as_learned, as_fitted = (_loss(eta * features, test.y_query) for eta in (gain, best))
        end = result.isel(repetition=repetition, step=-1)
        rows.append(
            {
                "repetition": repetition + 1, "width": beta, "gain": gain, "gain that fits": best,
                "excess": float(end.loss_sa - end.loss_gd), "off structure": float(end.loss_sa) - as_learned,
                "gain off": as_learned - as_fitted, "width off": as_fitted - float(end.loss_gd),
            }
        )  # fmt: skip
    return pandas.DataFrame(rows)


def mean_parts(parts: pandas.DataFrame, loss: float) -> dict[str, Measurement]:
    """The columns of `excess_parts`, means over trainings with standard errors.

    Of a single training a width or a gain is read against its own size, a difference against `loss`. So is a width
    or a gain in which trainings agree better than fits repeat: started at the fitted step, they share its error.
    """
    numbers = ("width", "gain", "gain that fits")
    means = {
        name: over_repetitions(parts[name], abs(float(parts[name].iloc[0])) if name in numbers else loss)
        for name in parts.columns
        if name != "repetition"
    }
    shared = [name for name in numbers if means[name].standard_error < FIT_REPEATS_TO * abs(means[name].value)]
    return means | {name: rounded(means[name].value) for name in shared}


def learned_widths(
    place: str, config: ClassifierCloseness, result: xarray.Dataset
) -> tuple[pandas.DataFrame, dict[str, object]]:
    """Width and gain of every training of a setting called `place`, and a row of means over all of them.

    The frame has the columns of `excess_parts`, the setting and the fitted width; the row says in how many the width is
    negative, and gives the means of what is missing.
    """
    parts, loss = excess_parts(config, result), float(result.loss_gd.mean())
    ends = mean_parts(parts, loss)
    row = {
        "setting": place, "β fitted": rounded(result.beta), "gain fitted": rounded(result.eta),
        "β < 0": f"{int((parts.width < 0).sum())} of {len(parts)}",
        "L_GD": over_repetitions(result.loss_gd.isel(step=-1), 1.0),
        "L_SA − L_GD": ends["excess"], "off structure": ends["off structure"], "gain off": ends["gain off"],
        "width off": ends["width off"],
    }  # fmt: skip
    return parts.assign(setting=place, fitted=float(result.beta)), row


def with_own_step(config: ClassifierCloseness, result: xarray.Dataset) -> xarray.Dataset:
    """`result` with `context_loss_own`, `context_probability_own`, `context_entropy_own`, (repetition, context) each.

    They are those of the step with the head's own width and gain, on the head's test contexts. From the head this
    step differs by what lies beside the construction's pattern only.
    """
    _check_softmax(config)
    width, gain = learned_width(result).tolist(), learned_gain(result).tolist()
    found: dict[str, list[numpy.ndarray]] = {"loss": [], "probability": [], "entropy": []}
    for repetition, beta, eta in zip(result.repetition.values.tolist(), width, gain, strict=True):
        test = config.task.sample(config.test, stream(config.seed, "test", repetition), dtype=DTYPE)
        own = eta * _features(config, test, beta).squeeze(-1)
        p = torch.softmax(own, dim=-1)
        found["loss"].append(cross_entropy(own, test.y_query).numpy())
        found["probability"].append((p * test.y_query).sum(-1).numpy())
        found["entropy"].append(alignment.entropy(p).numpy())
    return result.assign(
        {f"context_{name}_own": (("repetition", "context"), numpy.stack(values)) for name, values in found.items()}
    )


def _check_softmax(config: ClassifierCloseness) -> None:
    if config.attention != "softmax":
        raise ValueError(f"config must be one of softmax attention, got attention={config.attention!r}")


def _features(config: ClassifierCloseness, context: Examples, beta: float) -> Tensor:
    return config.step.features(Scores.of_examples(context), beta)


def _loss(logits: Tensor, y: Tensor) -> float:
    return float(cross_entropy(logits, y).double().mean())

"""What a result of paper 2's experiment comes to: tables, weight blocks, paired differences.

Apart from the experiment, so that a change of what is printed makes no training stale.
"""

import math
from collections.abc import Sequence

import numpy
import pandas
import torch
import xarray
from scipy.stats import norm
from torch import Tensor

from icl_lib.classification.head import Row
from icl_lib.classification.printed import STARTS
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_integer, check_number
from icl_lib.statistics import RESOLVED, Measurement, median, over_repetitions, over_runs, rounded, wilson

# What the claims allow a head beside its step: a difference of the losses, and the least Model Cos.
LOSS_LIMIT = 0.02
LEAST_COSINE = 0.99
# A number that varies by less than this part of itself is the same for all contexts: what is left is rounding.
SPREAD = 1e-10


def classification_table(result: xarray.Dataset) -> pandas.DataFrame:
    """One tidy row for each repetition and step."""
    names = ["loss_sa", "loss_gd", "preds_diff", "model_diff", "model_cos"]
    return result[names].to_dataframe().reset_index()[["repetition", "step", *names]]


def scatter_table(
    result: xarray.Dataset, contexts: int, models: Sequence[str] = ("sa", "gd"), repetition: int = 0
) -> pandas.DataFrame:
    """Per-context loss, probability of the right class and entropy after training, of one repetition.

    `models` are the head `"sa"`, the step `"gd"`, and the step on contexts with shuffled labels `"shuffled"`.
    """
    check_integer("contexts", contexts, 1, result.sizes["context"])
    frames = []
    for model in models:
        chosen = result.isel(repetition=repetition, context=slice(contexts))
        columns = {name: chosen[f"context_{name}_{model}"].values for name in ("loss", "probability", "entropy")}
        frames.append(pandas.DataFrame({"context": range(contexts), "model": model, **columns}))
    return pandas.concat(frames, ignore_index=True)


def layer_blocks(result: xarray.Dataset) -> dict[str, Tensor]:
    """The last scores A and values V of every repetition in blocks, for the query's row: (R, ., .) each.

    A_xx and A_xy are the scores' blocks; V_yx and V_yy the values', with V_yy's column means taken out: they add
    the same number to every class and Adam lets them drift.
    """
    A, V = _row(result)
    V = V - V.mean(-2, keepdim=True)
    d = A.shape[-2]
    return {"A_xx": A[..., :d], "A_xy": A[..., d:], "V_yx": V[..., :d], "V_yy": V[..., d:]}


def learned_width(result: xarray.Dataset) -> Tensor:
    """β as learned, the mean of A_xx's diagonal, for every repetition (R,); negative in the wrong basin."""
    return _row(result).width


def width_by_training(result: xarray.Dataset) -> list[Measurement]:
    """β as learned in every training, to three digits, of less than 1 to hundredths: read against ten times its size.

    The loss hardly knows a single width more closely, and along its flat ground Adam carries rounding on.
    """
    return [rounded(beta, 10 * max(1.0, abs(beta))) for beta in learned_width(result).tolist()]


def _row(result: xarray.Dataset) -> Row:
    return Row(torch.from_numpy(result.A.values), torch.from_numpy(result.V.values))


def learned_gain(result: xarray.Dataset) -> Tensor:
    """η as learned, the multiple of I − 11ᵀ/C nearest to V_yy, for every repetition (R,)."""
    values = layer_blocks(result)["V_yy"]
    # V_yy's columns are centred, so its trace is its product with the pattern, whose square is C − 1.
    return torch.diagonal(values, dim1=-2, dim2=-1).sum(-1) / (values.shape[-1] - 1)


def off_structure(result: xarray.Dataset) -> Tensor:
    """The largest entry that a constructed layer leaves empty, over its block row's mean diagonal, (R,).

    Empty are A_xy, V_yx and what A_xx and V_yy hold beside a multiple of their pattern, V_yy's columns centred.
    """
    blocks = layer_blocks(result)
    C = blocks["V_yy"].shape[-1]
    worst = []
    for main, side, pattern in (
        ("A_xx", "A_xy", torch.eye(blocks["A_xx"].shape[-1])),
        ("V_yy", "V_yx", torch.eye(C) - 1 / C),
    ):
        scale = (blocks[main] * pattern).sum((-2, -1), keepdim=True) / pattern.square().sum()
        for left in (blocks[main] - scale * pattern, blocks[side]):
            worst.append((left / scale).abs().amax((-2, -1)))
    return torch.stack(worst).amax(0)


def paired(first: xarray.Dataset, second: xarray.Dataset) -> Measurement:
    """Loss of `first` − loss of `second` after training, over the test contexts that both were measured on.

    The standard error is that of the repetitions' means: trainings and contexts both vary.
    """
    difference = (first.context_loss_sa - second.context_loss_sa).values.astype(float)
    return over_repetitions(difference.mean(-1) if len(difference) > 1 else difference)


@checked()
def crossing(
    n: Sequence[int], difference: Sequence[float], error: Sequence[float], draws: int = 2000
) -> Measurement | None:
    """The length at which a difference turns from negative to positive for good, by interpolation in log n.

    None where it does not: it has one sign throughout, or is negative at the end. The standard error is that of the
    interpolated length over `draws` differences with Gaussian errors, those without a crossing left out.
    """
    _check_curve(n, difference, error)
    where = numpy.log(numpy.asarray(n, dtype=float))
    found = _last_crossing(where, numpy.asarray(difference, dtype=float))
    if found is None:
        return None
    if not numpy.any(error):
        return rounded(math.exp(found))
    points = [point for point in _drawn_crossings(n, difference, error, draws) if point is not None]
    return Measurement(math.exp(found), float(numpy.std(numpy.exp(points))))


@checked()
def crosses(n: Sequence[int], difference: Sequence[float], error: Sequence[float], draws: int = 2000) -> bool | None:
    """Whether there is a `crossing`; None, not resolved, where Gaussian errors decide it.

    It is clear where as many of the drawn differences agree as one side of two standard errors holds, 97.7 %.
    """
    _check_curve(n, difference, error)
    drawn = _drawn_crossings(n, difference, error, draws)
    share = sum(point is not None for point in drawn) / draws
    clear = float(norm.cdf(RESOLVED))
    return True if share >= clear else False if share <= 1 - clear else None


def _check_curve(n: Sequence[int], difference: Sequence[float], error: Sequence[float]) -> None:
    for length in n:
        check_count("n", length)
    for one in error:
        check_number("error", one, minimum=0)
    if not len(n) == len(difference) == len(error) or list(n) != sorted(set(n)) or not n:
        raise ValueError(f"n must be lengths that grow, with a difference and an error each, got {list(n)}")


def _drawn_crossings(
    n: Sequence[int], difference: Sequence[float], error: Sequence[float], draws: int
) -> list[float | None]:
    """The logarithms of the crossings of `draws` differences with Gaussian errors, the same draws at each call."""
    check_count("draws", draws, 2)
    where = numpy.log(numpy.asarray(n, dtype=float))
    values, errors = numpy.asarray(difference, dtype=float), numpy.asarray(error, dtype=float)
    noise = numpy.random.default_rng(0).standard_normal((draws, len(values)))
    return [_last_crossing(where, values + errors * row) for row in noise]


def _last_crossing(where: numpy.ndarray, values: numpy.ndarray) -> float | None:
    """Where the piecewise linear curve turns from negative to positive for good."""
    turns = numpy.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(turns) or values[-1] < 0:
        return None
    k = int(turns[-1])
    share = values[k] / (values[k] - values[k + 1])
    return float(where[k] + share * (where[k + 1] - where[k]))


def excess(result: xarray.Dataset, of: str = "loss_sa") -> Measurement:
    """Loss of the head (of a control, by its name) − loss of its step after training, mean over repetitions."""
    end = result.isel(step=-1)
    return over_repetitions(end[of] - end.loss_gd, float(end.loss_gd.mean()))


def excess_by_training(result: xarray.Dataset) -> list[Measurement]:
    """L_SA − L_GD of every training by itself, a mean over its test contexts."""
    difference = (result.context_loss_sa - result.context_loss_gd).values.astype(float)
    return [over_repetitions(row, float(result.context_loss_gd.mean())) for row in difference]


def wrong_basin(result: xarray.Dataset) -> dict[str, int | float | Measurement | None]:
    """How many trainings ended with β < 0, Wilson's interval for their share, and the median excess on either side.

    None where no training ended on a side.
    """
    wrong = learned_width(result).numpy() < 0
    difference = (result.loss_sa - result.loss_gd).isel(step=-1).values
    lowest, highest = wilson(int(wrong.sum()), wrong.size)
    loss = float(result.loss_gd.mean())
    return {
        "wrong sign": int(wrong.sum()),
        "trainings": wrong.size,
        "share": float(wrong.mean()),
        "95 % from": lowest,
        "95 % to": highest,
        "median excess, right sign": median(difference[~wrong], loss) if not wrong.all() else None,
        "median excess, wrong sign": median(difference[wrong], loss) if wrong.any() else None,
    }


def summary(result: xarray.Dataset) -> dict[str, Measurement]:
    """What the end of training comes to, means over repetitions with their standard errors."""
    ends = over_runs(_ends, result)
    if result.sizes["repetition"] > 1:
        return ends
    # A single training has no error: its differences are read against the loss, its cosine against 1.
    against = {"L_SA − L_GD": ends["L_GD"].value, "Model Cos, end": 1.0}
    return ends | {name: rounded(ends[name].value, scale) for name, scale in against.items()}


def _ends(result: xarray.Dataset) -> dict[str, float]:
    first, end = result.isel(step=0).mean(), result.isel(step=-1).mean()
    return {
        "L_GD": float(end.loss_gd),
        "L_SA − L_GD": float(end.loss_sa - end.loss_gd),
        "accuracy, GD": float(end.accuracy_gd),
        "accuracy, SA": float(end.accuracy_sa),
        "Preds Diff, start": float(first.preds_diff),
        "Preds Diff, end": float(end.preds_diff),
        "Model Diff, start": float(first.model_diff),
        "Model Diff, end": float(end.model_diff),
        "Model Cos, end": float(end.model_cos),
    }


def correlations(frame: pandas.DataFrame, first: str = "sa", second: str = "gd") -> dict[str, float]:
    """Correlation over contexts of two models' loss, probability, entropy (of a `scatter_table`).

    0 where one of them is the same for all contexts, to `SPREAD`: a model that says nothing agrees with none.
    """
    sa, gd = (frame[frame.model == model] for model in (first, second))
    return {name: _correlation(sa[name].to_numpy(), gd[name].to_numpy()) for name in ("loss", "probability", "entropy")}


def _correlation(x: numpy.ndarray, y: numpy.ndarray) -> float:
    if any(numpy.ptp(values) <= SPREAD * numpy.abs(values).max() for values in (x, y)):
        return 0.0
    return float(numpy.corrcoef(x, y)[0, 1])


def context_agreement(result: xarray.Dataset, first: str = "sa", second: str = "gd") -> dict[str, Measurement]:
    """The `correlations` of two models over all test contexts, mean and standard error over repetitions."""
    every = [
        correlations(scatter_table(result, result.sizes["context"], (first, second), repetition), first, second)
        for repetition in range(result.sizes["repetition"])
    ]
    return {name: over_repetitions([one[name] for one in every], 1.0) for name in every[0]}


def as_the_authors_measure(result: xarray.Dataset, d: int, kind: str) -> dict[str, object]:
    """Preds Diff and Model Diff ÷ C at start and end and the cosine class by class, beside what the authors show.

    See `sec-authors-measures`.
    """
    first, end, classes = result.isel(step=0), result.isel(step=-1), float(result.classes)
    read = [value if math.isfinite(value) else "none" for value in STARTS.get((kind, d), (math.nan, math.nan))]

    def per_class(values: xarray.DataArray) -> Measurement:
        return over_repetitions(values / classes, 1.0)

    return {
        "d": d, "attention": kind,
        "Preds Diff, start": per_class(first.preds_diff), "read, Preds Diff": read[0],
        "Model Diff, start": per_class(first.model_diff_by_class), "read, Model Diff": read[1],
        "Preds Diff, end": per_class(end.preds_diff), "Model Diff, end": per_class(end.model_diff_by_class),
        "cosine, end": over_repetitions(end.cos_by_class, 1.0),
    }  # fmt: skip

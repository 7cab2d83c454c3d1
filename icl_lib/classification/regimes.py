"""Where softmax attention is at least as good as linear attention: the map, its rule, and what fitted steps come to."""

import math
from collections.abc import Sequence

import numpy
import pandas
import xarray
from numpy.typing import ArrayLike
from scipy.stats import norm

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import fit
from icl_lib.classification.fitted_steps import LINEAR, SOFTMAX, collect, compare, contexts
from icl_lib.classification.summaries import crosses, crossing
from icl_lib.running.device import one_thread
from icl_lib.running.validation import check_integer, check_number
from icl_lib.statistics import RESOLVED, Measurement, over_runs, rounded, z_score

# What can be said of a difference linear − softmax.
AHEAD = ("softmax", "linear", "not resolved")
# Blocks of contexts that a jackknife leaves out one at a time.
GROUPS = 20


def simultaneous_limit(cells: int, level: float = 0.05, sides: int = 1) -> float:
    """The z such that the least of `cells` independent standard normals is below −z with probability `level` (Šidák).

    Where two models were equal in every cell, a rule that asks each cell for a score of at least −z would blame one
    of them in a share `level` of all maps. With two `sides` it is the largest absolute value that exceeds z.
    """
    check_integer("cells", cells, 1)
    check_integer("sides", sides, 1, 2)
    check_number("level", level, above=0, maximum=0.5)
    return float(norm.isf((1 - (1 - level) ** (1 / cells)) / sides))


def at_width(task: SphereClassification, width: float, tuning: int, test: int, seed: int) -> Measurement:
    """Loss of the linear step − loss of the softmax step with β = `width`, paired; rates are fitted, the width is not.

    The contexts are those of `FittedSteps` with the same numbers.
    """
    with one_thread():
        scores, y = collect(contexts(task, tuning, "tune", seed))
        fits = [fit(LINEAR, scores, y), fit(SOFTMAX, scores, y, (width, width))]
        found = compare(fits, contexts(task, test, "test", seed)).isel(step=1)
    return Measurement(float(found.difference), float(found.standard_error))


def measured(
    frame: pandas.DataFrame, value: str = "difference", error: str = "standard_error"
) -> list[Measurement | str]:
    """A column with the standard errors of another; empty where a row has no value."""
    pairs = zip(frame[value].tolist(), frame[error].tolist(), strict=True)
    return [Measurement(one, its_error) if math.isfinite(one) else "" for one, its_error in pairs]


def by_cell(
    frame: pandas.DataFrame, value: str = "difference", error: str = "standard_error"
) -> dict[str, Measurement]:
    """`measured` by name of the cell, "n = 10, d = 2", rows without a value left out."""
    names = [f"n = {row.n}, d = {row.d}" for row in frame.itertuples()]
    named = zip(names, measured(frame, value, error), strict=True)
    return {name: one for name, one in named if isinstance(one, Measurement)}


def ahead(difference: Measurement, limit: float = RESOLVED) -> str:
    """Who is ahead by linear − softmax, one of `AHEAD`: not resolved within `limit` standard errors of 0."""
    if abs(difference.value) <= limit * difference.standard_error:
        return "not resolved"
    return "softmax" if difference.value > 0 else "linear"


def tally(frame: pandas.DataFrame) -> dict[str, int]:
    """In how many rows softmax is `ahead`, in how many linear, and how many are not resolved."""
    answers = [ahead(one) for one in measured(frame) if isinstance(one, Measurement)]
    return {answer: answers.count(answer) for answer in AHEAD}


def least_scores(frame: pandas.DataFrame, by: str = "d", fit_error: float = 0.0) -> dict[int, Measurement]:
    """For every value of `by` the least `difference` of its cells in units of their error.

    The error is the root of the sum of squares of `standard_error`, which knows of the test contexts only, and
    `fit_error`. A score has no error of its own: the limit that it is held against allows for it.
    """
    check_number("fit_error", fit_error, minimum=0)
    scores = [z_score(row.difference, math.hypot(row.standard_error, fit_error)) for row in frame.itertuples()]
    least = pandas.Series(scores, index=frame[by].to_numpy()).groupby(level=0).min()
    return {int(value): rounded(score, scale=max(1.0, abs(score))) for value, score in least.items()}


def crossings(frame: pandas.DataFrame) -> pandas.DataFrame:
    """For every d the length n* at which softmax gets ahead for good, with its error; nan where that is not clear.

    `answer` says whether it `crosses`, and `ahead_at_last` who is `ahead` at the longest contexts.
    """
    rows = []
    for d, part in frame.sort_values("n").groupby("d"):
        curve = part.n.tolist(), part.difference.tolist(), part.standard_error.tolist()
        answer, found = crosses(*curve), crossing(*curve)
        clear = found if answer and found else None
        rows.append(
            {
                "d": d,
                "crossing": clear.value if clear else math.nan,
                "standard_error": clear.standard_error if clear else math.nan,
                "ahead_at_last": ahead(Measurement(curve[1][-1], curve[2][-1])),
                "answer": "no" if answer is False else "yes" if clear else "not resolved",
            }
        )
    return pandas.DataFrame(rows)


def crossing_words(border: pandas.DataFrame) -> list[Measurement | str]:
    """The lengths of `crossings` for a table: `none` where it does not cross, `not resolved` where it may."""
    lengths = measured(border, "crossing")
    return [
        length if row.answer == "yes" else "none" if row.answer == "no" else row.answer
        for length, row in zip(lengths, border.itertuples(), strict=True)
    ]


def shifts(frame: pandas.DataFrame) -> dict[str, Measurement]:
    """|trained − fitted| by setting, from contexts of their own; rows without a fitted difference are left out."""
    found = {}
    for row in frame.itertuples():
        if math.isfinite(row.difference_fitted):
            error = math.hypot(row.standard_error, row.standard_error_fitted)
            found[f"C = {row.C}, n = {row.n}, d = {row.d}"] = Measurement(
                abs(row.difference - row.difference_fitted), error
            )
    return found


def relative_quantiles(values: ArrayLike, levels: Sequence[float], groups: int = GROUPS) -> list[Measurement]:
    """Quantiles of independent values over their median, with the error of a jackknife over `groups` blocks of them.

    A jackknife over single values would not do for a quantile. What does not fill a block is left out.
    """
    array = numpy.asarray(values, dtype=float).ravel()
    check_integer("groups", groups, 2, len(array))
    blocks = array[: len(array) // groups * groups].reshape(groups, -1)

    def statistic(part: xarray.Dataset) -> dict[str, float]:
        kept = part.value.values
        return {str(level): float(numpy.quantile(kept, level) / numpy.median(kept)) for level in levels}

    found = over_runs(statistic, xarray.Dataset({"value": (("group", "context"), blocks)}), along="group")
    return [found[str(level)] for level in levels]


def share_removed(uniform: float, above: Measurement, best: Measurement) -> Measurement:
    """The share of the loss between a uniform guess and the `best` that is removed by what is `above` the best.

    Only the errors of the two are known, and not how they go together: the error given is the largest possible.
    """
    removable = uniform - best.value
    error = above.standard_error / removable + abs(above.value) * best.standard_error / removable**2
    return Measurement(1 - above.value / removable, error)

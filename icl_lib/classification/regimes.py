"""Where softmax attention is at least as good as linear attention: the map, its rule, and what fitted steps come to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import pandas
import xarray
from numpy.typing import ArrayLike
from scipy.stats import norm

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.fitted_steps import FittedSteps
from icl_lib.classification.kernels import LINEAR, OWN_TOKEN, SOFTMAX, KernelStep
from icl_lib.classification.summaries import crosses, crossing
from icl_lib.running.checked import checked
from icl_lib.running.sweep import sweep
from icl_lib.running.validation import check_choice, check_count, check_integer, check_number
from icl_lib.statistics import RESOLVED, Measurement, finite_array, over_runs

# What can be said of a difference linear − softmax.
AHEAD = ("softmax", "linear", "not resolved")
# Blocks of contexts that a jackknife leaves out one at a time.
GROUPS = 20


@dataclass(frozen=True)
class Variant:
    """A kind of contexts with the softmax step that goes with it. See `fig-regimes`."""

    balance: str
    softmax: KernelStep

    def task(self, classes: int, n: int, d: int) -> SphereClassification:
        """The task at (C, n, d); with balanced classes n is cut to a multiple of C."""
        length = n if self.balance == "none" else max(1, n // classes) * classes
        return SphereClassification(length, d, classes, balance=self.balance)


# The authors' setting; class-balanced contexts whose query is uniform and attends to itself; and the same with points
# uniform too, so that classes fall as they may.
VARIANTS = {
    "authors": Variant("context and query", SOFTMAX),
    "balanced": Variant("context", OWN_TOKEN),
    "uniform": Variant("none", OWN_TOKEN),
}


def fitted_cells(
    variant: str, sizes: Sequence[tuple[int, int, int]], tuning: int, test: int, seed: int
) -> pandas.DataFrame:
    """Linear and softmax step fitted and compared at every (C, n, d) of `sizes`, a row each."""
    check_choice("variant", variant, VARIANTS)
    kind = VARIANTS[variant]
    tasks = [kind.task(*size) for size in sizes]
    results = sweep([FittedSteps(task, (LINEAR, kind.softmax), tuning=tuning, test=test, seed=seed) for task in tasks])
    return pandas.DataFrame(
        [
            {
                "C": task.classes, "n": task.n, "d": task.d,
                "loss_linear": float(result.loss[0]), "loss_softmax": float(result.loss[1]),
                "error_linear": float(result.loss_error[0]), "error_softmax": float(result.loss_error[1]),
                "difference": float(result.difference[1]), "standard_error": float(result.standard_error[1]),
                "variant": variant, "method": "fitted", "beta": float(result.beta[1]),
                "at_bound": bool(result.at_bound[1]),
            }
            for task, result in zip(tasks, results, strict=True)
        ]
    )  # fmt: skip


@checked()
def deviation_of_counts(task: SphereClassification) -> float:
    """Standard deviation of a class's points in contexts with Dirichlet shares, before they are rounded; 0 without.

    See `fig-dirichlet`.
    """
    if task.concentration_of_counts is None:
        return 0.0
    share = 1 / task.classes
    return task.n * math.sqrt(share * (1 - share) / (1 + task.classes * task.concentration_of_counts))


def greatest_deficits(frame: pandas.DataFrame, by: str = "d") -> dict[int, Measurement]:
    """For every value of `by` the largest loss of softmax − loss of linear over its cells, with that cell's error."""
    worst = frame.loc[frame.groupby(by).difference.idxmin()]
    pairs = zip(worst[by], worst.difference, worst.standard_error, strict=True)
    return {int(value): Measurement(-difference, error) for value, difference, error in pairs}


@checked()
def simultaneous_limit(cells: int, level: float = 0.05, sides: int = 1) -> float:
    """The z such that the least of `cells` independent standard normals is below −z with probability `level` (Šidák).

    Where two models were equal in every cell, a rule that asks each cell for a score of at least −z would blame one
    of them in a share `level` of all maps. With two `sides` it is the largest absolute value that exceeds z.
    """
    check_count("cells", cells)
    check_integer("sides", sides, 1, 2)
    check_number("level", level, above=0, maximum=0.5)
    return float(norm.isf((1 - (1 - level) ** (1 / cells)) / sides))


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


@checked()
def ahead(difference: Measurement, limit: float = RESOLVED) -> str:
    """Who is ahead by linear − softmax, one of `AHEAD`: not resolved within its `margin` at `limit` from 0."""
    check_number("limit", limit, minimum=0)
    if abs(difference.value) <= difference.margin(limit):
        return "not resolved"
    return "softmax" if difference.value > 0 else "linear"


def tally(frame: pandas.DataFrame) -> dict[str, int]:
    """In how many rows softmax is `ahead`, in how many linear, and how many are not resolved."""
    answers = [ahead(one) for one in measured(frame) if isinstance(one, Measurement)]
    return {answer: answers.count(answer) for answer in AHEAD}


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


@checked()
def relative_quantiles(values: ArrayLike, levels: Sequence[float], groups: int = GROUPS) -> list[Measurement]:
    """Quantiles of independent values over their median, with the error of a jackknife over `groups` blocks of them.

    A jackknife over single values would not do for a quantile. What does not fill a block is left out.
    """
    array = finite_array(values)
    for level in levels:
        check_number("levels", level, minimum=0, maximum=1)
    check_integer("groups", groups, 2, len(array))
    blocks = array[: len(array) // groups * groups].reshape(groups, -1)

    def statistic(part: xarray.Dataset) -> dict[str, float]:
        kept = part.value.values
        return {str(level): float(numpy.quantile(kept, level) / numpy.median(kept)) for level in levels}

    found = over_runs(statistic, xarray.Dataset({"value": (("group", "context"), blocks)}), along="group")
    return [found[str(level)] for level in levels]


@checked()
def share_removed(uniform: float, above: Measurement, best: Measurement) -> Measurement:
    """The share of the loss between a uniform guess and the `best` that is removed by what is `above` the best.

    Only the errors of the two are known, and not how they go together: the error given is the largest possible.
    """
    check_number("uniform", uniform, above=best.value)
    removable = uniform - best.value
    error = above.standard_error / removable + abs(above.value) * best.standard_error / removable**2
    return Measurement(1 - above.value / removable, error)

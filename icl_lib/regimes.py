"""The map of where softmax attention is at least as good as linear attention, and the rule that judges it."""

import math

import pandas
from scipy.stats import norm

from icl_lib.classifier_summaries import crossing
from icl_lib.descent import fit
from icl_lib.device import one_thread
from icl_lib.experiments.fitted_classifiers import LINEAR, SOFTMAX, collect, compare, contexts
from icl_lib.statistics import Measurement, z_score
from icl_lib.tasks import SphereClassification
from icl_lib.validation import check_integer, check_number


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


def least_scores(frame: pandas.DataFrame, by: str = "d", fit_error: float = 0.0) -> dict[int, Measurement]:
    """For every value of `by` the least `difference` of its cells in units of their error.

    The error is the root of the sum of squares of `standard_error`, which knows of the test contexts only, and
    `fit_error`.
    """
    check_number("fit_error", fit_error, minimum=0)
    scores = [z_score(row.difference, math.hypot(row.standard_error, fit_error)) for row in frame.itertuples()]
    least = pandas.Series(scores, index=frame[by].to_numpy()).groupby(level=0).min()
    return {int(value): Measurement(float(score)) for value, score in least.items()}


def crossings(frame: pandas.DataFrame) -> pandas.DataFrame:
    """For every d the length n* at which softmax gets ahead for good, with its error; nan where it does not cross.

    `ahead_at_last` says who is ahead at the longest contexts.
    """
    rows = []
    for d, part in frame.sort_values("n").groupby("d"):
        found = crossing(part.n.tolist(), part.difference.tolist(), part.standard_error.tolist())
        rows.append(
            {
                "d": d,
                "crossing": found.value if found else float("nan"),
                "standard_error": found.standard_error if found else float("nan"),
                "ahead_at_last": "softmax" if part.difference.iloc[-1] > 0 else "linear",
            }
        )
    return pandas.DataFrame(rows)

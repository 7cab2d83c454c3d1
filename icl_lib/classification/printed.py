"""What the authors of the second paper print in the notebook of their workshop code, and how ours is set beside it.

Source: executed notebook of the workshop version (OpenReview ngs41s5vvX), repository saradrag/MOSS, folder
submissions/submission-32, commit e58307b of July 2025. C = 5 classes, n = 100 points. Nothing of the code is copied.
"""

import math
from dataclasses import dataclass

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_number
from icl_lib.statistics import RESOLVED, Measurement

CLASSES = 5
LENGTH = 100
# Contexts of which the authors' scatter plots show the mean loss.
CONTEXTS_OF_A_SCATTER = 512
POINTS_OF_A_GRID = 100
# The rate of the linear step was sought between 1 and 10^2.5.
DECADES_OF_RATE = 2.5
# To what a dashed mean can be read off a figure of the notebook.
READING_ERROR = 0.015
# The relative error up to which a fitted number of ours is set beside theirs as sharp.
SHARP = 0.1


@dataclass(frozen=True)
class Printed:
    """The authors' fitted numbers at one d, and mean losses read off their figures.

    `rate` of the linear step; `c_qk` and `c_pv` of the softmax step, whose scores are divided by √(d + C), with the
    decades that each was sought over; `loss_linear` and `loss_softmax` are those of the steps.
    """

    rate: float
    c_qk: float
    c_pv: float
    decades_qk: float
    decades_pv: float
    loss_linear: float
    loss_softmax: float


PRINTED = {
    2: Printed(43.7939567565918, 932.6029052734375, 5.994842529296875, 3.5, 4.0, 0.43, 0.14),
    3: Printed(41.32012176513672, 35.11192321777344, 7.054803848266602, 3.0, 3.0, 0.38, 0.30),
    5: Printed(58.5702018737793, 3.0538551807403564, 57.22367477416992, 3.0, 3.0, 0.44, 0.43),
    10: Printed(93.26031494140625, 0.04534878581762314, 8111.31005859375, 4.0, 3.0, 0.61, 0.60),
}

# Preds Diff and Model Diff before training, ÷ C, read off the curves of the notebook; the circle has no Model Diff of
# softmax attention there.
STARTS = {
    ("linear", 2): (0.147, 0.060),
    ("linear", 3): (0.150, 0.075),
    ("linear", 5): (0.139, 0.119),
    ("linear", 10): (0.135, 0.155),
    ("softmax", 2): (0.174, math.nan),
    ("softmax", 3): (0.163, 0.073),
    ("softmax", 5): (0.142, 0.121),
    ("softmax", 10): (0.136, 0.155),
}


@checked()
def width_of(c_qk: float, d: int, classes: int = CLASSES) -> float:
    """β of a softmax step whose scores are c_qk⟨x, x'⟩/√(d + C). See `sec-authors-numbers`."""
    check_number("c_qk", c_qk)
    check_count("d", d)
    check_count("classes", classes)
    return c_qk / math.sqrt(d + classes)


@checked()
def spacing(decades: float) -> float:
    """The ratio of neighbours on a logarithmic grid of `POINTS_OF_A_GRID` over so many decades.

    See `sec-authors-numbers`.
    """
    check_number("decades", decades, above=0)
    return float(10 ** (decades / (POINTS_OF_A_GRID - 1)))


@checked()
def allowed_ratio(relative_error: float, *ratios: float) -> float:
    """The factor by which ours may miss a number that the authors found on a grid.

    Half a grid step for each of the `ratios` between neighbours that go into the number, and `RESOLVED` standard errors
    of the difference of two fits on as many contexts as theirs, each known to `relative_error`.
    See `sec-authors-numbers`.
    """
    check_number("relative_error", relative_error, minimum=0)
    for ratio in ratios:
        check_number("ratios", ratio, above=0)
    half_steps = sum(math.log(ratio) / 2 for ratio in ratios)
    return math.exp(half_steps + RESOLVED * math.sqrt(2) * relative_error)


@checked()
def agrees_by_ratio(ours: float, theirs: float, allowed: float) -> bool:
    """Whether two positive numbers lie within a factor `allowed` of each other. See `sec-authors-numbers`."""
    for name, value in (("ours", ours), ("theirs", theirs)):
        check_number(name, value, above=0)
    check_number("allowed", allowed, minimum=1)
    return abs(math.log(ours) - math.log(theirs)) <= math.log(allowed)


@checked()
def allowed_difference(ours: Measurement, deviation: float) -> float:
    """By how much a loss read off a scatter plot may miss `ours`: the reading error and 2 standard errors of both.

    `deviation` is the standard deviation of the loss over single contexts. See `sec-authors-numbers`.
    """
    check_number("deviation", deviation, minimum=0)
    theirs = deviation / math.sqrt(CONTEXTS_OF_A_SCATTER)
    return READING_ERROR + RESOLVED * math.hypot(ours.standard_error, theirs)

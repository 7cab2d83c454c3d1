"""The claims on closeness that several chapters test alike: what is measured, what is allowed, and the control.

The intervals of losses and cosines were fixed before the first run of the book, from trial runs with other code up to
d = 20; they stand for larger d as they are. What a difference may keep of its start was fixed later, after a first
run, but from the same trial runs: their largest value at d = 20 and 30 % more.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas
import xarray

from icl_lib.claims import Claim, Finding, answer, describe
from icl_lib.running.validation import check_choice
from icl_lib.softmax_regression.documents import QUERIES
from icl_lib.softmax_regression.summaries import left_over, loss_ratio
from icl_lib.statistics import Measurement, over_repetitions, within

LOSSES = {"held": (0.98, 1.03), "same": (0.97, 1.05)}
LEAST_COSINE = {"held": 0.99, "same": 0.97}
LARGEST_LEFT_OVER = {"held": 0.13, "same": 0.34}
ON = {"held": "on a held-out document", "same": "on the same document"}

Results = Mapping[str, xarray.Dataset]


class Test(NamedTuple):
    """What `claims.judge` and `claims.record` take: a claim, its cases and its control."""

    claim: Claim
    cases: dict[str, Measurement]
    control: Measurement


def _claim(
    query: str,
    results: Results,
    statement: str,
    test: str,
    allowed: Mapping[str, tuple[float, float]],
    negative_control: str,
    fields: Mapping[str, str],
) -> Claim:
    """The claim for one kind of query; `allowed` holds the interval of each kind."""
    check_choice("query", query, QUERIES)
    if not results:
        raise ValueError("results must hold at least one closeness result, got none")
    low, high = allowed[query]
    return Claim(
        paper=1,
        statement=f"{statement}, {ON[query]}",
        test=test,
        low=low,
        high=high,
        negative_control=negative_control,
        **fields,
    )


def losses(query: str, results: Results, statement: str, **fields: str) -> Test:
    """L_SA / L_GD after training; control: the least ratio before training.

    `fields` are the claim's `id`, `source`, `evidence` and `limitation`.
    """
    claim = _claim(
        query,
        results,
        statement,
        "ratio of the losses after training",
        LOSSES,
        "least ratio of an untrained layer",
        fields,
    )
    untrained = [over_repetitions(loss_ratio(result, step=0)) for result in results.values()]
    cases = {name: over_repetitions(loss_ratio(result)) for name, result in results.items()}
    return Test(claim, cases, min(untrained, key=lambda m: m.value))


def differences(query: str, results: Results, statement: str, **fields: str) -> Test:
    """The larger of Preds Diff and Model Diff, each over its start; control: a step with three times the rate."""
    claim = _claim(
        query,
        results,
        statement,
        "the larger of Preds Diff and Model Diff at the end, each over its start",
        {kind: (-math.inf, largest) for kind, largest in LARGEST_LEFT_OVER.items()},
        "least such ratio for a step with three times the rate",
        fields,
    )
    kept = {
        name: max(
            (over_repetitions(left_over(result, measure)) for measure in ("preds_diff", "model_diff")),
            key=lambda m: m.value,
        )
        for name, result in results.items()
    }
    threefold = [
        over_repetitions(left_over(result, "preds_diff", "control_threefold_diff")) for result in results.values()
    ]
    return Test(claim, kept, min(threefold, key=lambda m: m.value))


def cosine(query: str, results: Results, statement: str, **fields: str) -> Test:
    """Model Cos after training; control: the largest cosine with the step of another task."""
    claim = _claim(
        query,
        results,
        statement,
        "Model Cos after training",
        {kind: (least, math.inf) for kind, least in LEAST_COSINE.items()},
        "largest Model Cos with the step of another task",
        fields,
    )
    ends = {name: result.isel(step=-1) for name, result in results.items()}
    cases = {name: over_repetitions(end.model_cos) for name, end in ends.items()}
    shuffled = [over_repetitions(end.control_shuffled_cos) for end in ends.values()]
    return Test(claim, cases, max(shuffled, key=lambda m: m.value))


def both_close(query: str, end: Mapping[str, Measurement]) -> bool | None:
    """Whether the ratio of the losses and Model Cos of a `summary` are both as claimed; None where not resolved."""
    check_choice("query", query, QUERIES)
    answers = {within(end["L_SA / L_GD"], *LOSSES[query]), within(end["Model Cos"], LEAST_COSINE[query], math.inf)}
    if False in answers:
        return False
    return None if None in answers else True


def verdicts(findings: Sequence[Finding]) -> pandas.DataFrame:
    """One row for each case of each finding: what was allowed, whether it is so, the control, the finding's verdict."""
    rows = [
        {
            "claim": finding.claim.statement,
            "case": case,
            "measured": measured,
            "allowed": finding.claim.tolerance,
            "as claimed": answer(finding.claim.allows(measured)),
            "control": finding.control,
            "verdict": describe(finding.verdict),
        }
        for finding in findings
        for case, measured in finding.cases.items()
    ]
    return pandas.DataFrame(rows)

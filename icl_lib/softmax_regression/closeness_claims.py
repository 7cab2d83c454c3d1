"""The claims on closeness that several chapters test alike: what is measured, what is allowed, and the control.

A control is a rival of the step in the layer's place, at the point at which it comes nearest to passing: two tuned
steps, a ridge step, the truth (`rivals.Rivals`). Where one of them passes, the test does not tell the step from it.

The intervals of losses and cosines were fixed before the first run of the book, from trial runs with other code up to
d = 20; they stand for larger d as they are. What a difference may keep of its start was fixed later, after a first
run, but from the same trial runs: their largest value at d = 20 and 30 % more.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas
import xarray

from icl_lib.claims import Claim, Finding, answer, describe
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_keys
from icl_lib.softmax_regression.documents import QUERIES
from icl_lib.softmax_regression.summaries import left_over, loss_ratio
from icl_lib.statistics import Measurement, over_repetitions, within

LOSSES = {"held": (0.98, 1.03), "same": (0.97, 1.05)}
LEAST_COSINE = {"held": 0.99, "same": 0.97}
LARGEST_LEFT_OVER = {"held": 0.13, "same": 0.34}
RIVALS = {
    "step": "one step",
    "two-steps": "two tuned steps",
    "ridge": "a ridge step",
    "preconditioned": "a preconditioned step",
    "regression": "a step by regression",
    "truth": "the truth",
}
ON = {"held": "on a held-out document", "same": "on the same document"}

Results = Mapping[str, xarray.Dataset]


class Test(NamedTuple):
    """What `claims.judge` and `claims.record` take: a claim, its cases and its control."""

    claim: Claim
    cases: dict[str, Measurement]
    control: Measurement


def _test(
    query: str,
    cases: dict[str, Measurement],
    passing: Mapping[str, Measurement],
    statement: str,
    test: str,
    allowed: Mapping[str, tuple[float, float]],
    fields: Mapping[str, str],
) -> Test:
    """The test for one kind of query; `allowed` holds the interval of each kind, `passing` what rivals measure."""
    low, high = allowed[query]
    claim = Claim(
        paper=1, statement=f"{statement}, {ON[query]}", test=test, low=low, high=high, negative_control="-", **fields
    )
    name, control = max(passing.items(), key=lambda rival: claim.margin(rival[1]))
    return Test(replace(claim, negative_control=f"the rival nearest to passing, {name}"), cases, control)


def _of_rivals(
    rivals: Results, measure: Callable[[str, xarray.Dataset], Sequence[xarray.DataArray]]
) -> dict[str, Measurement]:
    """The largest of what `measure(case, rival)` gives, for every rival of the step in every case."""
    found = {}
    for case, result in rivals.items():
        beside = result.assign(loss_step=result.loss.sel(rival="step", drop=True))
        for name in (str(name) for name in result.rival.values if name != "step"):
            values = measure(case, beside.sel(rival=name))
            found[f"{RIVALS[name]} at {case}"] = max((over_repetitions(v) for v in values), key=lambda m: m.value)
    return found


def _check(query: str, results: Results, rivals: Results) -> None:
    check_choice("query", query, QUERIES)
    for name, given in (("results", results), ("rivals", rivals)):
        if not given:
            raise ValueError(f"{name} must hold at least one result, got none")


def losses(query: str, results: Results, rivals: Results, statement: str, **fields: str) -> Test:
    """L_SA / L_GD after training. `rivals` holds results of `Rivals`, on the tasks of `results`.

    `fields` are the claim's `id`, `source`, `evidence` and `limitation`.
    """
    _check(query, results, rivals)
    return _test(
        query,
        {name: over_repetitions(loss_ratio(result)) for name, result in results.items()},
        _of_rivals(rivals, lambda _, rival: [rival.loss / rival.loss_step]),
        statement,
        "ratio of the losses after training",
        LOSSES,
        fields,
    )


def differences(query: str, results: Results, rivals: Results, statement: str, **fields: str) -> Test:
    """The larger of Preds Diff and Model Diff, each over its start; as in `losses`.

    `rivals` have names of `results`.
    """
    _check(query, results, rivals)
    names = ("preds_diff", "model_diff")
    for case in rivals:
        check_choice("rivals", case, list(results))

    def kept(case: str, rival: xarray.Dataset) -> list[xarray.DataArray]:
        return [rival[f"{name}_step"] / results[case][name].isel(step=0) for name in names]

    return _test(
        query,
        {
            case: max((over_repetitions(left_over(result, name)) for name in names), key=lambda m: m.value)
            for case, result in results.items()
        },
        _of_rivals(rivals, kept),
        statement,
        "the larger of Preds Diff and Model Diff at the end, each over its start",
        {kind: (-math.inf, largest) for kind, largest in LARGEST_LEFT_OVER.items()},
        fields,
    )


def cosine(query: str, results: Results, rivals: Results, statement: str, **fields: str) -> Test:
    """Model Cos after training; as in `losses`."""
    _check(query, results, rivals)
    return _test(
        query,
        {name: over_repetitions(result.model_cos.isel(step=-1)) for name, result in results.items()},
        _of_rivals(rivals, lambda _, rival: [rival.model_cos_step]),
        statement,
        "Model Cos after training",
        {kind: (least, math.inf) for kind, least in LEAST_COSINE.items()},
        fields,
    )


def preconditioned(query: str, rivals: Results, statement: str, **fields: str) -> Test:
    """Model Cos with the step along Σ⁻¹h, from results of `Rivals`, those in which that is not the step.

    The control is the cosine of the layer with what it is not: the step and its other rivals.
    """
    stretched = {case: found for case, found in rivals.items() if "preconditioned" in found.rival}
    _check(query, stretched, stretched)
    cosines = {
        (case, str(name)): over_repetitions(found.model_cos.sel(rival=name))
        for case, found in stretched.items()
        for name in found.rival.values
    }
    return _test(
        query,
        {case: m for (case, name), m in cosines.items() if name == "preconditioned"},
        {f"{RIVALS[name]} at {case}": m for (case, name), m in cosines.items() if name != "preconditioned"},
        statement,
        "Model Cos with one preconditioned step after training",
        {kind: (least, math.inf) for kind, least in LEAST_COSINE.items()},
        fields,
    )


@checked()
def both_close(query: str, end: Mapping[str, Measurement]) -> bool | None:
    """Whether the ratio of the losses and Model Cos of a `summary` are both as claimed; None where not resolved."""
    check_choice("query", query, QUERIES)
    check_keys("end", end, "L_SA / L_GD", "Model Cos")
    answers = {within(end["L_SA / L_GD"], *LOSSES[query]), within(end["Model Cos"], LEAST_COSINE[query], math.inf)}
    if False in answers:
        return False
    return None if None in answers else True


@checked()
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

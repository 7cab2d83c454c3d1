"""A claim, what was measured of it, and the verdict that follows by one rule."""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.typing import ArrayLike

from icl_lib.places import output_folder
from icl_lib.validation import check_choice, check_integer, check_number

VERDICTS = ("holds", "conditional", "fails", "undecidable")


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is tested. Every case measured must lie in [low, high] for the claim to hold.

    Where a measure has a natural end that is as good as can be (0 of a ratio, 1 of a cosine), that side is left open
    (infinite): an edge is what a case can miss, and the worst case is the one nearest to an edge.
    `statement` and `source` say who claims what; `test` says what is measured; `evidence` is the name of the
    figure that shows it; `limitation` is what the test does not reach; `negative_control` names a case that must
    fall outside [low, high], or the test decides nothing.
    """

    id: str
    paper: int
    statement: str
    source: str
    test: str
    low: float
    high: float
    evidence: str
    limitation: str
    negative_control: str

    def __post_init__(self) -> None:
        check_integer("paper", self.paper, 1, 2)
        for name in ("low", "high"):
            if math.isnan(getattr(self, name)):
                raise ValueError(f"{name} must be a number, got nan")
        if not self.low <= self.high:
            raise ValueError(f"low must be at most high = {self.high}, got {self.low}")
        for field in dataclasses.fields(self):
            if field.type is str and not getattr(self, field.name).strip():
                raise ValueError(f"{field.name} must be a text that is not empty, got {getattr(self, field.name)!r}")

    @property
    def tolerance(self) -> str:
        """The allowed interval in words."""
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high == math.inf else f"between {self.low:g} and {self.high:g}"

    def allows(self, value: float) -> bool:
        """Whether one measured value is as claimed."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Measurement:
    """One case's value and its standard error (0 for what is computed and not sampled)."""

    value: float
    standard_error: float = 0.0

    def __post_init__(self) -> None:
        check_number("value", self.value)
        check_number("standard_error", self.standard_error, minimum=0)


def over_repetitions(values: ArrayLike) -> Measurement:
    """Mean over repetitions and its standard error (0 for a single one). `values` (repetition,)."""
    array = numpy.asarray(values, dtype=float).ravel()
    error = float(array.std(ddof=1)) / math.sqrt(array.size) if array.size > 1 else 0.0
    return Measurement(float(array.mean()), error)


@dataclass(frozen=True)
class Finding:
    """A claim with its cases, its control and the verdict."""

    claim: Claim
    cases: Mapping[str, Measurement]
    control: Measurement
    verdict: str

    @property
    def worst(self) -> tuple[str, Measurement]:
        """The case that is deepest outside the allowed interval, or nearest its edge."""

        def margin(case: tuple[str, Measurement]) -> float:
            return min(case[1].value - self.claim.low, self.claim.high - case[1].value)

        return min(self.cases.items(), key=margin)

    def record(self) -> dict[str, object]:
        """The claim's line in the scorecard; `value` is that of the worst case."""
        case, measured = self.worst
        fields = {k: v for k, v in dataclasses.asdict(self.claim).items() if k not in ("low", "high")}
        held = [name for name, m in self.cases.items() if self.claim.allows(m.value)]
        condition = f"; it holds for {', '.join(held)}" if self.verdict == "conditional" else ""
        return {
            **fields,
            "test": f"{self.claim.test}; worst of {len(self.cases)} cases: {case}{condition}",
            "tolerance": self.claim.tolerance,
            "value": measured.value,
            "standard_error": measured.standard_error,
            "negative_control": f"{self.claim.negative_control}: {self.control.value:.3g}",
            "verdict": self.verdict,
        }

    def _repr_markdown_(self) -> str:
        rows = [f"| {name} | {_show(m)} | {_yes(self.claim.allows(m.value))} |" for name, m in self.cases.items()]
        control = f"| *control: {self.claim.negative_control}* | {_show(self.control)} |"
        return "\n".join(
            [
                f"**{self.claim.statement}** ({self.claim.source}): **{describe(self.verdict)}**.",
                f"Test: {self.claim.test}, {self.claim.tolerance}.\n",
                "| case | measured | as claimed |",
                "|:--|--:|:--|",
                *rows,
                f"{control} {_yes(self.claim.allows(self.control.value))} |",
            ]
        )


def describe(verdict: str) -> str:
    """The verdict as a reader says it."""
    check_choice("verdict", verdict, VERDICTS)
    words = ("holds", "holds with a condition", "does not hold", "cannot be decided")
    return dict(zip(VERDICTS, words, strict=True))[verdict]


def judge(claim: Claim, cases: Mapping[str, Measurement], control: Measurement) -> Finding:
    """The verdict: undecidable if the control passes too, else holds, conditional or fails for all, some, no cases.

    Raises `ValueError` where there is no case.
    """
    if not cases:
        raise ValueError("cases must hold at least one measurement, got none")
    passed = [claim.allows(measured.value) for measured in cases.values()]
    if claim.allows(control.value):
        verdict = "undecidable"
    elif all(passed):
        verdict = "holds"
    else:
        verdict = "conditional" if any(passed) else "fails"
    return Finding(claim, dict(cases), control, verdict)


def record(claim: Claim, cases: Mapping[str, Measurement], control: Measurement) -> Finding:
    """Judge, write the line `claims/<id>.json` under the output folder, and return the finding for display."""
    finding = judge(claim, cases, control)
    folder = output_folder() / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
    with os.fdopen(handle, "w") as out:
        json.dump(finding.record(), out, indent=1, sort_keys=True)
    Path(partial).replace(folder / f"{claim.id}.json")
    return finding


def _show(measured: Measurement) -> str:
    error = f" ± {measured.standard_error:.1g}" if measured.standard_error else ""
    return f"{measured.value:.4g}{error}"


def _yes(passed: bool) -> str:
    return "yes" if passed else "no"

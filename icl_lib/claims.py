"""A claim, what was measured of it, and the verdict that follows by one rule."""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icl_lib.running.checked import checked
from icl_lib.running.places import output_file
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_limit
from icl_lib.statistics import Measurement, within

# Verdicts, as programs read them and as readers do.
VERDICTS = {
    "holds": "holds",
    "conditional": "holds with a condition",
    "fails": "does not hold",
    "not resolved": "is not resolved",
    "undecidable": "is not telling",
}


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
            check_limit(name, getattr(self, name))
        if not self.low <= self.high:
            raise ValueError(f"low must be at most high = {self.high}, got {self.low}")
        for field in dataclasses.fields(self):
            check_instance(field.name, getattr(self, field.name), str if field.type is str else (int, float))
            if field.type is str and not getattr(self, field.name).strip():
                raise ValueError(f"{field.name} must be a text that is not empty, got {getattr(self, field.name)!r}")

    @property
    def tolerance(self) -> str:
        """The allowed interval in words."""
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"exactly {self.low:g}" if self.low == self.high else f"between {self.low:g} and {self.high:g}"

    def margin(self, measured: Measurement) -> float:
        """How far inside the allowed interval a value lies; negative outside."""
        return min(measured.value - self.low, self.high - measured.value)

    def allows(self, measured: Measurement) -> bool | None:
        """Whether a case is as claimed; None where a limit is within its `margin`, two standard errors or more."""
        return within(measured, self.low, self.high)


@dataclass(frozen=True, repr=False)
class Finding:
    """A claim with its cases, its control and the verdict."""

    claim: Claim
    cases: Mapping[str, Measurement]
    control: Measurement
    verdict: str

    @property
    def worst(self) -> tuple[str, Measurement]:
        """The case that is deepest outside the allowed interval, or nearest its edge."""

        return min(self.cases.items(), key=lambda case: self.claim.margin(case[1]))

    def cases_that(self, answer: bool | None) -> list[str]:
        """The cases that are as claimed (True), are not (False), or are not resolved (None)."""
        return [name for name, measured in self.cases.items() if self.claim.allows(measured) is answer]

    @property
    def condition(self) -> str:
        """Which cases are as claimed and which are not resolved, in words; empty unless the verdict needs it."""
        if self.verdict not in ("conditional", "not resolved"):
            return ""
        told = (("it holds for", True), ("it does not hold for", False), ("not resolved:", None))
        lists = [(words, self.cases_that(answer)) for words, answer in told]
        return "; ".join(f"{words} {', '.join(names)}" for words, names in lists if names)

    def record(self) -> dict[str, object]:
        """The claim's line in the scorecard; `value` is that of the worst case."""
        case, measured = self.worst
        fields = {k: v for k, v in dataclasses.asdict(self.claim).items() if k not in ("low", "high")}
        condition = f"; {self.condition}" if self.condition else ""
        return {
            **fields,
            "test": f"{self.claim.test}; worst of {len(self.cases)} cases: {case}{condition}",
            "tolerance": self.claim.tolerance,
            "measured": str(measured),
            "value": measured.value,
            "standard_error": measured.standard_error,
            "negative_control": f"{self.claim.negative_control}: {self.control}",
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        return f"finding {self.claim.id}: {self.verdict}"

    def _repr_markdown_(self) -> str:
        rows = [f"| {name} | {m} | {answer(self.claim.allows(m))} |" for name, m in self.cases.items()]
        control = f"| *control: {self.claim.negative_control}* | {self.control} |"
        return "\n".join(
            [
                f"**{self.claim.statement}** ({self.claim.source}): **{describe(self.verdict)}**.",
                f"Test: {self.claim.test}, {self.claim.tolerance}.\n",
                "| case | measured | as claimed |",
                "|:--|--:|:--|",
                *rows,
                f"{control} {answer(self.claim.allows(self.control))} |",
            ]
        )


@checked()
def describe(verdict: str) -> str:
    """The verdict as a reader says it."""
    check_choice("verdict", verdict, VERDICTS)
    return VERDICTS[verdict]


@checked(result="any")
def judge(claim: Claim, cases: Mapping[str, Measurement], control: Measurement) -> Finding:
    """The verdict.

    - `undecidable`, not telling, if the control is not clearly outside what is allowed: what the claim denies passes
      the test too;
    - `holds` or `fails` if all cases are clearly inside, or all clearly outside;
    - `conditional` if some are clearly inside and some clearly outside;
    - `not resolved` else: what is clear points one way, and other cases are not resolved from a limit.

    Raises `ValueError` where there is no case.
    """
    if not cases:
        raise ValueError("cases must hold at least one measurement, got none")
    answers = {claim.allows(measured) for measured in cases.values()}
    if claim.allows(control) is not False:
        verdict = "undecidable"
    elif {True, False} <= answers:
        verdict = "conditional"
    elif None in answers:
        verdict = "not resolved"
    else:
        verdict = "holds" if answers == {True} else "fails"
    return Finding(claim, dict(cases), control, verdict)


def record(claim: Claim, cases: Mapping[str, Measurement], control: Measurement) -> Finding:
    """Judge, write the line `claims/<id>.json` under the output folder, and return the finding for display."""
    finding = judge(claim, cases, control)
    path = output_file("claims", claim.id, ".json")
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(finding.record(), out, indent=1, sort_keys=True)
    Path(partial).replace(path)
    return finding


@checked()
def answer(passed: bool | None) -> str:
    """An answer as a table prints it."""
    return {True: "yes", False: "no", None: "not resolved"}[passed]

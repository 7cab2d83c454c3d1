import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.claims import Claim, describe, judge, record
from icl_lib.statistics import Measurement

CLAIM = Claim(
    id="loss-match",
    paper=1,
    statement="Losses match",
    source="Section 6",
    test="L_SA / L_GD",
    low=0.9,
    high=1.1,
    evidence="fig-closeness",
    limitation="one layer",
    negative_control="untrained",
)
INSIDE, OUTSIDE = Measurement(1.0, 0.01), Measurement(1.5)
ON_THE_EDGE = Measurement(1.11, 0.01)


@pytest.mark.parametrize(
    ("cases", "control", "verdict"),
    [
        ([INSIDE], OUTSIDE, "holds"),
        ([INSIDE, INSIDE], OUTSIDE, "holds"),
        ([INSIDE, OUTSIDE], OUTSIDE, "conditional"),
        ([OUTSIDE], OUTSIDE, "fails"),
        ([INSIDE], INSIDE, "undecidable"),
        ([OUTSIDE], INSIDE, "undecidable"),
        ([INSIDE], ON_THE_EDGE, "undecidable"),
        ([INSIDE, ON_THE_EDGE], OUTSIDE, "not resolved"),
        ([OUTSIDE, ON_THE_EDGE], OUTSIDE, "not resolved"),
        ([ON_THE_EDGE], OUTSIDE, "not resolved"),
        ([INSIDE, ON_THE_EDGE, OUTSIDE], OUTSIDE, "conditional"),
    ],
)
def test_the_verdict_follows_from_cases_and_control(
    cases: list[Measurement], control: Measurement, verdict: str
) -> None:
    assert judge(CLAIM, {str(k): case for k, case in enumerate(cases)}, control).verdict == verdict


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(-3, 3))
def test_the_rule_is_all_some_or_none(values: list[float], control: float) -> None:
    finding = judge(CLAIM, {str(k): Measurement(v) for k, v in enumerate(values)}, Measurement(control))
    passed = sum(0.9 <= v <= 1.1 for v in values)
    expected = "holds" if passed == len(values) else "conditional" if passed else "fails"
    assert finding.verdict == ("undecidable" if 0.9 <= control <= 1.1 else expected)
    name, worst = finding.worst
    assert worst.value == values[int(name)]
    assert CLAIM.allows(worst) == (passed == len(values))


@pytest.mark.parametrize(
    ("low", "high", "words", "inside", "outside"),
    [
        (0.9, 1.1, "between 0.9 and 1.1", 1.1, 1.2),
        (-math.inf, 2.0, "at most 2", -1e9, 2.1),
        (0.98, math.inf, "at least 0.98", 1e9, 0.97),
        (1.0, 1.0, "exactly 1", 1.0, 1.001),
    ],
)
def test_the_interval_is_closed_and_told_in_words(
    low: float, high: float, words: str, inside: float, outside: float
) -> None:
    claim = replace(CLAIM, low=low, high=high)
    assert claim.tolerance == words
    assert claim.allows(Measurement(inside)) is True
    assert claim.allows(Measurement(low if math.isfinite(low) else high)) is True
    assert claim.allows(Measurement(outside)) is False
    assert claim.allows(Measurement(inside, 1e12)) is None


def test_a_record_is_the_line_of_the_scorecard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_OUTPUT", str(tmp_path))
    finding = record(CLAIM, {"held": INSIDE, "same": Measurement(1.2, 0.03)}, OUTSIDE)
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["loss-match.json"]
    line = json.loads((tmp_path / "claims" / "loss-match.json").read_text())
    assert line == finding.record()
    for name in ("id", "paper", "statement", "source", "evidence", "limitation"):
        assert line[name] == getattr(CLAIM, name)
    assert (line["value"], line["standard_error"], line["verdict"]) == (1.2, 0.03, "conditional")
    assert line["tolerance"] == "between 0.9 and 1.1"
    assert line["negative_control"] == "untrained: 1.5"
    for part in ("L_SA / L_GD", "same", "it holds for held; it does not hold for same"):
        assert part in line["test"]
    assert line["measured"] == "1.200 ± 0.030"
    record(CLAIM, {"held": INSIDE}, OUTSIDE)
    assert json.loads((tmp_path / "claims" / "loss-match.json").read_text())["verdict"] == "holds"


def test_the_page_shows_every_case_the_control_and_the_verdict() -> None:
    finding = judge(CLAIM, {"held": INSIDE, "same": OUTSIDE, "edge": ON_THE_EDGE}, Measurement(3.0))
    text = finding._repr_markdown_()
    assert repr(finding) == "finding loss-match: conditional"
    assert "| edge | 1.110 ± 0.010 | not resolved |" in text
    assert "**Losses match** (Section 6): **holds with a condition**." in text
    assert "| held | 1.000 ± 0.010 | yes |" in text
    assert "| same | 1.5 | no |" in text
    assert "| *control: untrained* | 3 | no |" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paper": 3}, r"paper must be an integer in \[1, 2\], got 3"),
        ({"low": 2.0}, r"low must be at most high = 1\.1, got 2\.0"),
        ({"high": math.nan}, "high must be a number, got nan"),
        ({"statement": " "}, "statement must be a text that is not empty"),
        ({"negative_control": ""}, "negative_control must be a text that is not empty"),
    ],
)
def test_bad_claims_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CLAIM, **changes)


def test_a_claim_without_cases_and_an_unknown_verdict_are_errors() -> None:
    with pytest.raises(ValueError, match="cases must hold at least one measurement, got none"):
        judge(CLAIM, {}, OUTSIDE)
    with pytest.raises(ValueError, match="verdict must be one of"):
        describe("true")

"""The directive {verdicts}: one verdict a cell, and what it says of a line or an id that is wrong."""

import re
from pathlib import Path

import pytest
from small_site import built

CLAIM = {"id": "one", "evidence": "fig", "page": "index", "verdict": "not resolved", "measured": "0.10 ± 0.02"}


def with_verdicts(folder: Path, lines: str) -> tuple[str, str]:
    """The page of a book with one table of verdicts, and its warnings."""
    indented = "".join(f"   {line}\n" for line in lines.splitlines())
    extensions = ["tools.sphinx_ext.scorecard", "tools.sphinx_ext.verdicts"]
    return built(folder, f".. verdicts::\n\n{indented}", [CLAIM], extensions)


def test_a_cell_has_verdict_measure_and_link_and_one_not_tried_a_dash(tmp_path: Path) -> None:
    page, told = with_verdicts(tmp_path, "claim | here | there\n*Long* | one |\n")
    row = re.findall(r"<tr[^>]*>.*?</tr>", page, re.DOTALL)[1]
    assert re.sub(r"<[^>]+>", "", row).split() == ["Long", "not", "resolved", "0.10", "±", "0.02", "Page", "–"]
    assert "verdict-not-resolved" in row
    assert "<em>Long</em>" in row
    assert not told


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("claim | here\nLong | two\n", "no claim 'two' has been recorded"),
        ("claim | here\nLong | one | one\n", "verdicts must have 2 cells in every line, got another number in: Long"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, lines: str, message: str) -> None:
    assert message in with_verdicts(tmp_path, lines)[1]

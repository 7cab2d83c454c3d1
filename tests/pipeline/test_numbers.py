"""Every number that a reference holds says how well it is known."""

import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from fixture_book import REPOSITORY

from tools.notebooks import code_cells
from tools.references import printed, texts
from tools.tolerance import Rule, numbers

REFERENCES = REPOSITORY / "book" / "reference"
PAGES = sorted(REFERENCES.rglob("*.ipynb"))
CHAPTERS = sorted(path for path in (REPOSITORY / "book").rglob("*.md") if REFERENCES not in path.parents)
# Closed forms, parameters and limits are printed to seven digits at most; a longer number is a bare float.
MOST_DIGITS = 7
# Who else may give numbers to the prose: `figures.tell` refuses bare floats.
GLUE = re.compile(r"\bglue\s*\(|import glue")


def bare_floats(text: str) -> list[str]:
    """The numbers of a text that show more digits than anything without an error may."""
    shown = (number for number in numbers(text) if number.kind == "exact" and not number.is_integer)
    return [number.text for number in shown if number.significant > MOST_DIGITS]


def outputs(path: Path) -> Iterator[tuple[int, str]]:
    for place, cell in enumerate(code_cells(nbformat.read(path, as_version=4)), start=1):
        for _, text in printed(texts(cell)):
            yield place, text


def test_there_are_references_to_look_at() -> None:
    assert len(PAGES) > 80


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(REFERENCES).with_suffix("").as_posix())
def test_no_number_is_printed_as_a_bare_float(path: Path) -> None:
    assert [f"cell {place}: {found}" for place, text in outputs(path) if (found := bare_floats(text))] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_reach_the_prose_in_one_way(path: Path) -> None:
    cells = code_cells(jupytext.reads(path.read_text(), fmt="md:myst"))
    assert not [cell.source for cell in cells if GLUE.search(cell.source)]


def test_a_bare_float_is_seen() -> None:
    """The control."""
    assert bare_floats("0.016092824321254806") == ["0.016092824321254806"]
    assert bare_floats("| a | 0.0243612 ± 0.0000012 | ≈ 3.2141200 | 0.9728 | 1234567 | 3.1415927 |") == ["3.1415927"]


def test_wider_tolerances_are_few_and_say_why() -> None:
    """A cell with a tolerance of its own holds a comment; a page whose training amplifies rounding says so."""
    for path in CHAPTERS:
        text = path.read_text()
        for cell in code_cells(jupytext.reads(text, fmt="md:myst")):
            rule = Rule.of(cell.metadata.get("tags", []))
            assert rule.rtol == Rule().rtol or "#" in cell.source, f"{path}: {cell.source}"
            assert not rule.amplifies or "another processor" in " ".join(text.split()), (
                f"{path} does not say what its cells amplify"
            )

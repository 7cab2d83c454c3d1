"""Chapters stand in the form in which JupyterLab saves them, so that saving one changes what was edited and no more."""

import difflib
from pathlib import Path

import jupytext
import pytest
from fixture_book import REPOSITORY
from jupytext.config import load_jupytext_config

from tools import form
from tools.layout import Layout
from tools.notebooks import read_text_notebook

CHAPTERS = form.chapters(Layout(REPOSITORY))
CHAPTER = REPOSITORY / "book/closeness/closeness.md"


def told(path: Path) -> list[object]:
    """All that a chapter says: its cells with their kind, source and metadata."""
    return [(cell.cell_type, cell.source, cell.metadata) for cell in read_text_notebook(path).cells]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_saving_a_chapter_changes_no_line(path: Path) -> None:
    assert form.saved(path) == path.read_text(), "run `python -m tools.form`"


def test_there_are_chapters() -> None:
    assert CHAPTER in CHAPTERS
    assert len(CHAPTERS) > 30


def test_an_edited_cell_changes_its_own_line_only(tmp_path: Path) -> None:
    """By way of the notebook that JupyterLab shows."""
    before = CHAPTER.read_text()
    settings = load_jupytext_config(str(CHAPTER))
    shown = jupytext.reads(jupytext.writes(jupytext.reads(before, "md:myst", config=settings), "ipynb"), "ipynb")
    cell = next(cell for cell in shown.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = cell.source.replace("seed = 0", "seed = 1")
    after = jupytext.writes(shown, "md:myst", config=settings)
    changes = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert [change[:10] for change in changes] == ["- seed = 0", "+ seed = 1"]


def test_another_form_says_the_same_and_is_brought_into_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "book/curve.md"
    path.parent.mkdir()
    path.write_text(
        "---\njupytext: {text_representation: {extension: .md, format_name: myst}}\n"
        "kernelspec: {display_name: Python 3, language: python, name: python3}\n---\n\n# A curve\n\n"
        "```{code-cell} ipython3\n---\ntags: [hide-input]\nmystnb: {image: {alt: 'It: rises.'}}\n---\nprint(1)\n```\n"
    )
    (tmp_path / "jupytext.toml").write_bytes((REPOSITORY / "jupytext.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    before = told(path)
    assert form.main() == 0
    assert capsys.readouterr().out == "book/curve.md\n"
    assert told(path) == before
    assert form.saved(path) == path.read_text()
    assert "jupytext_version" not in path.read_text()
    assert form.main() == 0
    assert capsys.readouterr().out == ""

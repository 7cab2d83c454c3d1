"""Chapters run as a reader runs them in JupyterLab: a clean kernel, from top to bottom, without the pipeline."""

import math
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
import yaml
from fixture_book import REPOSITORY
from nbformat import NotebookNode

from tools.notebooks import PARAMETERS, code_cells, tags

BOOK = REPOSITORY / "book"
GLUED = "application/papermill.record/text/plain"


def run_by_hand(page: str, folder: Path) -> NotebookNode:
    """The chapter with the parameters of the tests, executed by a kernel that starts in `folder`."""
    notebook = jupytext.read(BOOK / f"{page}.md")
    values = yaml.safe_load((BOOK / "profiles.yml").read_text())["profiles"]["smoke"]["parameters"].get(page, {})
    for cell in code_cells(notebook):
        if PARAMETERS in tags(cell):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    where = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()


def glued(notebook: NotebookNode) -> list[str]:
    """The values that the cells glue, in their order."""
    outputs = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    return [data[GLUED] for data in outputs if GLUED in data]


def complaints(notebook: NotebookNode) -> list[str]:
    """What the cells wrote to stderr."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


def are_equal(one: str, other: str) -> bool:
    """Numbers to 1e-6, as in a build, and texts exactly."""
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=1e-6)
    except ValueError:
        return False


def assert_equal_numbers(found: list[str], expected: list[str]) -> None:
    assert len(found) == len(expected)
    pairs = zip(found, expected, strict=True)
    assert not [f"by hand {one}, in the pipeline {other}" for one, other in pairs if not are_equal(one, other)]


# The folder decides where the library, results and figure data are looked for, the same way on every page.
@pytest.mark.parametrize(
    ("page", "start"),
    [
        ("foundations/softmax-regression", "own folder"),
        ("kernel/contexts", "own folder"),
        ("explore/attention-scale", "own folder"),
        ("explore/attention-scale", "root"),
    ],
)
def test_a_chapter_opened_by_hand_gives_the_numbers_of_the_pipeline(
    page: str, start: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ICL_OUTPUT", "ICL_PROGRESS", "ICL_DEVICE", "JOBS", "SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    # The editable install of `make lab`, and a store without the results of other runs.
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("ICL_STORE", str(tmp_path))
    notebook = run_by_hand(page, REPOSITORY if start == "root" else (BOOK / page).parent)
    reference = nbformat.read(BOOK / "reference" / "smoke" / f"{page}.ipynb", as_version=4)
    assert complaints(notebook) == []
    assert glued(reference), "a page that glues nothing shows nothing"
    assert_equal_numbers(glued(notebook), glued(reference))

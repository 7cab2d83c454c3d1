"""What makes a reference unfit to be compared with, all of which nbval alone would let pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools import references
from tools.errors import BookError
from tools.layout import Layout
from tools.notebooks import code_cells, to_bytes

PAGE = "part/curve"


def executed() -> NotebookNode:
    """An executed notebook with a text, a picture, and a cell that shows nothing."""
    picture = {"image/png": "AAAA", "text/html": "<b>", "text/plain": "<Figure size 640x480 with 1 Axes>"}
    cells = [
        new_code_cell("n = 5", execution_count=1),
        new_code_cell("print(n)", execution_count=2, outputs=[new_output("stream", name="stdout", text="5\n")]),
        new_code_cell("plot(n)", execution_count=3, outputs=[new_output("display_data", data=picture)]),
    ]
    cells[1].metadata["tags"] = ["rtol-1e-4", "hide-input"]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A checkout with the reference of one page."""
    layout = Layout(tmp_path)
    write(layout, references.make(executed(), code_cells(executed())))
    return layout


def write(layout: Layout, notebook: NotebookNode) -> None:
    path = references.path_of(layout, PAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(notebook))


def check(layout: Layout, notebook: NotebookNode | None = None) -> None:
    """All that is checked before nbval."""
    notebook = notebook or executed()
    references.refuse_extra(layout, [PAGE])
    references.refuse_missing(layout, [PAGE])
    reference = references.read(layout, PAGE)
    references.check_structure(layout, PAGE, reference, code_cells(notebook), notebook)


def test_a_reference_fits_the_notebook_that_it_was_made_from(layout: Layout) -> None:
    check(layout)


def test_a_reference_holds_text_only_and_is_the_same_bytes_again(layout: Layout) -> None:
    text = references.path_of(layout, PAGE).read_text()
    assert "image/png" not in text
    assert "text/html" not in text
    assert "hide-input" not in text
    assert text.encode() == to_bytes(references.make(executed(), code_cells(executed())))


def test_a_changed_number_is_a_difference_of_one_line(layout: Layout) -> None:
    other = executed()
    other.cells[1].outputs[0].text = "6\n"
    before = references.path_of(layout, PAGE).read_text().splitlines()
    after = to_bytes(references.make(other, code_cells(other))).decode().splitlines()
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [
        ('      "5\\n"', '      "6\\n"')
    ]


def missing(layout: Layout) -> None:
    references.path_of(layout, PAGE).unlink()


def extra(layout: Layout) -> None:
    path = references.path_of(layout, "gone")
    path.write_bytes(references.path_of(layout, PAGE).read_bytes())


def cut_in_half(layout: Layout) -> None:
    path = references.path_of(layout, PAGE)
    path.write_text(path.read_text()[:200])


def change(edit: Callable[[NotebookNode], None]) -> Callable[[Layout], None]:
    def apply(layout: Layout) -> None:
        notebook = nbformat.read(references.path_of(layout, PAGE), as_version=4)
        edit(notebook)
        write(layout, notebook)

    return apply


def drop_last(notebook: NotebookNode) -> None:
    notebook.cells.pop()


def add_one(notebook: NotebookNode) -> None:
    notebook.cells.append(new_code_cell("more()", execution_count=4))


def edit_code(notebook: NotebookNode) -> None:
    notebook.cells[1].source = "print(n + 0)"


def edit_tags(notebook: NotebookNode) -> None:
    notebook.cells[1].metadata["tags"] = ["rtol-1e-1"]


def drop_all_outputs(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.outputs = []


def drop_one_output(notebook: NotebookNode) -> None:
    notebook.cells[1].outputs = []


def add_output(notebook: NotebookNode) -> None:
    notebook.cells[0].outputs = [new_output("stream", name="stdout", text="5\n")]


def never_run(notebook: NotebookNode) -> None:
    notebook.cells[1].execution_count = None


def with_stderr(notebook: NotebookNode) -> None:
    notebook.cells[1].outputs.append(new_output("stream", name="stderr", text="careful\n"))


def with_negative_error(notebook: NotebookNode) -> None:
    notebook.cells[1].outputs[0].text = "0.5 ± -0.1\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, r"without a reference in .*: chapter part/curve; run `make reference`"),
        (extra, r"no chapter of the book: gone; remove it"),
        (cut_in_half, r"chapter part/curve: the reference .* is no notebook"),
        (change(drop_last), r"has 2 code cells where the chapter has 3"),
        (change(add_one), r"has 4 code cells where the chapter has 3"),
        (change(edit_code), r"is stale: its code differs from the chapter's in code cell 2"),
        (change(edit_tags), r"is stale: its tags .* in code cell 2"),
        (change(drop_all_outputs), r"holds no output, so that nothing would be compared"),
        (change(drop_one_output), r"the chapter has text in code cell 2, the reference has none"),
        (change(add_output), r"the reference has text in code cell 1, the chapter has none"),
        (change(never_run), r"has no execution count, .* in code cell 2"),
        (change(with_stderr), r"holds text from stderr in code cell 2"),
        (change(with_negative_error), r"a standard error that is not a number >= 0, '0.5 ± -0.1', in code cell 2"),
    ],
)
def test_an_unfit_reference_is_named(layout: Layout, spoil: Callable[[Layout], None], message: str) -> None:
    spoil(layout)
    with pytest.raises(BookError, match=message):
        check(layout)


def test_a_file_of_json_that_is_no_notebook_is_named(layout: Layout) -> None:
    references.path_of(layout, PAGE).write_text(json.dumps({"cells": 7}))
    with pytest.raises(BookError, match="is no notebook"):
        check(layout)


@pytest.mark.parametrize("edit", [lambda n: n.update(metadata=5), lambda n: n["cells"][0].update(metadata=5)])
def test_a_reference_whose_metadata_are_numbers_is_named(layout: Layout, edit: Callable[[Any], None]) -> None:
    path = references.path_of(layout, PAGE)
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
    with pytest.raises(BookError, match="is no notebook"):
        check(layout)


def test_a_reference_that_is_no_utf_8_is_named(layout: Layout) -> None:
    references.path_of(layout, PAGE).write_bytes(b"\xe9")
    with pytest.raises(BookError, match="must be UTF-8"):
        check(layout)


def test_the_smoke_profile_says_how_to_write_its_references(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="run `make reference PROFILE=smoke`"):
        references.refuse_missing(Layout(tmp_path, "smoke"), [PAGE])

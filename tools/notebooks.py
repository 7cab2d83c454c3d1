"""Text notebooks and executed ones: reading, and a form in which equal content is equal bytes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tools import parameters
from tools.catalogue import Page
from tools.errors import BookError
from tools.files import digest, read_text

PARAMETERS = "parameters"
INJECTED = "injected-parameters"
# Tags that change what is run; all other metadata of a cell is presentation.
RUNNING_TAGS = (PARAMETERS, "raises-exception", "skip-execution")


@dataclass(frozen=True)
class Chapter:
    """The text notebook of a page, with the parameters that the page runs it with."""

    page: Page
    notebook: NotebookNode
    defaults: Mapping[str, Any]
    given: Mapping[str, Any]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_text_notebook(path: Path) -> NotebookNode:
    """The notebook in a MyST Markdown file, with cell ids that depend on content only.

    Raises `BookError` where jupytext cannot read it, or where the metadata of a cell are not what the pipeline reads.
    """
    import jupytext

    text = read_text(path)
    try:
        notebook = jupytext.reads(text, fmt="md:myst")
    # Whatever YAML, Markdown and jupytext itself find wrong with a header or the metadata of a cell.
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise BookError(f"{path} is no MyST notebook: {told or type(error).__name__}") from None
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and (problem := bad_metadata(cell)):
            raise BookError(f"{path}, {describe(notebook, index)}: {problem}")
    notebook.metadata = NotebookNode(kernelspec=notebook.metadata.get("kernelspec", {}))
    set_ids(notebook.cells)
    return notebook


def read_chapter(page: Page, given: Mapping[str, Any] | None = None) -> Chapter:
    """The chapter of a page; `given` replaces single parameters of the page.

    Raises `BookError` for more than one `parameters` cell, an unknown parameter, or one of the wrong type.
    """
    notebook = read_text_notebook(page.source)
    where = f"chapter {page.name}"
    cells = [cell for cell in code_cells(notebook) if PARAMETERS in tags(cell)]
    if len(cells) > 1:
        raise BookError(f"{where}: {len(cells)} cells are tagged `parameters`; allowed: one")
    defaults = parameters.declared(cells[0].source, where) if cells else {}
    values = parameters.validate({**page.parameters, **(given or {})}, defaults, where)
    # In one order, whoever runs them: papermill writes its cell of parameters in the order that it is given.
    return Chapter(page, notebook, defaults, dict(sorted(values.items())))


def bad_metadata(cell: NotebookNode) -> str:
    """What is wrong with what a code cell says of its figure; empty where nothing is."""
    shown = cell.metadata.get("mystnb") or {}
    parts = {"mystnb": shown}
    if isinstance(shown, dict):
        parts |= {name: shown.get(name) or {} for name in ("figure", "image")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            return f"{name} must hold `name: value`, got {part!r:.80}"
        for key in ("caption", "name", "alt"):
            if not isinstance(part.get(key) or "", str):
                return f"{key} must be a text, got {part[key]!r:.80}; write it in quotes"
    return ""


def set_ids(cells: Iterable[NotebookNode]) -> None:
    """Give each cell an id made from its source and from how often that came before."""
    seen: Counter[str] = Counter()
    for cell in cells:
        name = digest(f"{cell.cell_type}\n{cell.source}")
        cell.id = digest(f"{name} {seen[name]}")[:12]
        seen[name] += 1


def clean(notebook: NotebookNode) -> None:
    """Take out of an executed notebook, in place, all that differs between equal runs: clocks, paths, ids, chunks."""
    notebook.metadata = NotebookNode(kernelspec=notebook.metadata.get("kernelspec", {}))
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(cell.outputs)
    set_ids(notebook.cells)


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: how a kernel cuts it depends on the clock."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as JSON, laid out for a line-by-line diff."""
    import nbformat

    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()


def describe(notebook: NotebookNode, index: int) -> str:
    """`cell 3 of 7: first line` for the cell at `index`; cells that papermill put in are not counted."""
    cell = notebook.cells[index]
    own = [other for other in code_cells(notebook) if INJECTED not in tags(other)]
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    if INJECTED in tags(cell):
        return "the injected parameters"
    number = 1 + next(position for position, other in enumerate(own) if other is cell)
    return f"code cell {number} of {len(own)}: {first.strip()}"


def text_of(value: Any) -> str:
    """A text of an output, which notebooks hold as one string or as lines."""
    return "".join(value) if isinstance(value, list) else str(value)


def without_colours(text: str) -> str:
    """A text without the escape sequences that colour it."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)

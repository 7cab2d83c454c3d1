"""What the outputs of an executed chapter must satisfy before anything else looks at them."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from tools import markup, notebooks
from tools.errors import BookError

LONGEST = 50_000
ADDRESS = re.compile(r"<.*\bat 0x[0-9a-f]{6,}")


def noise(page: str, notebook: NotebookNode) -> str | None:
    """What is wrong where a cell wrote to stderr, shows a memory address, or what would run on the page; else None."""
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            where = f"chapter {page}, {notebooks.describe(notebook, index)}"
            if output.output_type == "stream" and output.name == "stderr":
                return f"{where}\n  wrote to stderr: {output.text.strip()}"
            for kind, value in output.get("data", {}).items():
                if found := markup.refused(kind, notebooks.text_of(value)):
                    return f"{where}\n  displays {found}, which no page shows; show text, a table or a picture"
            text = notebooks.text_of(output.get("data", {}).get("text/plain", output.get("text", "")))
            if len(text) > LONGEST:
                return f"{where}\n  prints {len(text)} characters; allowed: {LONGEST}, which a reader can look through"
            if output.output_type != "stream" and (match := ADDRESS.search(text)):
                return (
                    f"{where}\n  shows an object as {match[0]!r}, which differs from run to run; "
                    "end the cell with `;`, or show a value"
                )
    return None


def refuse_bare_figures(page: str, notebook: NotebookNode, presented: list[NotebookNode]) -> None:
    """Raise `BookError` for a picture without alt text or without caption.

    `presented` holds the code cells with the metadata that the page shows, in the order of `notebook`'s.
    """
    problems = []
    for shown, (index, cell) in zip(presented, _code(notebook), strict=True):
        if not has_picture(cell):
            continue
        settings = shown.metadata.get("mystnb", {})
        missing = []
        if not str((settings.get("image") or {}).get("alt") or "").strip():
            missing.append("alt text (mystnb: image: alt)")
        if not str((settings.get("figure") or {}).get("caption") or "").strip():
            missing.append("caption (mystnb: figure: caption)")
        if missing:
            where = notebooks.describe(notebook, index)
            problems.append(f"chapter {page}, {where}\n  shows a figure without {' and without '.join(missing)}")
    if problems:
        raise BookError("\n".join(problems))


def has_picture(cell: NotebookNode) -> bool:
    """Whether an output of the cell is shown as a picture."""
    return any(name.startswith("image/") for output in cell.outputs for name in output.get("data", {}))


def _code(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    return ((index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")

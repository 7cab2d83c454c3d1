"""The directive {parameters-table}: every parameter of every chapter, from the cells that declare them."""

import ast
import io
import json
import tokenize
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.notebooks import PARAMETERS
from tools.parameters import assignment
from tools.sphinx_ext.argument import CONTENTS, chapters

HEADINGS = ("Chapter", "Parameter", "Default", "Meaning")


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("parameters-table", ParametersTable)


def declared(folder: Path, page: str) -> list[tuple[str, str, str]]:
    """Name, default and meaning of the parameters of a page, as its first code cell states them.

    A line without a meaning shares that of the line above.
    """
    path = folder / f"{page}.ipynb"
    if not path.is_file():
        return []
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if PARAMETERS in cell["metadata"].get("tags", [])]
    found: list[tuple[str, str, str]] = []
    for source in sources:
        meanings = _comments(source)
        for statement in ast.parse(source).body:
            name, value = assignment(statement)
            if name is not None and value is not None:
                default = ast.get_source_segment(source, value) or ""
                above = found[-1][2] if found else ""
                found.append((name, default, meanings.get(statement.end_lineno or 0) or above))
    return found


def _comments(source: str) -> dict[int, str]:
    """The comments of a cell, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


class ParametersTable(SphinxDirective):
    """One row for each parameter, with a link to its chapter."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        folder = Path(self.env.srcdir)
        self.env.note_dependency(str(folder / CONTENTS))
        self.env.note_reread()
        rows = []
        for chapter in chapters(folder):
            (link,), _ = self.state.inline_text(f"{{doc}}`{chapter.title} </{chapter.page}>`", self.lineno)
            for k, (name, value, meaning) in enumerate(declared(folder, chapter.page)):
                first = nodes.paragraph("", "", link) if k == 0 else nodes.paragraph()
                texts = [nodes.literal("", name), nodes.literal("", value), nodes.Text(meaning)]
                rows.append(_row([first, *(nodes.paragraph("", "", text) for text in texts)]))
        head = _row([nodes.paragraph("", title) for title in HEADINGS])
        widths = [nodes.colspec(colwidth=width) for width in (26, 18, 22, 34)]
        group = nodes.tgroup("", *widths, nodes.thead("", head), nodes.tbody("", *rows), cols=len(HEADINGS))
        return [nodes.table("", group, classes=["parameters"])]


def _row(cells: list[nodes.paragraph]) -> nodes.row:
    return nodes.row("", *[nodes.entry("", cell) for cell in cells])

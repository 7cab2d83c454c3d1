"""The directive {parameters-table}: every parameter of every chapter, from the cells that declare them."""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.notebooks import PARAMETERS
from tools.sphinx_ext.argument import CONTENTS, chapters

LINE = re.compile(r"^(?P<name>\w+) = (?P<value>.*?)\s*(?:#\s*(?P<meaning>.*))?$")
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
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if PARAMETERS in cell["metadata"].get("tags", [])]
    found: list[tuple[str, str, str]] = []
    for match in (LINE.match(line) for source in sources for line in source.splitlines()):
        if match is not None:
            above = found[-1][2] if found else ""
            found.append((match["name"], match["value"], (match["meaning"] or above).strip()))
    return found


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

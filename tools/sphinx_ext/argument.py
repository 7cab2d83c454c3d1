"""The directive {argument-map}: which chapter needs which, drawn and listed from what each chapter says it needs."""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tools.labels import DEFINITIONS

CONTENTS = "_toc.yml"
# The sentence with which a chapter says what it builds on, up to the end of its paragraph.
NEEDS = re.compile(r"\byou need\b.*?(?=\n\s*\n|\Z)", re.IGNORECASE | re.DOTALL)
REFERENCE = re.compile(r"\{(?:prf:ref|eq|ref|numref)\}`(?:[^`<]*<)?([^`>]+)>?`")
LINK = re.compile(r"\]\(([^)#\s]+?)(?:\.md|\.ipynb)(?:#[^)]*)?\)")
DEFINED = (re.compile(r"(?m)^:label:\s*(?P<name>\S+)\s*$"), *DEFINITIONS)
BOX, COLUMN, ROW, LEFT, TOP = (158, 36), 200, 54, 26, 44
WIDEST = 28
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chapter:
    """A chapter of the table of contents: page, part, heading, and the pages that it says it needs."""

    page: str
    part: str
    title: str
    needs: tuple[str, ...]


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("argument-map", ArgumentMap)


def chapters(folder: Path) -> list[Chapter]:
    """The chapters of the staged book with their needs, in reading order; only what comes from `folder`."""
    listed = parts(folder)
    texts = {page: text_of(folder, page) for page in listed}
    home = {
        match["name"]: page for page, text in texts.items() for pattern in DEFINED for match in pattern.finditer(text)
    }
    return [
        Chapter(page, part, title_of(texts[page]), needs_of(page, texts[page], home, set(texts)))
        for page, part in listed.items()
    ]


def parts(folder: Path, *, sections: bool = False) -> dict[str, str]:
    """The caption of the part of each chapter of the staged book, in reading order; with `sections` of those below."""
    contents = yaml.safe_load((folder / CONTENTS).read_text(encoding="utf-8"))
    return {
        page: part.get("caption", "")
        for part in contents.get("parts", [])
        for entry in part["chapters"]
        for page in (_pages(entry) if sections else [entry["file"]])
    }


def _pages(entry: dict[str, Any]) -> Iterator[str]:
    """The page of an entry of the contents, and those below it."""
    yield entry["file"]
    for below in entry.get("sections", []):
        yield from _pages(below)


def text_of(folder: Path, page: str) -> str:
    """The prose of a page, which is text or an executed notebook."""
    notebook = folder / f"{page}.ipynb"
    if not notebook.is_file():
        return (folder / f"{page}.md").read_text(encoding="utf-8")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def title_of(text: str) -> str:
    """The first heading."""
    found = re.search(r"(?m)^# (.*)$", text)
    return found[1].strip() if found else ""


def needs_of(page: str, text: str, home: dict[str, str], known: set[str]) -> tuple[str, ...]:
    """The pages that the sentence "You need …" of a page names, by link or by the label of something on them."""
    said = NEEDS.search(text)
    if said is None:
        return ()
    found = [home.get(label.strip()) for label in REFERENCE.findall(said[0])]
    for link in LINK.findall(said[0]):
        parts: list[str] = []
        for part in (PurePosixPath(page).parent / link).parts:
            if part == "..":
                parts = parts[:-1]
            else:
                parts.append(part)
        found.append("/".join(parts))
    return tuple(dict.fromkeys(name for name in found if name in known and name != page))


class ArgumentMap(SphinxDirective):
    """The map as a figure, and the same as a list of links."""

    def run(self) -> list[nodes.Node]:
        """The figure and the list."""
        folder = Path(self.env.srcdir)
        self.env.note_dependency(str(folder / CONTENTS))
        # Every page may change what is drawn here.
        self.env.note_reread()
        every = chapters(folder)
        shown = [one for one in every if one.needs or any(one.page in other.needs for other in every)]
        if not shown:
            logger.warning("no chapter says what it needs", location=self.get_location())
            return []
        figure = nodes.figure("", nodes.raw("", drawing(shown), format="html"), align="default")
        caption = "Which chapter needs which? A line leads from a chapter to one that builds on it; parts in columns."
        figure += nodes.caption("", caption)
        figure["names"], figure["ids"] = ["fig-argument"], ["fig-argument"]
        self.state.document.note_explicit_target(figure)
        return [figure, self._list(shown)]

    def _list(self, shown: list[Chapter]) -> nodes.Node:
        titles = {one.page: one.title for one in shown}
        items = nodes.bullet_list()
        for one in shown:
            sentence = nodes.paragraph("", "", self._link(one.page, titles))
            if one.needs:
                sentence += nodes.Text(" needs ")
            for k, name in enumerate(one.needs):
                sentence += nodes.Text(", " if k else "")
                sentence += self._link(name, titles)
            items += nodes.list_item("", sentence)
        return items

    def _link(self, page: str, titles: dict[str, str]) -> nodes.Node:
        (link,), _ = self.state.inline_text(f"{{doc}}`{titles[page]} </{page}>`", self.lineno)
        return link


def drawing(shown: list[Chapter]) -> str:
    """The map as SVG text: a column for each part, chapters in reading order, curves from left to right."""
    parts = list(dict.fromkeys(one.part for one in shown))
    columns = {part: [one for one in shown if one.part == part] for part in parts}
    at = {
        one.page: (LEFT + COLUMN * k, TOP + ROW * row)
        for k, part in enumerate(parts)
        for row, one in enumerate(columns[part])
    }
    width = LEFT + COLUMN * (len(parts) - 1) + BOX[0] + 8
    height = TOP + ROW * max(map(len, columns.values()))
    lines = [_curve(at[need], at[one.page]) for one in shown for need in one.needs if need in at]
    boxes = [_box(*at[one.page], one.title) for one in shown]
    heads = [_text(LEFT + COLUMN * k, TOP - 20, part, "part") for k, part in enumerate(parts)]
    told = f"Map of {len(shown)} chapters in {len(parts)} parts with {len(lines)} lines; the list below says the same."
    inside = "".join([*lines, *boxes, *heads])
    return (
        f'<div class="argument-map" tabindex="0"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(told)}">{inside}</svg></div>'
    )


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        x, y0, y1 = start[0], start[1] + BOX[1] / 2, end[1] + BOX[1] / 2
        return f'<path d="M{x},{y0} C{x - 22},{y0} {x - 22},{y1} {x},{y1}"/>'
    x0, y0, x1, y1 = start[0] + BOX[0], start[1] + BOX[1] / 2, end[0], end[1] + BOX[1] / 2
    middle = (x0 + x1) / 2
    return f'<path d="M{x0},{y0} C{middle},{y0} {middle},{y1} {x1},{y1}"/>'


def _box(x: int, y: int, title: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>' + _text(
        x + 6, y + BOX[1] / 2, title, ""
    )


def _text(x: float, middle: float, text: str, style: str) -> str:
    """One or two rows of text round a height; what needs more ends with an ellipsis."""
    rows = textwrap.wrap(text, WIDEST, max_lines=2, placeholder=" …")
    first = middle + 4 - 6 * (len(rows) - 1)
    spans = "".join(f'<tspan x="{x}" y="{first + 12 * k}">{escape(row)}</tspan>' for k, row in enumerate(rows))
    return f'<text class="{style}">{spans}</text>'

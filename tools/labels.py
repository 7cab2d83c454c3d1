"""Labels of a page that runs the chapter of another: the same names twice would clash, so each run gets its own."""

import re
from collections.abc import Iterable

from nbformat import NotebookNode

NAME = r"[^\s`<>{}()\[\]#,]+"
DEFINITIONS = (
    re.compile(rf"(?m)^\((?P<name>{NAME})\)="),
    re.compile(rf"(?m)^\s*:?(?:name|label):\s*(?P<name>{NAME})\s*$"),
    re.compile(rf"\$\$\s*\((?P<name>{NAME})\)"),
    re.compile(rf"\\label\{{(?P<name>{NAME})\}}"),
)
ROLE = re.compile(rf"(?P<head>\{{(?:ref|numref|eq|prf:ref)\}}`(?:[^`<]*<)?)(?P<name>{NAME})(?P<tail>>?`)")
LINK = re.compile(rf"(?P<head>\]\(#?)(?P<name>{NAME})(?P<tail>\))")
MACRO = re.compile(rf"(?P<head>\\(?:eq)?ref\{{)(?P<name>{NAME})(?P<tail>\}})")


def suffixed(name: str, slug: str) -> str:
    """The name of a label on the page with that slug."""
    return f"{name}--{slug}"


def defined_in(cells: Iterable[NotebookNode]) -> set[str]:
    """The labels that the cells of a notebook define, in prose and as names of figures."""
    names = set()
    for cell in cells:
        if cell.cell_type == "markdown":
            names |= {match["name"] for pattern in DEFINITIONS for match in pattern.finditer(cell.source)}
        elif name := figure_name(cell):
            names.add(name)
    return names


def figure_name(cell: NotebookNode) -> str | None:
    """The label of the figure that a code cell shows."""
    return ((cell.metadata.get("mystnb") or {}).get("figure") or {}).get("name")


def rewrite(cells: Iterable[NotebookNode], names: set[str], slug: str) -> None:
    """Give each of `names` the suffix of the page, where it is defined and where it is referred to, in place."""
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _rewrite_text(cell.source, names, slug)
            continue
        figure = (cell.metadata.get("mystnb") or {}).get("figure") or {}
        if figure.get("name") in names:
            figure["name"] = suffixed(figure["name"], slug)
        if "caption" in figure:
            figure["caption"] = _rewrite_text(figure["caption"], names, slug)


def _rewrite_text(text: str, names: set[str], slug: str) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in names:
            return match[0]
        start, end = match.span("name")
        return match[0][: start - match.start()] + suffixed(name, slug) + match[0][end - match.start() :]

    for pattern in (*DEFINITIONS, ROLE, LINK, MACRO):
        text = pattern.sub(replace, text)
    return text

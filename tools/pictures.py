"""Vector pictures in as few bytes as show the same, and once: the notebook that a page offers is without them."""

import re

from nbformat import NotebookNode

from tools import notebooks

SVG = "image/svg+xml"
# Paths and places, in points. Nothing else is rounded: the scales of glyphs are small numbers.
PLACES = re.compile(r'(\s(?:d|x|y)=")([^"]*)(?=")')
LONG = re.compile(r"(-?\d+\.\d{3})\d+")


def compact(svg: str) -> str:
    """The picture with coordinates to a thousandth of a point and on one line."""

    def places(match: re.Match[str]) -> str:
        return match[1] + " ".join(LONG.sub(r"\1", match[2]).split())

    return re.sub(r">\s+<", "><", PLACES.sub(places, svg)).replace("\n", " ").strip()


def compact_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs of a cell with compact pictures, copies where there are any."""
    shown = []
    for output in outputs:
        if SVG in output.get("data", {}):
            picture = compact(notebooks.text_of(output.data[SVG]))
            output = NotebookNode({**output, "data": NotebookNode({**output.data, SVG: picture})})
        shown.append(output)
    return shown


def left_out(text: str) -> bytes:
    """An executed notebook for a reader to take away: its pictures lie on the site, and would be there twice."""
    import nbformat

    notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    for cell in notebooks.code_cells(notebook):
        for output in cell.outputs:
            if "data" in output:
                output.data = NotebookNode({k: v for k, v in output.data.items() if not k.startswith("image/")})
    return notebooks.to_bytes(notebook)

"""Interactive figures on their way from an executed notebook to the site: data in a script, a place on the page."""

import json
from html import escape

from docutils import nodes
from nbformat import NotebookNode

from tools import labels
from tools.errors import BookError

MIME = "application/vnd.plotly.v1+json"
CLASS = "interactive"
# Below the root of the site, as below what the pipeline stages to be copied there.
FOLDER = "interactive"


def place(cells: list[NotebookNode], page: str) -> dict[str, bytes]:
    """Put the place of each interactive figure into the outputs; gives the script of each, by its file name.

    Raises `BookError` for a figure whose static twin is not on the page: a reader without scripts, or with paper,
    would see nothing.
    """
    named = {labels.figure_name(cell) for cell in cells}
    scripts = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            spec = output.get("data", {}).get(MIME)
            if spec is None:
                continue
            name = spec["layout"]["meta"]["figure"]
            if name not in named:
                raise BookError(f"chapter {page}: the interactive figure {name!r} has no static figure of that name")
            root = "../" * page.count("/") + FOLDER
            # The id that Sphinx gives to the figure of that name.
            anchor = nodes.make_id(name)
            output.data["text/html"] = (
                f'<div class="{CLASS}" data-figure="{escape(name)}" data-id="{anchor}" data-root="{root}/"></div>'
            )
            text = json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            scripts[f"{name}.js"] = f"(window.bookFigures ??= {{}})[{json.dumps(name)}] = {text};\n".encode()
    return scripts

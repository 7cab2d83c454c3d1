"""Pages that load no font before they need it: the theme's hints fail, with an error in the console, from disk."""

import re
from pathlib import Path

from sphinx.application import Sphinx

HINT = re.compile(r'[ \t]*<link rel="preload" as="font"[^>]*>\n?')
# Templates of the theme that it copies among the files of the site.
TEMPLATES = ("webpack-macros.html", "sbt-webpack-macros.html")


def setup(app: Sphinx) -> None:
    """Clean up when all pages are written."""
    app.connect("build-finished", _clean)


def _clean(app: Sphinx, failure: Exception | None) -> None:
    if failure is not None or app.builder.format != "html":
        return
    for name in TEMPLATES:
        (Path(app.outdir) / "_static" / name).unlink(missing_ok=True)
    for path in sorted(Path(app.outdir).rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        if HINT.search(text):
            path.write_text(HINT.sub("", text), encoding="utf-8")

"""Mends what the theme and docutils leave unsaid to a screen reader or out of reach of a keyboard, page by page."""

from pathlib import Path

from sphinx.application import Sphinx

MENDED = (
    # The arrow that folds a part of the table of contents has no text.
    ("<summary><span class=", '<summary aria-label="Show or hide the pages of this chapter"><span class='),
    # A wide table scrolls sideways in its box, which the keyboard must reach.
    ('<div class="pst-scrollable-table-container">', '<div class="pst-scrollable-table-container" tabindex="0">'),
    # docutils calls the bibliography a list, but its entries are no list items.
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
)


def mended(html: str) -> str:
    """The page with every such place mended."""
    for old, new in MENDED:
        html = html.replace(old, new)
    return html


def _mend_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for path in sorted(Path(app.outdir).rglob("*.html")):
            text = path.read_text(encoding="utf-8")
            if (better := mended(text)) != text:
                path.write_text(better, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Mend the pages when all are written."""
    app.connect("build-finished", _mend_pages)

"""The staged book → one PDF: jupyter-book makes one page of it, Chromium prints it."""

import os
import shutil
from pathlib import Path

from tools.errors import BookError
from tools.layout import Layout
from tools.progress import Progress
from tools.site import Site, configuration

READY = "() => window.MathJax?.startup?.promise.then(() => true) ?? true"
MINUTES = 60_000
# A sheet is as wide as the site's column of text, so that what fits there fits here; what scrolls on screen wraps.
SCALE = 0.72
PAPER = """
pre, pre * { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.pst-scrollable-table-container, .cell_output, div.highlight, .math { overflow: visible !important; }
table { font-size: 0.85em; }
details.hide:not([open]), .headerlink, .copybtn { display: none !important; }
figure, tr, .proof-title { break-inside: avoid; }
h1, h2, h3, .proof-title { break-after: avoid; }
h1 { break-before: page; }
figcaption, figcaption * { color: inherit !important; }
/* Letters that reach out of their line at the top of a sheet would stand in the outline twice. */
h1, h2, h3, h4 { padding-block: 0.2em; }
"""


def chromium() -> str:
    """The browser that prints.

    Raises `BookError` where there is none.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise BookError("a PDF needs Chromium: sudo apt-get install chromium (or set CHROMIUM to its path)")
    return path


def make(layout: Layout, site: Site, banner: str | None, progress: Progress) -> None:
    """Write `book.pdf` from what the last build has staged.

    Raises `BookError` where nothing is staged, Sphinx finds fault, or there is no browser.
    """
    browser = chromium()
    if not layout.stage.is_dir():
        raise BookError("nothing is staged yet; run `make book` first")
    progress.start("pdf", "build")
    folder, _, complaint = site.render(configuration(layout, banner), "singlehtml")
    if complaint:
        raise BookError(complaint)
    target = layout.build / "book.pdf"
    _print(browser, folder / "index.html", target)
    shutil.rmtree(folder.parent)
    progress.say(f"the book as PDF: {target}")


def _print(browser: str, page_path: Path, target: Path) -> None:
    from playwright.sync_api import PdfMargins, sync_playwright

    margins = PdfMargins(top="15mm", bottom="15mm", left="15mm", right="15mm")
    partial = target.with_suffix(".partial")
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chrome.new_page()
        page.goto(page_path.as_uri())
        page.set_default_timeout(10 * MINUTES)
        page.add_style_tag(content=PAPER)
        page.evaluate(READY)
        partial.write_bytes(page.pdf(format="A4", margin=margins, scale=SCALE, tagged=True, outline=True))
        chrome.close()
    partial.replace(target)

"""How heavy the site is; no browser is needed for that."""

import re
from pathlib import Path
from urllib.parse import unquote

MEGABYTE = 2**20
SITE, PAGE = 40 * MEGABYTE, 3 * MEGABYTE
# What all pages share, and a reader fetches once.
SHARED = ("_static", "mathjax", "interactive/interactive.js", "interactive/plotly.min.js")


def weight(site: Path, page: Path) -> int:
    """Bytes of a page with its own pictures and data of figures, without what is shared."""
    text = page.read_text()
    total = len(text.encode())
    for place in re.finditer(r'data-figure="([^"]+)"[^>]*data-root="([^"]+)"', text):
        total += (page.parent / place[2] / f"{place[1]}.js").stat().st_size
    for source in set(re.findall(r'\bsrc="([^"]+)"', text)):
        file = (page.parent / unquote(source.split("?")[0])).resolve()
        if file.is_file() and not file.relative_to(site).as_posix().startswith(SHARED):
            total += file.stat().st_size
    return total


def test_the_site_is_light(site: Path) -> None:
    total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert total <= SITE, f"the site has {total / MEGABYTE:.1f} MB"


def test_every_page_is_light(site: Path) -> None:
    pages = {page.relative_to(site).as_posix(): weight(site, page) for page in site.rglob("*.html")}
    heavy = {name: f"{size / MEGABYTE:.1f} MB" for name, size in pages.items() if size > PAGE}
    assert not heavy
    assert pages["index.html"] > 10_000

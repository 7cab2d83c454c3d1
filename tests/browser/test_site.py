"""The built pages in a real browser: rendered, complete, offline, quiet, reachable."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

# Rules of axe that the theme, and not the book, decides.
THEME_RULES = {"landmark-unique", "landmark-no-duplicate-main", "region"}
READY = "() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"


@dataclass
class Witness:
    """What a page asked for and said while it was open."""

    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Take notes of a page."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("requestfinished", self._finished)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))

    def _finished(self, request: Request) -> None:
        response = request.response()
        if response is not None and response.status >= 400:
            self.failed.append(f"{response.status} {request.url}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text}")


def opened(browser: Browser, url: str, **context: object) -> tuple[Page, Witness]:
    """A page that has loaded and typeset its mathematics, and what it asked for meanwhile."""
    page = browser.new_context(**context).new_page()
    witness = Witness()
    witness.watch(page)
    page.goto(url, wait_until="load")
    page.evaluate(READY)
    page.wait_for_load_state("networkidle")
    return page, witness


def assert_quiet(witness: Witness, prefix: str) -> None:
    """Nothing asked for outside the site, nothing failed, nothing said."""
    outside = [url for url in witness.requests if not url.startswith((prefix, "data:", "blob:"))]
    assert not outside, f"asked for outside the site: {outside}"
    assert not witness.failed, f"failed: {witness.failed}"
    assert not witness.said, f"said on the console: {witness.said}"


def test_page(browser: Browser, address: str, site: Path, page_name: str) -> None:
    """One page, seen from a web server."""
    page, witness = opened(browser, f"{address}/{page_name}")
    if not page.url.endswith(page_name):
        pytest.fail(f"{page_name} leads to {page.url}")
    assert_quiet(witness, address)
    _mathematics_is_rendered(page)
    _images_are_loaded_and_told(page)
    _links_resolve(page, address, site)
    _is_accessible(page)
    page.context.close()


def _mathematics_is_rendered(page: Page) -> None:
    bare = page.evaluate(
        "[...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length"
    )
    assert bare == 0, f"{bare} formulas are not rendered"
    broken = page.evaluate("[...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.textContent)")
    assert broken == [], f"formulas with an error: {broken}"


def _images_are_loaded_and_told(page: Page) -> None:
    # An image below the fold may be loaded lazily.
    page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(i => i.complete)")
    for image in page.evaluate("[...document.images].map(i => ({src: i.src, width: i.naturalWidth, alt: i.alt}))"):
        assert image["width"] > 0, f"not loaded: {image['src']}"
        assert image["alt"].strip(), f"no alt text: {image['src']}"


def _links_resolve(page: Page, address: str, site: Path) -> None:
    for link in page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)"):
        plain, anchor = urldefrag(link)
        if not plain.startswith(address):
            continue
        target = site / unquote(urlparse(plain).path).lstrip("/")
        target = target / "index.html" if target.is_dir() else target
        assert target.is_file(), f"link to nothing: {link}"
        if anchor and target.suffix == ".html":
            text = target.read_text()
            assert re.search(rf"""\b(?:id|name)=["']{re.escape(unquote(anchor))}["']""", text), f"no such place: {link}"


def _is_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [
        f"{v['id']}: {v['help']} ({v['nodes'][0]['html'][:120]})"
        for v in found
        if v["impact"] in ("serious", "critical") and v["id"] not in THEME_RULES
    ]
    assert not serious, "\n".join(serious)


def test_page_fits_a_phone(browser: Browser, address: str, page_name: str) -> None:
    """No page scrolls sideways at the width of a phone."""
    page, _ = opened(browser, f"{address}/{page_name}", viewport={"width": 375, "height": 800})
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= 375, f"{page_name} is {width} pixels wide on a phone"
    page.context.close()


def test_reads_from_disk(browser: Browser, site: Path) -> None:
    """The index and one of its chapters, opened as files: nothing from outside, nothing failed."""
    for name in ("index.html", "closeness/closeness.html"):
        page, witness = opened(browser, (site / name).as_uri())
        assert_quiet(witness, site.as_uri())
        _mathematics_is_rendered(page)
        _images_are_loaded_and_told(page)
        page.context.close()


def test_search_finds_a_lemma(browser: Browser, address: str) -> None:
    """The search page lists a chapter for a word of it."""
    page, witness = opened(browser, f"{address}/search.html?q=centred+attention")
    page.wait_for_selector("#search-results a")
    assert page.locator("#search-results a").count() > 0
    assert_quiet(witness, address)
    page.context.close()


def test_dark_mode(browser: Browser, address: str) -> None:
    """A reader whose system is dark gets a dark page, whose figures keep a light ground to be read on."""
    page, witness = opened(browser, f"{address}/closeness/closeness.html", color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(v) for v in re.findall(r"\d+", ground)[:3]) < 150, f"the page is not dark: {ground}"
    assert_quiet(witness, address)
    page.context.close()


def test_code_cell_is_one_click_away(browser: Browser, address: str) -> None:
    """The code of a figure is folded, and a click shows it."""
    page, _ = opened(browser, f"{address}/closeness/closeness.html")
    fold = page.locator("details.hide").first
    assert not fold.evaluate("d => d.open")
    fold.locator("summary").click()
    assert fold.evaluate("d => d.open")
    page.context.close()

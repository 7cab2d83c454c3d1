"""A served site, a browser, and one opened page after another."""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

# Pages that hold no chapter: the theme makes them.
MADE_BY_THEME = {"search.html", "genindex.html", "py-modindex.html"}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a failed request is the test's to report."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each page of the site that `--site` names."""
    if "page_name" in metafunc.fixturenames:
        site = metafunc.config.getoption("--site")
        pages = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html")) if site else []
        chosen = [p for p in pages if p not in MADE_BY_THEME and not p.startswith(("_static/", "mathjax/"))]
        metafunc.parametrize("page_name", chosen)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that `CHROMIUM` names."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.fail("Chromium is needed: sudo apt-get install chromium (or set CHROMIUM to its path)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One for many pages, as of a reader who goes from one to the next: for Chromium each context is a new window."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site's address on this machine."""
    handler = functools.partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()

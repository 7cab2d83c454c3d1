"""A page opened in the browser, and what it asked for and said meanwhile."""

from dataclasses import dataclass, field

from playwright.sync_api import Browser, ConsoleMessage, Page, Request

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
    """A page in a context of its own that has loaded and typeset its mathematics, and what it asked for meanwhile."""
    page = browser.new_context(**context).new_page()
    return page, visit(page, url)


def visit(page: Page, url: str) -> Witness:
    """Let the page load the address and typeset its mathematics; gives what it asks for from then on."""
    witness = Witness()
    witness.watch(page)
    page.goto(url, wait_until="load")
    page.evaluate(READY)
    page.wait_for_load_state("networkidle")
    return witness


def assert_quiet(witness: Witness, prefix: str) -> None:
    """Nothing asked for outside the site, nothing failed, nothing said."""
    outside = [url for url in witness.requests if not url.startswith((prefix, "data:", "blob:"))]
    assert not outside, f"asked for outside the site: {outside}"
    assert not witness.failed, f"failed: {witness.failed}"
    assert not witness.said, f"said on the console: {witness.said}"

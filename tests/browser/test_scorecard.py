"""The scorecard on the first page: short, opened by keyboard, whole on paper."""

import json
from pathlib import Path

from pages import assert_quiet, opened
from playwright.sync_api import Browser, Page

# A claim of three lines, with its padding; a row that shows limits and controls is taller.
ROW = 110


def _rows(page: Page) -> list[float]:
    return page.evaluate("[...document.querySelectorAll('table.scorecard tbody tr')].map(r => r.offsetHeight)")


def test_a_row_is_compact_and_opens_by_keyboard(browser: Browser, address: str, site: Path) -> None:
    """Enter opens the claim that has the focus, shows its parts, and shuts it again."""
    claims = json.loads((site.parent / "scorecard.json").read_text())
    page, witness = opened(browser, f"{address}/index.html", viewport={"width": 1280, "height": 800})
    rows = _rows(page)
    assert len(rows) == len(claims)
    assert max(rows) <= ROW, f"rows of the scorecard are {rows} pixels tall"
    fold = page.locator("details.claim").first
    control = fold.locator(".claim-part").last
    assert not control.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert control.is_visible()
    assert fold.get_by_role("link").is_visible()
    page.keyboard.press("Enter")
    assert not control.is_visible()
    assert_quiet(witness, address)
    page.context.close()


def test_it_opens_without_scripts(browser: Browser, address: str) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{address}/index.html")
    fold = page.locator("details.claim").first
    fold.locator("summary").click()
    assert all(part.is_visible() for part in fold.locator(".claim-part").all())
    page.context.close()


def test_paper_shows_every_part_of_every_claim(browser: Browser, address: str) -> None:
    page, _ = opened(browser, f"{address}/index.html")
    parts = page.locator(".claim-part")
    assert not any(one.is_visible() for one in parts.all())
    page.emulate_media(media="print")
    assert parts.count() > 0
    assert all(one.is_visible() for one in parts.all())
    page.context.close()


def test_a_phone_scrolls_no_row_sideways(browser: Browser, address: str) -> None:
    """Opened too: verdict, value and tolerance stand below the claim, inside the width of the screen."""
    page, _ = opened(browser, f"{address}/index.html", viewport={"width": 375, "height": 800})
    page.locator("details.claim > summary").first.click()
    boxes = page.locator(".pst-scrollable-table-container:has(table.scorecard)").all()
    assert boxes
    assert all(box.evaluate("b => b.scrollWidth <= b.clientWidth") for box in boxes)
    page.context.close()


def test_an_outcome_shows_its_claims_alone_and_then_all_again(browser: Browser, address: str) -> None:
    """By keyboard; groups without one go, a line tells how many are left, and paper shows all."""
    page, witness = opened(browser, f"{address}/index.html")
    every = page.locator("table.scorecard tbody tr")
    shown = page.locator("table.scorecard tbody tr:visible")
    groups = page.locator(".scorecard-group:visible")
    before = groups.count()
    for switch in page.locator("table.scorecard-counts button").all():
        counts = switch.evaluate("b => [...b.closest('tr').querySelectorAll('td')].slice(1).map(c => c.innerText)")
        switch.focus()
        page.keyboard.press("Enter")
        assert shown.count() == sum(map(int, counts))
        assert f"{shown.count()} of {every.count()} claims" in page.locator(".scorecard-told").inner_text()
        assert groups.count() == page.locator(".scorecard-group:has(tbody tr:visible)").count()
        page.emulate_media(media="print")
        assert shown.count() == every.count()
        page.emulate_media(media="screen")
        page.keyboard.press("Enter")
        assert (shown.count(), groups.count()) == (every.count(), before)
    assert_quiet(witness, address)
    page.context.close()

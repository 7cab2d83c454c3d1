"""The built pages in a real browser: rendered, complete, offline, quiet, reachable."""

import functools
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import assert_quiet, opened, visit
from playwright.sync_api import Browser, BrowserContext, Page

# Rules of axe that the theme, and not the book, decides.
THEME_RULES = {"landmark-unique", "landmark-no-duplicate-main", "region"}
RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"]
MARK_SAMPLES = (Path(__file__).parent / "samples.js").read_text()


def test_page(context: BrowserContext, address: str, site: Path, page_name: str) -> None:
    """One page, seen from a web server, then in dark mode and at the width of a phone."""
    page = context.new_page()
    page.emulate_media(color_scheme="light")
    witness = visit(page, f"{address}/{page_name}")
    if not page.url.endswith(page_name):
        pytest.fail(f"{page_name} leads to {page.url}")
    _interactive_figures_are_drawn(page)
    assert_quiet(witness, address)
    _mathematics_is_rendered(page)
    _equations_fit(page)
    _images_are_loaded_and_told(page)
    _figures_are_captioned(page)
    _tables_are_drawn(page)
    _links_resolve(page, address, site)
    _is_accessible(page)
    _colours_are_accessible(page)
    _figures_are_legible_in_the_dark(page)
    _colours_are_accessible(page)
    page.set_viewport_size({"width": 375, "height": 800})
    page.wait_for_timeout(100)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= 375, f"{page_name} is {width} pixels wide on a phone"
    assert_quiet(witness, address)
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_text_that_is_hard_to_read_is_found(browser: Browser, address: str, theme: str) -> None:
    """The control: one grey word among many on a long page."""
    page, _ = opened(browser, f"{address}/bounds/curvature.html", color_scheme=theme)
    page.evaluate("[...document.querySelectorAll('main p')].at(-1).innerHTML += '<em style=\"color: #777\">grey</em>'")
    page.evaluate("[...document.querySelectorAll('main em')].at(-1).style.background = '#888'")
    with pytest.raises(AssertionError, match=r"color-contrast.*grey"):
        _colours_are_accessible(page)
    page.context.close()


def test_an_equation_that_is_too_wide_is_found(browser: Browser, address: str) -> None:
    """The control: one is made wider than the column."""
    page, _ = opened(browser, f"{address}/bounds/curvature.html")
    _equations_fit(page)
    page.evaluate("document.querySelector('mjx-container[display=true] mjx-math').style.paddingRight = '900px'")
    with pytest.raises(AssertionError, match="too wide"):
        _equations_fit(page)
    page.context.close()


def _equations_fit(page: Page) -> None:
    """On a wide screen no displayed equation has to be scrolled."""
    wide = page.evaluate(
        "[...document.querySelectorAll('mjx-container[display=true] mjx-math')].map(m => "
        "[m.getBoundingClientRect().width, m.parentElement.getBoundingClientRect().width, "
        "m.closest('p, div, section').textContent.trim()]).filter(([needed, there]) => needed > there + 1)"
    )
    assert not wide, f"too wide: {wide}"


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
            assert unquote(anchor) in _places(target), f"no such place: {link}"


@functools.cache
def _places(page: Path) -> frozenset[str]:
    """The anchors of a page."""
    return frozenset(unescape(name) for name in re.findall(r"""\b(?:id|name)=["']([^"']*)["']""", page.read_text()))


def _is_accessible(page: Page) -> None:
    """All rules but those of colour, on the whole page."""
    _obeys(page, {"rules": {name: {"enabled": False} for name in RULES_OF_COLOUR}})


def _colours_are_accessible(page: Page) -> None:
    """The rules of colour, which are slow: of all texts that look alike, a few are looked at.

    Formulas, of thousands of parts on some pages, are out of the way meanwhile: they have the colour of their line.
    """
    formulas = page.add_style_tag(content="mjx-container { display: none !important; }")
    page.evaluate(MARK_SAMPLES)
    _obeys(page, {"runOnly": {"type": "rule", "values": RULES_OF_COLOUR}}, {"include": [["[data-sample]"]]})
    formulas.evaluate("style => style.remove()")


def _obeys(page: Page, options: dict[str, Any], context: dict[str, Any] | None = None) -> None:
    # Without the style sheets as text, which axe would fetch under wrong addresses, and without a list of all that is
    # right, which takes longer to write than to find.
    settings = {"preload": False, "resultTypes": ["violations"], **options}
    found = Axe().run(page, context=context, options=settings).response["violations"]
    serious = [
        f"{v['id']}: {v['help']} ({v['nodes'][0]['html'][:120]})"
        for v in found
        if v["impact"] in ("serious", "critical") and v["id"] not in THEME_RULES
    ]
    assert not serious, "\n".join(serious)


def _figures_are_captioned(page: Page) -> None:
    bare = page.evaluate(
        "[...document.querySelectorAll('figure')].filter(f => !f.querySelector('figcaption .caption-number')"
        " || f.querySelector('figcaption').textContent.trim().length < 20).map(f => f.id)"
    )
    assert bare == [], f"figures without a number or a caption: {bare}"


def _tables_are_drawn(page: Page) -> None:
    """Markdown that was meant as a table is no text."""
    paragraphs = page.evaluate("[...document.querySelectorAll('main p')].map(p => p.textContent)")
    assert not [text[:80] for text in paragraphs if re.search(r"\| *:?[-–]+:? *\|", text)]


def _interactive_figures_are_drawn(page: Page) -> None:
    """Each interactive figure comes up when it is scrolled to."""
    places = page.locator(".interactive")
    for k in range(places.count()):
        name = places.nth(k).get_attribute("data-id")
        page.locator(f"figure#{name}").scroll_into_view_if_needed()
        page.wait_for_selector(f".interactive[data-id='{name}'][data-ready] .main-svg")


def _figures_are_legible_in_the_dark(page: Page) -> None:
    """The page turns dark with the reader's system, and what is drawn on it keeps a contrast."""
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    # Some colours of the theme change slowly.
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
    ground = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert ground < 0.1, f"the page is not dark: {ground}"
    # A static figure is drawn in black on white of its own; the ground must not shine through and swallow the ink.
    for image in page.evaluate(
        "[...document.querySelectorAll('figure > img, figure > a > img')].map(i => getComputedStyle(i).backgroundColor)"
    ):
        assert _luminance(image) > 0.5, f"a static figure lies on {image}"
    page.wait_for_timeout(50)
    for text in page.evaluate(
        "[...document.querySelectorAll('.interactive-drawing text')].map(t => getComputedStyle(t).fill)"
    ):
        contrast = (_luminance(text) + 0.05) / (ground + 0.05)
        assert contrast >= 4.5, f"text of an interactive figure in {text} has contrast {contrast:.1f}"


def _luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`; a ground that is wholly transparent counts as black."""
    numbers = [float(v) for v in re.findall(r"[\d.]+", colour)]
    if len(numbers) == 4 and numbers[3] == 0:
        return 0.0
    parts = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in numbers[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("name", ["index.html", "closeness/closeness.html", "explore/attention-scale.html"])
def test_reads_from_disk(browser: Browser, site: Path, name: str) -> None:
    """Pages opened as files: nothing from outside, nothing failed."""
    page, witness = opened(browser, (site / name).as_uri())
    _interactive_figures_are_drawn(page)
    assert_quiet(witness, site.as_uri())
    _mathematics_is_rendered(page)
    _images_are_loaded_and_told(page)
    page.context.close()


@pytest.mark.parametrize(
    ("words", "chapter"),
    [
        ("norm of the exponential", "bounds/published-chain.html"),
        ("tanh law", "bounds/sharp-bounds.html"),
        ("a layer imitates the step", "foundations/gradient-step-layer.html"),
    ],
)
def test_search_finds_a_statement_by_its_name(browser: Browser, address: str, words: str, chapter: str) -> None:
    """The search page lists the chapter of a lemma or theorem among its first results."""
    page, witness = opened(browser, f"{address}/search.html?q={quote(words)}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.querySelector('#search-results .search-summary, #search-results p')?.textContent")
    found = page.evaluate("[...document.querySelectorAll('#search-results li > a')].slice(0, 5).map(a => a.href)")
    assert any(urlparse(link).path == f"/{chapter}" for link in found), f"{words!r} finds {found}"
    assert_quiet(witness, address)
    page.context.close()


def test_first_paint_waits_for_no_plotly(browser: Browser, address: str) -> None:
    """The index asks for nothing that draws figures; a page with figures to move asks once it is scrolled to them."""
    page, witness = opened(browser, f"{address}/index.html")
    assert not [url for url in witness.requests if "/interactive/" in url]
    page.context.close()
    page, witness = opened(browser, f"{address}/explore/bounds.html", viewport={"width": 1000, "height": 300})
    assert not [url for url in witness.requests if "plotly" in url], "plotly is loaded before it is looked at"
    _interactive_figures_are_drawn(page)
    assert [url for url in witness.requests if url.endswith("/plotly.min.js")]
    page.context.close()


def _curve(page: Page) -> str:
    """The paths of all curves."""
    return page.evaluate(
        "[...document.querySelectorAll('.interactive-drawing .scatterlayer path')].map(p => p.getAttribute('d')).join()"
    )


@pytest.mark.parametrize("width", [375, 1200])
def test_a_slider_moves_the_plot(browser: Browser, address: str, width: int) -> None:
    """By keyboard: curves, shown value and note change, and come back; the list of queries works too."""
    page, witness = opened(browser, f"{address}/explore/closeness.html", viewport={"width": width, "height": 800})
    _interactive_figures_are_drawn(page)
    slider, shown = page.get_by_label("dimensions d"), page.locator(".interactive-control output").nth(1)
    note = page.locator(".interactive-note")
    before, text = _curve(page), note.text_content()
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == shown.text_content() == "2"
    page.wait_for_function("text => document.querySelector('.interactive-note').textContent !== text", arg=text)
    assert "d = 2," in (note.text_content() or "")
    assert _curve(page) != before
    page.keyboard.press("End")
    page.wait_for_function("text => document.querySelector('.interactive-note').textContent === text", arg=text)
    assert _curve(page) == before
    page.get_by_label("query").select_option("same")
    page.wait_for_function("document.querySelector('.interactive-note').textContent.includes('same query')")
    assert _curve(page) != before
    assert_quiet(witness, address)
    page.context.close()


def _map(page: Page) -> list[dict[str, Any]]:
    """The cells of the map: their difference, the red and blue with which they are drawn, and where."""
    return page.evaluate(
        """() => {
          const drawing = document.querySelector(".interactive-drawing");
          const values = drawing.data[0].marker.color.filter((_, k) => drawing.data[0].x[k] !== null);
          return [...drawing.querySelectorAll(".subplot.xy .trace:first-child path.point")].map((path, k) => {
            const [red, , blue] = getComputedStyle(path).fill.match(/\\d+/g).map(Number);
            const box = path.getBoundingClientRect();
            return {value: values[k], red, blue, x: box.x + box.width / 2, y: box.y + box.height / 2};
          });
        }"""
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colour_of_a_cell_of_the_map_is_its_sign(browser: Browser, address: str, theme: str) -> None:
    """Violet, with more blue than red, where softmax is ahead; orange where linear is.

    A difference under a fiftieth of the scale's end may be drawn in the middle's grey, but never in the other's colour.
    """
    page, _ = opened(browser, f"{address}/explore/regimes.html", color_scheme=theme)
    _interactive_figures_are_drawn(page)
    cells = _map(page)
    end = page.evaluate("document.querySelector('.interactive-drawing').data[0].marker.cmax")
    for cell in cells:
        towards = (cell["blue"] - cell["red"]) * (1 if cell["value"] > 0 else -1)
        assert towards > 0 or (towards == 0 and abs(cell["value"]) < end / 50), cell
    assert min(cell["value"] for cell in cells) < 0 < max(cell["value"] for cell in cells)
    page.context.close()


def test_a_click_on_the_map_and_its_controls_change_the_curves(browser: Browser, address: str) -> None:
    """A click on the last cell takes the sliders there; C and the cell are changed by keyboard too."""
    page, witness = opened(browser, f"{address}/explore/regimes.html", viewport={"width": 1200, "height": 900})
    _interactive_figures_are_drawn(page)
    note = page.locator(".interactive-note")
    lengths, dimensions = page.get_by_label("length n"), page.get_by_label("dimensions d")
    drawings = [_curve(page)]
    cell, text = _map(page)[-1], note.text_content()
    page.mouse.click(cell["x"], cell["y"])
    page.wait_for_function("text => document.querySelector('.interactive-note').textContent !== text", arg=text)
    for slider, letter in ((lengths, "n"), (dimensions, "d")):
        assert slider.input_value() == slider.get_attribute("max")
        assert f"{letter} = {slider.get_attribute('aria-valuetext')}" in (note.text_content() or "")
    drawings.append(_curve(page))
    classes = page.get_by_label("classes C")
    several = len(_map(page))
    classes.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.interactive-note').textContent.includes('C = 2,')")
    assert len(_map(page)) < several, "the thinner map has as many cells"
    assert "not fitted" in (note.text_content() or "")
    drawings.append(_curve(page))
    lengths.focus()
    page.keyboard.press("Home")
    dimensions.focus()
    page.keyboard.press("Home")
    drawings.append(_curve(page))
    assert len(set(drawings)) == len(drawings), "a setting has left the curves as they were"
    assert_quiet(witness, address)
    page.context.close()


def test_on_paper_and_without_scripts_the_static_figure_stands(browser: Browser, address: str) -> None:
    """What cannot be moved is not shown where it cannot be moved."""
    url = f"{address}/explore/bounds.html"
    page, _ = opened(browser, url)
    _interactive_figures_are_drawn(page)
    static, moving = page.locator("figure#fig-bound-explorer > img"), page.locator(".interactive-drawing")
    assert moving.is_visible()
    assert not static.is_visible()
    page.emulate_media(media="print")
    assert static.is_visible()
    assert not moving.is_visible()
    page.context.close()
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(url)
    assert page.locator("figure#fig-bound-explorer > img").is_visible()
    page.context.close()


def test_code_cell_is_one_click_away(browser: Browser, address: str) -> None:
    """The code of a figure is folded, and a click shows it."""
    page, _ = opened(browser, f"{address}/closeness/closeness.html")
    fold = page.locator("details.hide").first
    assert not fold.evaluate("d => d.open")
    fold.locator("summary").click()
    assert fold.evaluate("d => d.open")
    page.context.close()


def test_code_is_read_without_scrolling_on_a_laptop(browser: Browser, address: str) -> None:
    """A line that is too long is continued below, further in than any code that is not."""
    page, _ = opened(browser, f"{address}/kernel/regimes.html", viewport={"width": 1366, "height": 768})
    page.evaluate("document.querySelectorAll('details.hide').forEach(fold => fold.open = true)")
    sizes = page.evaluate("[...document.querySelectorAll('.cell_input pre')].map(p => [p.scrollWidth, p.clientWidth])")
    assert len(sizes) > 10
    assert all(0 < needed <= there for needed, there in sizes)
    page.context.close()

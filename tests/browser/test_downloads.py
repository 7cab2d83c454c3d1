"""What a reader takes away: the notebook of a page, and the data of its figures."""

import csv
import re
from pathlib import Path

import nbformat
import pytest
from pages import assert_quiet, opened
from playwright.sync_api import Browser

SOURCE = re.compile(r'<a href="([^"]*_sources/[^"]+)"[^>]*\s+class="[^"]*btn-download-source-button')
DATA = re.compile(r'<a class="figure-data[^"]*" href="([^"]+)">(?:<[^>]+>)*([^<]+)<')
# The index of statements, which Sphinx makes.
WITHOUT_SOURCE = {"prf-prf.html"}
EXECUTED, TEXT = "explore/attention-scale.html", "notation.html"


def _source(site: Path, page_name: str) -> Path:
    (link,) = SOURCE.findall((site / page_name).read_text())
    return (site / page_name).parent / link


def _assert_is_executed(path: Path) -> None:
    """A whole notebook of the current format, in which every code cell has run in order and some show something."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)


def test_the_source_of_every_page_is_there_and_parses(site: Path, page_name: str) -> None:
    if page_name in WITHOUT_SOURCE:
        assert not SOURCE.findall((site / page_name).read_text())
        return
    path = _source(site, page_name)
    if path.suffix == ".ipynb":
        _assert_is_executed(path)
    else:
        assert re.search(r"(?m)^# \S", path.read_text()), f"{path.name} has no heading"


@pytest.mark.parametrize("name", [EXECUTED, TEXT])
def test_the_button_gives_the_source(browser: Browser, address: str, name: str) -> None:
    page, witness = opened(browser, f"{address}/{name}", viewport={"width": 1200, "height": 800})
    page.locator(".dropdown-download-buttons > button").click()
    with page.context.expect_event("response", lambda response: "_sources/" in response.url) as answer:
        page.locator(".btn-download-source-button").click()
    assert answer.value.ok
    assert_quiet(witness, address)
    page.context.close()


def test_the_data_of_every_figure_is_a_table(site: Path, page_name: str) -> None:
    """Each link in a caption leads to one header line, and lines of the same length below it."""
    for link, name in DATA.findall((site / page_name).read_text()):
        path = (site / page_name).parent / link
        assert path.name == name
        header, *rows = csv.reader(path.read_text().splitlines())
        assert all(name.strip() for name in header)
        assert rows
        assert {len(row) for row in rows} == {len(header)}


def test_the_data_of_a_figure_downloads(browser: Browser, address: str, site: Path) -> None:
    page, witness = opened(browser, f"{address}/{EXECUTED}")
    link = page.locator("figcaption a.figure-data").first
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == link.text_content()
    assert download.value.path().read_bytes() == next(site.rglob(download.value.suggested_filename)).read_bytes()
    # The browser breaks the visit off where it becomes a download, so `failed` says nothing here.
    assert not witness.said
    page.context.close()

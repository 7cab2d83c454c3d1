"""What an executed chapter may not show."""

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.errors import BookError
from tools.outputs import noise, refuse_bare_figures

GOOD = {"image": {"alt": "A rising line."}, "figure": {"caption": "A line.", "name": "fig-line"}}


def notebook(*outputs: NotebookNode) -> NotebookNode:
    return new_notebook(cells=[new_code_cell("first()"), new_code_cell("show(\n  x)", outputs=list(outputs))])


def figure(settings: dict[str, object]) -> tuple[NotebookNode, list[NotebookNode]]:
    shown = notebook(new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"}))
    presented = [nbformat.from_dict(cell) for cell in shown.cells]
    presented[1].metadata["mystnb"] = nbformat.from_dict(settings)
    return shown, presented


def test_stderr_is_noise() -> None:
    told = noise("x", notebook(new_output("stream", name="stderr", text="careful\n")))
    assert told == "chapter x, code cell 2 of 2: show(\n  wrote to stderr: careful"


def test_a_memory_address_is_noise() -> None:
    shown = new_output("execute_result", data={"text/plain": "[<matplotlib.lines.Line2D at 0x7f3e12345678>]"})
    assert "shows an object as" in str(noise("x", notebook(shown)))


def test_a_text_that_nobody_reads_to_its_end_is_noise() -> None:
    """A line of 300 kB costs the site more than a minute."""
    for shown in (
        new_output("stream", name="stdout", text="1" * 300_000),
        new_output("execute_result", data={"text/plain": "1" * 300_000}),
    ):
        assert "prints 300000 characters; allowed: 50000" in str(noise("x", notebook(shown)))


def test_text_is_no_noise() -> None:
    assert noise("x", notebook(new_output("stream", name="stdout", text="0x12345678 is a number\n"))) is None


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("text/html", "<p>a</p><script>f()</script>", "<script>"),
        ("text/html", "<ScRiPt\n>", "<ScRiPt>"),
        ("text/html", "<svg:script>", "<script>"),
        ("text/html", "<!-- --!><script>f()</script> -->", "<script>"),
        ("text/html", "<img src=x onerror=f()>", "onerror="),
        ("text/html", "<svg/onload=f()>", "onload="),
        ("text/html", "<img alt='>' onerror = f()>", "onerror="),
        ("text/html", "<img src=x onerror =f()", "onerror="),
        ("text/html", "<style><!--</style><img alt='>' onerror=f()>-->", "onerror="),
        ("text/html", "<a href='java\nscript:f()'>", "javascript:"),
        ("text/html", "<a href='&#106;avascript:f()'>", "javascript:"),
        ("text/html", "<iframe srcdoc='x'>", "<iframe>"),
        ("text/markdown", "words <script>f()</script>", "<script>"),
        ("text/markdown", "[a](javascript:f())", "javascript:"),
        ("image/svg+xml", "<svg><script>f()</script></svg>", "<script>"),
        ("image/svg+xml", "<svg onload='f()'/>", "onload="),
        ("application/javascript", "f()", "application/javascript (allowed: text/plain, "),
        ("application/papermill.record/text/html", "<script>", "<script>"),
        ("application/vnd.jupyter.widget-view+json", "{}", "application/vnd.jupyter.widget-view+json"),
    ],
)
def test_what_would_run_in_a_browser_is_refused(kind: str, text: str, found: str) -> None:
    told = noise("x", notebook(new_output("display_data", data={kind: text})))
    assert told is not None
    assert told.startswith(f"chapter x, code cell 2 of 2: show(\n  displays {found}")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/html", "<table class='dataframe'><td><a href='a.html'>value on = 3, a < b</a></td></table>"),
        ("text/markdown", "| one = 1 | $a < b$ and `onset = 3` |"),
        ("text/plain", "<script>"),
        ("image/svg+xml", "<svg><metadata>x</metadata><path d='M 0 0'/></svg>"),
        ("application/papermill.record/text/plain", "0.5"),
    ],
)
def test_what_runs_nowhere_is_allowed(kind: str, text: str) -> None:
    assert noise("x", notebook(new_output("display_data", data={kind: text}))) is None


def test_a_figure_with_alt_text_and_caption_is_allowed() -> None:
    refuse_bare_figures("x", *figure(GOOD))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "without alt text .* and without caption"),
        ({"figure": GOOD["figure"]}, r"code cell 2 of 2: show\(\n  shows a figure without alt text"),
        ({"image": {"alt": " "}, "figure": GOOD["figure"]}, "without alt text"),
        ({"image": GOOD["image"]}, "without caption"),
        ({"image": GOOD["image"], "figure": {"name": "fig-line"}}, "without caption"),
    ],
)
def test_a_bare_figure_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BookError, match=message):
        refuse_bare_figures("x", *figure(settings))

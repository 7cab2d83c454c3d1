import json

import nbformat
import pytest
from nbformat import NotebookNode

from tools import interactive
from tools.errors import BookError


def cells(twin: str = "fig-a") -> list[NotebookNode]:
    """A static figure and a cell that shows its interactive twin."""
    static = nbformat.v4.new_code_cell("plot", metadata={"mystnb": {"figure": {"name": twin, "caption": "A."}}})
    spec = {"data": [], "frames": [], "layout": {"meta": {"figure": "fig-a"}, "title": {"text": "</script>"}}}
    output = nbformat.v4.new_output("execute_result", {interactive.MIME: spec, "text/plain": "interactive fig-a"})
    return [static, nbformat.v4.new_code_cell("show", outputs=[output])]


def test_the_place_is_on_the_page_and_the_data_beside_it() -> None:
    given = cells()
    scripts = interactive.place(given, "part/curve")
    html = given[1].outputs[0].data["text/html"]
    assert html == '<div class="interactive" data-figure="fig-a" data-id="fig-a" data-root="../interactive/"></div>'
    ((name, script),) = scripts.items()
    assert name == "fig-a.js"
    head, _, text = script.decode().partition(" = ")
    assert head == '(window.bookFigures ??= {})["fig-a"]'
    assert json.loads(text.rstrip(";\n"))["layout"]["meta"]["figure"] == "fig-a"


def test_a_page_at_the_root_finds_the_folder() -> None:
    given = cells()
    interactive.place(given, "curve")
    assert 'data-root="interactive/"' in given[1].outputs[0].data["text/html"]


def test_a_figure_without_a_static_twin_is_refused() -> None:
    with pytest.raises(BookError, match="'fig-a' has no static figure of that name"):
        interactive.place(cells(twin="fig-b"), "part/curve")


def test_a_page_without_interactive_figures_is_left_alone() -> None:
    given = cells()[:1]
    assert interactive.place(given, "part/curve") == {}

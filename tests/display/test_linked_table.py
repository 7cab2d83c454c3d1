import pytest

from icl_lib.display.linked_table import LinkedTable


def test_cells_lead_to_pages_and_the_rest_is_plain() -> None:
    table = LinkedTable("x", ["r"], ["a", "b"], {("r", "a"): "1 < 2", ("r", "b"): "3"}, {("r", "a"): "page.html"})
    shown = table._repr_html_()
    assert '<td><a href="page.html">1 &lt; 2</a></td><td>3</td>' in shown
    assert '<th scope="row">r</th>' in shown
    assert repr(table).splitlines() == ["| x | a | b |", "|:--|--:|--:|", "| r | 1 < 2 | 3 |"]


def test_a_missing_cell_is_empty() -> None:
    table = LinkedTable("", ["r"], ["a"], {}, {})
    assert "<td></td>" in table._repr_html_()
    assert "| r |  |" in table._repr_markdown_()


@pytest.mark.parametrize("name", ["cells", "links"])
def test_a_cell_outside_is_refused(name: str) -> None:
    given = {"cells": {("r", "a"): "1"}, "links": {}} | {name: {("r", "z"): "1"}}
    with pytest.raises(ValueError, match=f"{name} must lie in the table's rows and columns"):
        LinkedTable("", ["r"], ["a"], **given)

"""Pictures lose bytes and nothing that is seen."""

import re

import nbformat
from matplotlib import pyplot as plt
from nbformat.v4 import new_output

from tools import pictures
from tools.pictures import SVG, compact, compact_outputs

PICTURE = """<svg viewBox="0 0 5.67578 1">
 <g transform="scale(0.015625 -0.015625)">
  <path d="M 57.6123456 307.5844999
L -1.2 2034
z
" style="fill: #fff"/>
 </g>
 <text x="1.23456" y="2">a b</text>
</svg>
"""


def test_places_are_rounded_and_lines_joined_and_nothing_else() -> None:
    assert compact(PICTURE) == (
        '<svg viewBox="0 0 5.67578 1"><g transform="scale(0.015625 -0.015625)">'
        '<path d="M 57.612 307.584 L -1.2 2034 z" style="fill: #fff"/></g><text x="1.234" y="2">a b</text></svg>'
    )


def test_a_figure_keeps_all_its_parts() -> None:
    from io import StringIO

    figure, axes = plt.subplots()
    axes.plot([0, 1 / 3, 1], [0, 2 / 3, 1], "o-", label="a line")
    axes.legend()
    buffer = StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    before, after = buffer.getvalue(), compact(buffer.getvalue())
    assert len(after) < 0.9 * len(before)
    assert re.findall(r"<(\w+)", after) == re.findall(r"<(\w+)", before)
    assert re.findall(r'(?:transform|style|id|href)="[^"]*"', after) == re.findall(
        r'(?:transform|style|id|href)="[^"]*"', before
    )


def test_other_outputs_stay_as_they_are() -> None:
    text = new_output("display_data", {"text/plain": "1.23456789"})
    picture = new_output("display_data", {SVG: PICTURE, "text/plain": "figure"})
    shown = compact_outputs([text, picture])
    assert shown[0] is text
    assert shown[1].data == {SVG: compact(PICTURE), "text/plain": "figure"}
    assert picture.data[SVG] == PICTURE


def test_a_notebook_to_take_away_keeps_all_outputs_but_pictures() -> None:
    shown = {"image/svg+xml": "<svg/>", "image/png": "x", "text/plain": "<Figure>"}
    outputs = [
        nbformat.v4.new_output("display_data", data=shown),
        nbformat.v4.new_output("stream", text="said"),
        nbformat.v4.new_output("execute_result", data={"text/markdown": "| 1 |"}, execution_count=1),
    ]
    cells = [nbformat.v4.new_markdown_cell("# A"), nbformat.v4.new_code_cell("plot()", outputs=outputs)]
    made = nbformat.reads(pictures.left_out(nbformat.writes(nbformat.v4.new_notebook(cells=cells))), as_version=4)
    nbformat.validate(made)
    first, second, third = made.cells[1].outputs
    assert dict(first.data) == {"text/plain": "<Figure>"}
    assert second.text == "said"
    assert dict(third.data) == {"text/markdown": "| 1 |"}

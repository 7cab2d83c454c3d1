import importlib.resources
import json
import math
import re

import numpy
import plotly.graph_objects as go
import pytest

from icl_lib.display import figures, interactive
from icl_lib.display.interactive import Control, Interactive, State


def draw(n: int, query: str) -> State:
    """A curve that moves with both controls and one that never moves."""
    steps = numpy.arange(3)
    return State(
        [
            interactive.line(steps, n * steps / 3, "moves", **figures.SA),
            interactive.line(steps, steps + 1, "stays", panel=2, **figures.GD),
            interactive.shade(steps, numpy.ones((2, 3)) * n, figures.PALETTE["blue"], panel=2),
        ],
        f"n = {n}, {query}",
    )


def made(digits: int = 4) -> Interactive:
    layout = interactive.panels(("step", "loss"), ("step", "cosine"), yaxis={"type": "log"})
    controls = [Control("words n", (2, 5, 7), start=1), Control("query", ("held", "same"), ordered=False)]
    return interactive.figure("fig-test", controls, draw, layout, digits)


def test_plotly_accepts_every_part() -> None:
    spec = made().spec
    figure = go.Figure(data=spec["data"], layout=spec["layout"], frames=spec["frames"])
    assert [frame.name for frame in figure.frames] == ["0,0", "0,1", "1,0", "1,1", "2,0", "2,1"]
    for trace in spec["data"]:
        assert not figure.add_trace(trace).data[-1].visible


def test_a_frame_holds_what_moves_and_nothing_else() -> None:
    spec = made().spec
    moves, stays, band = spec["frames"][4]["data"]
    assert moves == {"y": [0.0, 2.333, 4.667]}
    assert stays == {}
    assert set(band) == {"y"}
    assert spec["layout"]["meta"]["start"] == "1,0"
    assert spec["data"][0]["y"] == [0.0, 1.667, 3.333]


def test_the_start_of_the_slider_is_the_state_that_is_drawn() -> None:
    slider = made().spec["layout"]["sliders"][0]
    assert slider["steps"][slider["active"]]["args"][0] == ["1,0"]
    assert slider["steps"][slider["active"]]["label"] == "words n 5, query held"


def test_equal_numbers_are_equal_bytes_and_json() -> None:
    assert json.dumps(made().spec, sort_keys=True) == json.dumps(made().spec, sort_keys=True)
    assert json.loads(json.dumps(made().spec, allow_nan=False)) == made().spec


def test_the_line_of_text_tells_a_changed_number() -> None:
    assert repr(made()) == "interactive fig-test: 6 settings, 3 traces, 54 numbers that move, mean size ≈ 3.630"
    assert repr(made(digits=1)) != repr(made())
    assert made()._repr_mimebundle_()["text/plain"] == repr(made())


def test_gaps_are_null_and_numbers_keep_the_digits_asked_for() -> None:
    def one(n: int) -> State:
        return State([interactive.line([0.0, 1.0], [math.nan, n / 3])], "")

    spec = interactive.figure("fig-gap", [Control("n", (1, 2))], one, interactive.panels(("x", "y")), digits=2).spec
    assert spec["data"][0]["y"] == [None, 0.33]


def test_a_shade_is_the_mean_and_one_standard_deviation() -> None:
    values = numpy.array([[1.0, 2.0], [3.0, 2.0], [5.0, 5.0]])
    shade = interactive.shade([0, 1], values, "#0072B2")
    spread = values.std(0, ddof=1)
    assert numpy.allclose(shade["y"], [*(3 + spread), *(3 - spread)[::-1]])
    assert shade["fillcolor"] == "rgba(0,114,178,0.2)"


def test_the_scales_known_by_name_are_those_of_the_script() -> None:
    folder = importlib.resources.files("plotly") / "package_data"
    script = (folder / "plotly.min.js").read_text()
    names = set(re.findall(r"\b(\w+):\[\[0,\"", script)) - {"dflt"}
    assert names == interactive.NAMED_SCALES


@pytest.mark.parametrize("where", ["trace", "marker"])
def test_a_scale_that_the_script_does_not_know_is_refused(where: str) -> None:
    def one(scale: object) -> Interactive:
        trace = interactive.line([0], [1])
        trace |= {"colorscale": scale} if where == "trace" else {"marker": {"colorscale": scale}}
        return interactive.figure("f", [Control("n", (1,))], lambda n: State([trace], ""), {})

    with pytest.raises(ValueError, match=r"colorscale must be .* got 'PuOr'"):
        one("PuOr")
    assert one("Cividis").spec["data"]
    assert one(interactive.SIGNED).spec["data"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Control("", (1,)), "label must be a text"),
        (lambda: Control("n", ()), "values must hold at least one"),
        (lambda: Control("n", (1, 2), start=2), "start must be"),
        (lambda: interactive.figure("f", [], lambda: State([], ""), {}), "controls must hold at least one"),
        (lambda: interactive.panels(), "titles must hold at least one"),
        (lambda: interactive.panels(("x", "y"), zaxis={}), "axes must be among"),
        (lambda: interactive.axes_of(0), "panel must be"),
        (
            lambda: interactive.figure(
                "f", [Control("n", (1, 2))], lambda n: State([interactive.line([0], [0])] * n, ""), {}
            ),
            "equally many traces",
        ),
    ],
)
def test_bad_input_is_told(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]

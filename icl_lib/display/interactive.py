"""Figures that a reader can move: the twin of a static figure, with a frame for each setting of its controls.

A figure is plain data in plotly's form, so that a chapter runs without plotly and equal numbers are equal bytes. On the
site a script draws it in the place of the static figure, with controls of the page itself; in JupyterLab plotly's own
extension shows it with a slider.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import ArrayLike

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_instance, check_integer
from icl_lib.statistics import rounded

MIME = "application/vnd.plotly.v1+json"
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
GAP = 0.16
# A scale for what has a sign, from below zero to above it: orange, nearly white, violet, each light enough to carry
# black text. The page darkens it with the theme.
SIGNED = [[0.0, "#F1A340"], [0.5, "#F7F7F7"], [1.0, "#998EC3"]]
# The scales that plotly's script knows by name, fewer than its Python package does.
NAMED_SCALES = frozenset(
    [
        *("Blackbody", "Bluered", "Blues", "Cividis", "Earth", "Electric", "Greens", "Greys", "Hot", "Jet", "Picnic"),
        *("Portland", "Rainbow", "RdBu", "Reds", "Viridis", "YlGnBu", "YlOrRd"),
    ]
)
Trace = dict[str, Any]


@dataclass(frozen=True)
class Control:
    """What the reader sets: its `values` in the order shown, along a slider or, if not `ordered`, in a list."""

    label: str
    values: tuple[Any, ...]
    start: int = 0
    ordered: bool = True

    def __post_init__(self) -> None:
        check_instance("label", self.label, str)
        check_instance("values", self.values, tuple)
        check_instance("ordered", self.ordered, bool)
        if not self.label.strip():
            raise ValueError(f"label must be a text that is not empty, got {self.label!r}")
        if not self.values:
            raise ValueError("values must hold at least one value, got none")
        check_integer("start", self.start, 0, len(self.values) - 1)


@dataclass(frozen=True)
class State:
    """What is drawn for one setting: the same `traces` in the same order for every setting, and a `note` in words."""

    traces: list[Trace]
    note: str


@dataclass(frozen=True)
class Interactive:
    """The twin of the static figure `name`; shows itself in a notebook and tells its numbers in one line of text."""

    name: str
    spec: Mapping[str, Any]

    def __repr__(self) -> str:
        frames = self.spec["frames"]
        numbers = [abs(v) for frame in frames for v in _numbers([_coordinates(t) for t in frame["data"]])]
        mean = math.fsum(numbers) / len(numbers) if numbers else 0.0
        return (
            f"interactive {self.name}: {len(frames)} settings, {len(self.spec['data'])} traces, "
            f"{len(numbers)} numbers that move, mean size {rounded(mean)}"
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {MIME: dict(self.spec), "text/plain": repr(self)}


@checked(result="any")
def figure(
    name: str,
    controls: Sequence[Control],
    draw: Callable[..., State],
    layout: Mapping[str, Any],
    digits: int = 4,
) -> Interactive:
    """One frame for each combination of the controls' values, from `draw(*values)`; numbers to `digits` digits.

    A frame holds what differs between frames. A marker's `customdata` is the setting to which a click on it goes, one
    place for each control and None for a control that stays. Raises `ValueError` where there is no control, where the
    number of traces depends on the setting, or for a colour scale by a name that plotly's script does not know: it
    would draw another without a word.
    """
    if not controls:
        raise ValueError("controls must hold at least one control, got none")
    check_integer("digits", digits, 1)
    places = list(itertools.product(*(range(len(control.values)) for control in controls)))
    states = [draw(*(c.values[k] for c, k in zip(controls, place, strict=True))) for place in places]
    drawn = [[_plain(trace, digits) for trace in state.traces] for state in states]
    if len({len(traces) for traces in drawn}) > 1:
        raise ValueError(f"draw must give equally many traces for every setting, got {[len(t) for t in drawn]}")
    for trace in itertools.chain.from_iterable(drawn):
        _check_scale(trace)
        _check_scale(trace.get("marker", {}))
    start = places.index(tuple(control.start for control in controls))
    moving = [_moving([traces[k] for traces in drawn]) for k in range(len(drawn[0]))]
    names = [",".join(map(str, place)) for place in places]
    frames = [
        {
            "name": at,
            "data": [
                {key: trace[key] for key in keys if key in trace} for trace, keys in zip(one, moving, strict=True)
            ],
            "traces": list(range(len(one))),
            "layout": {"title": {"text": state.note}},
        }
        for at, one, state in zip(names, drawn, states, strict=True)
    ]
    given = [{"label": c.label, "values": [str(v) for v in c.values], "ordered": c.ordered} for c in controls]
    meta = {"figure": name, "controls": given, "start": names[start]}
    full = {
        **_plain(layout, digits),
        "title": {"text": states[start].note, "font": {"size": 13}, "y": 0.98, "yref": "container", "yanchor": "top"},
        "meta": meta,
        "sliders": [_slider(controls, names, places, start)],
    }
    return Interactive(name, {"data": drawn[start], "layout": full, "frames": frames})


def _check_scale(part: Trace) -> None:
    name = part.get("colorscale")
    if isinstance(name, str) and name not in NAMED_SCALES:
        raise ValueError(f"colorscale must be pairs (place, colour) or among {sorted(NAMED_SCALES)}, got {name!r}")


def _slider(controls: Sequence[Control], names: list[str], places: list[tuple[int, ...]], start: int) -> Trace:
    """One slider over all settings, for JupyterLab: plotly's sliders cannot be combined."""
    at_once = {"mode": "immediate", "transition": {"duration": 0}, "frame": {"duration": 0, "redraw": True}}
    steps = [
        {
            "label": ", ".join(f"{c.label} {c.values[k]}" for c, k in zip(controls, place, strict=True)),
            "method": "animate",
            "args": [[name], at_once],
        }
        for name, place in zip(names, places, strict=True)
    ]
    return {"active": start, "steps": steps, "pad": {"t": 40}, "ticklen": 0, "font": {"color": "rgba(0,0,0,0)"}} | {
        "currentvalue": {"font": {"color": "#444444"}}
    }


def panels(*titles: tuple[str, str], height: int = 340, **axes: Mapping[str, Any]) -> dict[str, Any]:
    """The layout of panels side by side, one for each pair of axis titles (x, y).

    Further keywords (`yaxis={"type": "log"}`, `xaxis2=…`) go into the axes of that name. The site stacks the panels
    on a narrow screen.
    """
    if not titles:
        raise ValueError("titles must hold at least one pair of axis titles, got none")
    width = (1 - GAP * (len(titles) - 1)) / len(titles)
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 60, "r": 10, "t": 90, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "plot_bgcolor": "rgba(0,0,0,0)",
        "paper_bgcolor": "white",
    }
    for k, (x, y) in enumerate(titles):
        number = "" if k == 0 else str(k + 1)
        left = k * (width + GAP)
        layout[f"xaxis{number}"] = {"title": {"text": x}, "domain": [left, left + width], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {"title": {"text": y}, "anchor": f"x{number}"}
    for axis, settings in axes.items():
        if axis not in layout:
            raise ValueError(f"axes must be among {[n for n in layout if n[1:5] == 'axis']}, got {axis!r}")
        layout[axis] |= settings
    return layout


def line(x: ArrayLike, y: ArrayLike, name: str | None = None, panel: int = 1, **style: Any) -> Trace:
    """A curve in a panel, counted from 1: `color` and `linestyle` as `figures` has them, or plotly's own keys."""
    look = {"color": style.pop("color", None), "dash": DASHES[style.pop("linestyle", "-")]}
    named: Trace = {"showlegend": False} if name is None else {"name": name}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": look, **axes_of(panel), **named, **style}


def shade(x: ArrayLike, values: ArrayLike, color: str, panel: int = 1) -> Trace:
    """Mean ± 1 standard deviation over repetitions as an area. `values` (repetition, x)."""
    array = numpy.asarray(values, dtype=float)
    mean, spread = array.mean(0), array.std(0, ddof=1) if len(array) > 1 else 0 * array[0]
    along = numpy.asarray(x, dtype=float)
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": numpy.concatenate([along, along[::-1]]),
        "y": numpy.concatenate([mean + spread, (mean - spread)[::-1]]),
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.2)",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        **axes_of(panel),
    }


@checked()
def arrow(start: Sequence[float], end: Sequence[float], name: str, color: str, panel: int = 1) -> Trace:
    """An arrow from a point to another."""
    for name, point in (("start", start), ("end", end)):
        if len(point) != 2:
            raise ValueError(f"{name} must have two coordinates, got {list(point)}")
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [start[0], end[0]],
        "y": [start[1], end[1]],
        "name": name,
        "line": {"color": color, "width": 3},
        "marker": {"symbol": "arrow", "angleref": "previous", "size": [0, 16], "color": color, "line": {"width": 0}},
        **axes_of(panel),
    }


@checked()
def axes_of(panel: int) -> dict[str, str]:
    """The axes of a panel, counted from 1."""
    check_count("panel", panel)
    return {} if panel == 1 else {"xaxis": f"x{panel}", "yaxis": f"y{panel}"}


def _plain(value: Any, digits: int) -> Any:
    """Lists, dicts, texts and numbers; floats rounded, what is not finite left out as a gap."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part, digits) for key, part in value.items() if part is not None}
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, float | numpy.floating):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, numpy.integer):
        return int(value)
    if isinstance(value, list | tuple | range):
        return [_plain(part, digits) for part in value]
    return None if value is None else _plain(numpy.asarray(value).tolist(), digits)


def _moving(versions: list[Trace]) -> list[str]:
    """The keys of a trace that differ between settings."""
    keys = sorted({key for version in versions for key in version})
    return [key for key in keys if any(version.get(key) != versions[0].get(key) for version in versions)]


def _coordinates(trace: Trace) -> list[Any]:
    return [trace[key] for key in ("x", "y", "z") if key in trace]


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []

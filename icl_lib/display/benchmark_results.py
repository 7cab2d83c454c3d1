"""The recorded benchmarks as tables and plots: read from a file, never measured by the book."""

import json
from pathlib import Path
from typing import Any

import numpy
import pandas
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from icl_lib.display.figures import PALETTE
from icl_lib.running.digest import module_digest
from icl_lib.running.places import checkout
from icl_lib.running.validation import check_choice

# The record of a training at the scale of the second paper's authors.
AUTHORS_TRAINING = "trainings/authors"
# The record of the heads of a trained sentence encoder.
MODEL_HEADS = "models/all-minilm-l6-v2"
STYLES = {
    "this library": {"color": PALETTE["blue"], "linestyle": "-"},
    "floor": {"color": PALETTE["grey"], "linestyle": ":"},
    "loop over repetitions": {"color": PALETTE["orange"], "linestyle": "--"},
    "n × n attention": {"color": PALETTE["purple"], "linestyle": "-."},
}
# Where lines carry their names: the panel, and how far above the line's first point.
LABELLED = {
    "n": {"n × n attention": 56},
    "d": {"loop over repetitions": 24, "this library": 6, "floor": -13},
}
SWEEPS = {"n": "words n", "d": "dimensions d", "batch": "tasks a step", "repetitions": "repetitions"}


def load(name: str) -> dict[str, Any]:
    """The record `benchmarks/results/<name>.json` of the checkout.

    Raises `ValueError` for a name that is not recorded.
    """
    folder = checkout() / "benchmarks" / "results"
    path = folder / f"{name}.json"
    if not path.is_file():
        recorded = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
        raise ValueError(f"name must be a recorded result ({recorded}), got {name!r}")
    record: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return record


def code_of_a_step() -> str:
    """Digest of the modules that compute a training step: a record is out of date where it has another."""
    return module_digest("icl_lib.softmax_regression.closeness")


def code_of_a_training() -> str:
    """The same of the second paper's trainings."""
    return module_digest("icl_lib.classification.closeness")


def code_of_model_heads() -> str:
    """The same of what is measured of a trained model's heads."""
    return module_digest("icl_lib.classification.model_heads")


def rows(record: dict[str, Any]) -> pandas.DataFrame:
    """One row a contestant and race: sizes, `seconds` a step and `ratio`, each with `_low` and `_high`."""
    frame = pandas.json_normalize(record["rows"], sep="_")
    return frame.rename(columns={"seconds_median": "seconds", "ratio_median": "ratio"})


def main_table(record: dict[str, Any], **setting: object) -> pandas.DataFrame:
    """The contestants at the main size: milliseconds a step and the ratio to this library, with their spread."""
    frame = rows(record)
    frame = frame[frame.sweep == "main"]
    for name, value in setting.items():
        frame = frame[frame[name] == value]
    milliseconds = [_spread(1e3 * r.seconds, 1e3 * r.seconds_low, 1e3 * r.seconds_high) for r in frame.itertuples()]
    ratios = [_spread(r.ratio, r.ratio_low, r.ratio_high) for r in frame.itertuples()]
    return pandas.DataFrame({"who": frame.contestant, "ms a step": milliseconds, "time / this library's": ratios})


def _spread(middle: float, low: float, high: float) -> str:
    return f"{_three_digits(middle)} ({_three_digits(low)}–{_three_digits(high)})"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def seconds(record: dict[str, Any], contestant: str, **setting: object) -> float:
    """The median of one contestant's seconds a step at one setting.

    Raises `ValueError` where no race, or more than one, has these sizes.
    """
    return float(_race(record, contestant, setting).seconds)


def ratio(record: dict[str, Any], contestant: str, **setting: object) -> float:
    """The median over rounds of one contestant's time over this library's, at one setting. Raises as `seconds`."""
    return float(_race(record, contestant, setting).ratio)


def apart(record: dict[str, Any], contestant: str) -> dict[str, float]:
    """One contestant's time over this library's, each in a fresh process at the main size: median, low and high.

    Raises `ValueError` for a contestant that was not timed so.
    """
    found = {row["contestant"]: row["ratio"] for row in record["apart"]}
    check_choice("contestant", contestant, tuple(found))
    ratio: dict[str, float] = found[contestant]
    return ratio


def _race(record: dict[str, Any], contestant: str, setting: dict[str, object]) -> pandas.Series:
    frame = rows(record)
    for name, value in {"contestant": contestant, **setting}.items():
        frame = frame[frame[name] == value]
    if len(frame) != 1:
        raise ValueError(f"setting must name one race of {contestant!r}, got {setting} with {len(frame)}")
    return frame.iloc[0]


def growth_figure(record: dict[str, Any]) -> Figure:
    """Seconds a step against each size, the others as in the main race; shades span the spread over rounds."""
    frame = rows(record)
    figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.4), sharey=True)
    for axes, (sweep, label) in zip(panels.flat, SWEEPS.items(), strict=True):
        points = frame[frame.sweep == sweep]
        for contestant, style in STYLES.items():
            line = points[points.contestant == contestant].sort_values(sweep)
            axes.plot(line[sweep], line.seconds, marker="o", markersize=3, label=contestant, **style)
            axes.fill_between(line[sweep], line.seconds_low, line.seconds_high, color=style["color"], alpha=0.2)
        axes.set(xscale="log", yscale="log", xlabel=label)
        values = sorted(set(points[sweep]))
        if values and values[-1] < 100 * values[0]:
            # Too few powers of ten for Matplotlib's own ticks to be told apart.
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
        for contestant, height in LABELLED.get(sweep, {}).items():
            line = points[points.contestant == contestant].sort_values(sweep)
            for first in line.head(1).itertuples():
                place = (getattr(first, sweep), first.seconds)
                color = STYLES[contestant]["color"]
                axes.annotate(contestant, place, (2, height), textcoords="offset points", color=color, fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("seconds a step")
    return figure


def slope(record: dict[str, Any], sweep: str, above: float) -> float:
    """The exponent of this library's time in a size, from its least value not below `above` to the largest."""
    frame = rows(record)
    points = frame[(frame.sweep == sweep) & (frame.contestant == "this library") & (frame[sweep] >= above)]
    first, last = points.loc[points[sweep].idxmin()], points.loc[points[sweep].idxmax()]
    return float(numpy.log(last.seconds / first.seconds) / numpy.log(last[sweep] / first[sweep]))


def memory_table(record: dict[str, Any]) -> pandas.DataFrame:
    """Megabytes that a few training steps add to an idle process, for each contestant over n."""
    frame = pandas.DataFrame(record["memory"]).pivot(index="n", columns="contestant", values="megabytes")
    told = frame.map(lambda megabytes: "not run" if numpy.isnan(megabytes) else f"{megabytes:.0f}")
    return told.rename(columns=lambda name: f"{name}, MB").reset_index()


def solvers_table(record: dict[str, Any]) -> pandas.DataFrame:
    """Milliseconds that each solver takes for all problems of a length."""
    frame = pandas.DataFrame(record["solvers"])
    frame["ms"] = [f"{1e3 * spread['median']:.3g}" for spread in frame.seconds]
    return frame.pivot(index="n", columns="solver", values="ms").add_suffix(", ms").reset_index()


def classification_table(record: dict[str, Any]) -> pandas.DataFrame:
    """Milliseconds a step and the ratio to drawing the contexts, for each kind of attention."""
    frame = rows(record)
    frame = frame[frame.sweep == "classification"]
    milliseconds = [_spread(1e3 * r.seconds, 1e3 * r.seconds_low, 1e3 * r.seconds_high) for r in frame.itertuples()]
    ratios = [_spread(r.ratio, r.ratio_low, r.ratio_high) for r in frame.itertuples()]
    return pandas.DataFrame(
        {"attention": frame.kind, "what": frame.contestant, "ms a step": milliseconds, "time / its data's": ratios}
    )


AUTHORS_PARTS = {
    "contexts": "drawing the contexts",
    "linear": "a whole update, linear attention",
    "softmax": "a whole update, softmax attention",
}
NOT_RECORDED = "not recorded"


def authors_table(record: dict[str, Any]) -> pandas.DataFrame:
    """Milliseconds at the authors' size, of this library and of their way, and the ratio; words where not recorded."""
    frame = rows(record)
    found = []
    for part, told in AUTHORS_PARTS.items():
        line = {"what": told, "this library, ms": NOT_RECORDED, "the authors' way, ms": NOT_RECORDED}
        for r in frame[(frame.sweep == "authors") & (frame.get("part") == part)].itertuples():
            column = "this library, ms" if r.contestant == "this library" else "the authors' way, ms"
            line[column] = _spread(1e3 * r.seconds, 1e3 * r.seconds_low, 1e3 * r.seconds_high)
        found.append({**line, "time / this library's": authors_ratio(record, part)})
    return pandas.DataFrame(found)


def authors_ratio(record: dict[str, Any], part: str) -> str:
    """The time of a part in the authors' way over this library's, median over rounds, in words where not recorded.

    Raises `ValueError` for an unknown part.
    """
    check_choice("part", part, tuple(AUTHORS_PARTS))
    frame = rows(record)
    theirs = frame[(frame.sweep == "authors") & (frame.get("part") == part) & (frame.contestant != "this library")]
    return _three_digits(theirs.iloc[0].ratio) if len(theirs) else NOT_RECORDED

"""The book's look: one style, one palette, and the plot forms that recur."""

import numbers
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy
import pandas
from cycler import cycler
from IPython import get_ipython
from IPython.display import Markdown
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from icl_lib.running.places import output_file
from icl_lib.running.validation import check_choice
from icl_lib.statistics import Measurement

# Okabe and Ito's colours, in an order whose greys differ too; each comes with a line style of its own.
PALETTE = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "yellow": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#666666",
    "black": "#000000",
}
# What a model is drawn in, everywhere in the book.
SA = {"color": PALETTE["blue"], "linestyle": "-"}
GD = {"color": PALETTE["orange"], "linestyle": "--"}
UNIFORM = {"color": PALETTE["grey"], "linestyle": ":"}


def use_style() -> None:
    """Set the book's style for this notebook: vector figures, white ground, the palette, quiet axes.

    With `ICL_PICTURES=off` figures are made but not drawn, for a run of which only the text is looked at.
    Raises `ValueError` for another value of the variable than on and off.
    """
    drawn = os.environ.get("ICL_PICTURES") or "on"
    check_choice("ICL_PICTURES", drawn, ("on", "off"))
    matplotlib.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": 100,
            "figure.figsize": (7.2, 3.4),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "lines.linewidth": 1.6,
            "axes.prop_cycle": cycler(color=[c for name, c in PALETTE.items() if name != "black"]),
            "axes.formatter.use_mathtext": True,
            # Same bytes at every build.
            "svg.hashsalt": "icl",
            "svg.fonttype": "path",
        }
    )
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats(*["svg"] * (drawn == "on"), metadata={"Date": None, "Creator": None})


def band(ax: Axes, x: ArrayLike, values: ArrayLike, label: str | None = None, **style: Any) -> None:
    """Mean over repetitions as a line, ± 1 standard deviation as a shade. `values` (repetition, x)."""
    array = numpy.asarray(values, dtype=float)
    mean, spread = array.mean(0), array.std(0, ddof=1) if len(array) > 1 else 0 * array[0]
    (line,) = ax.plot(x, mean, label=label, **style)
    ax.fill_between(numpy.asarray(x), mean - spread, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0)


def closeness_panels(results: Mapping[str, Any]) -> Figure:
    """Losses, differences and cosine over training: one row of three panels for each labelled result.

    A result has `step` and arrays (repetition, step) under the names of a closeness result.
    """
    figure, rows = plt.subplots(len(results), 3, figsize=(7.4, 2.3 * len(results) + 0.3), squeeze=False, sharex=True)
    for (label, result), (losses, differences, cosine) in zip(results.items(), rows, strict=True):
        for name, text, style in (
            ("loss_uniform", "uniform", UNIFORM),
            ("loss_gd", "GD step", GD),
            ("loss_sa", "trained SA", SA),
        ):
            band(losses, result.step, result[name], text, **style)
        band(differences, result.step, result.preds_diff, "Preds Diff", color=PALETTE["blue"])
        band(differences, result.step, result.model_diff, "Model Diff", color=PALETTE["orange"], linestyle="--")
        differences.axhline(float(result.gd_shift.mean()), label="length of the GD step", **UNIFORM)
        band(cosine, result.step, result.model_cos, color=PALETTE["green"])
        losses.set(ylabel=f"{label}\nloss", yscale="log")
        differences.set(ylabel="difference", ylim=(0, None))
        cosine.set(ylabel="Model Cos", ylim=(min(-0.05, float(result.model_cos.min())), 1.05))
    for axes in rows[-1]:
        axes.set_xlabel("training step")
    for axes in rows[0][:2]:
        # Above the panel: inside it no corner stays free for every (n, d).
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def loss_panels(results: Mapping[tuple[str, str], Mapping[int, Any]], axis: str) -> Figure:
    """Losses after training against a parameter: one panel for each (row label, column label).

    A panel maps the parameter's values to closeness results; `axis` names the parameter.
    """
    rows = list(dict.fromkeys(row for row, _ in results))
    columns = list(dict.fromkeys(column for _, column in results))
    figure, panels = plt.subplots(
        len(rows), len(columns), figsize=(7.2, 2.4 * len(rows) + 0.5), squeeze=False, sharex=True, sharey="row"
    )
    for (row, column), panel in results.items():
        axes = panels[rows.index(row)][columns.index(column)]
        for name, text, style in (
            ("loss_uniform", "uniform", UNIFORM),
            ("loss_gd", "GD step", GD),
            ("loss_sa", "trained SA", SA),
        ):
            values = numpy.stack([result[name].isel(step=-1) for result in panel.values()], axis=-1)
            band(axes, list(panel), values, text, marker="o", markersize=3, **style)
        axes.set(title=f"{row}, {column} query", yscale="log")
    for axes in panels[-1]:
        axes.set_xlabel(axis)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss")
    panels[0][-1].legend(fontsize=8, loc="lower left", bbox_to_anchor=(1, 0.5))
    return figure


def save_data(name: str, frame: pandas.DataFrame) -> None:
    """Write the data of figure `name` as `data/<name>.csv` under the output folder: tidy, one header line.

    A `Measurement` is written as its value; a standard error has a column of its own.
    """
    path = output_file("data", name, ".csv")
    plain = frame.map(lambda value: value.value if isinstance(value, Measurement) else value)
    plain.to_csv(path, encoding="utf-8", index=False, float_format="%.9g", lineterminator="\n")


def tell(prefix: str, **told: Measurement | int | str) -> None:
    """Hand numbers and words to the prose as `<prefix>-<name>`, underscores as dashes: {glue:text}`<prefix>-<name>`.

    Raises `TypeError` for a bare float, which does not say how well it is known: a trained or drawn number is a
    `Measurement` with its error or scale, a closed form one without.
    """
    from myst_nb import glue

    for name, value in told.items():
        if isinstance(value, numpy.integer):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, Measurement | int | str):
            raise TypeError(f"{name} must be a Measurement, an int or a str, got {value!r} of {type(value).__name__}")
        glue(f"{prefix}-{name.replace('_', '-')}", value, display=False)


def table(
    frame: pandas.DataFrame,
    digits: int = 4,
    columns: Sequence[str] | None = None,
    exact: Collection[str] | None = (),
) -> Markdown:
    """A data frame as a table of the page; `columns` renames the headings.

    A `Measurement` is printed as it prints itself. Bare floats, to `digits` significant digits, are for the columns
    that `exact` names: parameters and closed forms (None: all columns). Raises `TypeError` for one elsewhere, which
    does not say how well it is known, and `ValueError` for a name in `exact` that is no column.
    """
    if exact is not None and (unknown := set(exact) - set(frame.columns)):
        raise ValueError(f"exact must name columns of {list(frame.columns)}, got {sorted(unknown)}")
    for name in frame.columns:
        if exact is not None and name not in exact and any(_is_float(value) for value in frame[name]):
            raise TypeError(f"column {name!r} holds bare floats: give each as a Measurement, or name it in exact")
    headings = list(columns) if columns is not None else [str(name) for name in frame.columns]
    rows = [[_cell(value, digits) for value in row] for row in frame.itertuples(index=False)]
    numeric = [all(isinstance(value, numbers.Real | Measurement) for value in frame[name]) for name in frame.columns]
    lines = [headings, ["--:" if right else ":--" for right in numeric], *rows]
    # A bar in a cell would end the cell, and the table would be no table any more.
    escaped = [[text.replace("|", r"\|") for text in line] for line in lines]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in escaped))


def _is_float(value: object) -> bool:
    return isinstance(value, float | numpy.floating)


def _cell(value: object, digits: int) -> str:
    return f"{value:.{digits}g}" if _is_float(value) else str(value)

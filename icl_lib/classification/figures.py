"""Plot forms of the chapters on classification."""

import math
from collections.abc import Mapping, Sequence

import numpy
import pandas
import xarray
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from icl_lib.display.figures import GD, PALETTE, SA, UNIFORM, band

# One colour and one marker for each class, so that a class is told without colour too.
CLASS_COLOURS = [PALETTE[name] for name in ("blue", "orange", "green", "yellow", "purple", "sky", "grey", "black")]
CLASS_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def closeness_figure(result: xarray.Dataset, frame: pandas.DataFrame, layer: str, step: str) -> Figure:
    """Above: losses, the two differences and the cosine over training. Below: layer against step by context.

    `frame` is a `scatter_table`; dotted lines are its means.
    """
    figure, (above, below) = plt.subplots(2, 3, figsize=(7.4, 5.2))
    _over_training(above, result, layer, step)
    sa, gd = (frame[frame.model == model] for model in ("sa", "gd"))
    titles = {"loss": "loss", "probability": "probability of the right class", "entropy": "entropy"}
    for (name, title), axes in zip(titles.items(), below, strict=True):
        x, y = gd[name].to_numpy(), sa[name].to_numpy()
        top = max(x.max(), y.max())
        axes.plot([0, top], [0, top], color=PALETTE["grey"], linewidth=0.8)
        axes.scatter(x, y, s=6, alpha=0.5, color=PALETTE["blue"], linewidth=0)
        axes.axvline(x.mean(), color=PALETTE["orange"], linestyle=":")
        axes.axhline(y.mean(), color=PALETTE["blue"], linestyle=":")
        axes.set(title=title, xlabel=step)
    below[0].set_ylabel(layer)
    return figure


def _over_training(panels: Sequence[Axes], result: xarray.Dataset, layer: str, step: str) -> None:
    losses, differences, cosine = panels
    band(
        losses, result.step, numpy.full((1, result.sizes["step"]), math.log(int(result.classes))), "uniform", **UNIFORM
    )
    band(losses, result.step, result.loss_gd, step, **GD)
    band(losses, result.step, result.loss_sa, layer, **SA)
    band(differences, result.step, result.preds_diff, "Preds Diff", color=PALETTE["blue"])
    band(differences, result.step, result.model_diff, "Model Diff", color=PALETTE["orange"], linestyle="--")
    band(cosine, result.step, result.model_cos, color=PALETTE["green"])
    losses.set(ylabel="cross-entropy", ylim=(0, None))
    differences.set(ylabel="difference", yscale="log")
    cosine.set(ylabel="Model Cos", ylim=(min(-0.05, float(result.model_cos.min())), 1.05))
    for axes in (losses, differences):
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    for axes in panels:
        axes.set_xlabel("training step")


def published_figure(
    results: Mapping[int, xarray.Dataset], frames: Mapping[int, pandas.DataFrame], names: tuple[str, str]
) -> Figure:
    """The form of the paper's Figures 4 and 5: a row for each d with the three measures over training, then scatters.

    Scatters of single contexts, of `scatter_table`s: loss, probability of the right class, entropy, the layer on the
    abscissa and the step on the ordinate, dashed lines at the means. `names` are those of layer and step.
    """
    figure, rows = plt.subplots(
        len(results), 4, figsize=(7.6, 2.05 * len(results) + 0.5), squeeze=False, width_ratios=[1.5, 1, 1, 1]
    )
    titles = {"loss": "loss", "probability": "p of right class", "entropy": "entropy"}
    for place, ((d, result), row) in enumerate(zip(results.items(), rows, strict=True)):
        measures, *scatters = row
        band(measures, result.step, result.preds_diff, "Preds Diff", color=PALETTE["purple"])
        band(measures, result.step, result.model_diff, "Model Diff", color=PALETTE["yellow"], linestyle="--")
        band(measures, result.step, 1 - result.model_cos, "1 − Model Cos", color=PALETTE["green"], linestyle="-.")
        measures.set(yscale="log", ylabel=f"d = {d}")
        sa, gd = (frames[d][frames[d].model == model] for model in ("sa", "gd"))
        for (name, title), axes in zip(titles.items(), scatters, strict=True):
            _scatter(axes, sa[name].to_numpy(), gd[name].to_numpy())
            if place == 0:
                axes.set_title(title)
    rows[0][0].legend(fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=1)
    rows[-1][0].set_xlabel("training step")
    for axes in rows[-1][1:]:
        axes.set_xlabel(names[0])
    for row in rows:
        row[1].set_ylabel(names[1])
    return figure


def _scatter(axes: Axes, x: ArrayLike, y: ArrayLike) -> None:
    """Single contexts, layer against step, with the diagonal and the means."""
    sa, gd = numpy.asarray(x), numpy.asarray(y)
    ends = [min(sa.min(), gd.min(), 0), max(sa.max(), gd.max())]
    axes.plot(ends, ends, color=PALETTE["black"], linestyle="--", linewidth=0.7)
    axes.scatter(sa, gd, s=5, alpha=0.5, color=PALETTE["blue"], linewidth=0)
    axes.axvline(sa.mean(), color=PALETTE["grey"], linestyle="--", linewidth=0.9)
    axes.axhline(gd.mean(), color=PALETTE["grey"], linestyle="--", linewidth=0.9)


def circle(axes: Axes, x: ArrayLike, labels: Sequence[int], w: ArrayLike, query: ArrayLike | None = None) -> None:
    """A context in two dimensions: points by class on the unit circle, class vectors as arrows, the query a cross."""
    points, vectors, classes = numpy.asarray(x), numpy.asarray(w), numpy.asarray(labels)
    for c, vector in enumerate(vectors):
        chosen = classes == c
        colour, marker = CLASS_COLOURS[c % 8], CLASS_MARKERS[c % 8]
        axes.scatter(
            points[chosen, 0], points[chosen, 1], s=18, color=colour, marker=marker, linewidth=0, label=f"class {c + 1}"
        )
        axes.annotate("", 0.82 * vector, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.4})
    if query is not None:
        column = numpy.asarray(query)
        axes.scatter(column[0], column[1], s=70, color=PALETTE["black"], marker="x", zorder=3, label="query")
    axes.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.grid(False)


def map_of_differences(axes: Axes, frame: pandas.DataFrame, limit: float) -> None:
    """The (n, d) map: colour and number are linear − softmax, brackets where it is within 2 standard errors of 0."""
    table = frame.pivot(index="d", columns="n", values="difference")
    errors = frame.pivot(index="d", columns="n", values="standard_error")
    axes.imshow(table.to_numpy(), cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
    for row, d in enumerate(table.index):
        for column, n in enumerate(table.columns):
            value, error = table.loc[d, n], errors.loc[d, n]
            # Two digits would show a small loss as −.00.
            text = f"{value:+.{2 if abs(value) >= 0.01 else 3}f}".replace("0.", ".").replace("-", "−")
            shown = f"({text})" if abs(value) < 2 * error else text
            colour = "white" if abs(value) > 0.7 * limit else "black"
            axes.text(column, row, shown, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set(xlabel="context length n", ylabel="dimensions d")
    axes.set_xticks(range(len(table.columns)), [str(n) for n in table.columns])
    axes.set_yticks(range(len(table.index)), [str(d) for d in table.index])
    axes.grid(False)


def sphere(axes: Axes, x: ArrayLike, labels: Sequence[int]) -> None:
    """A context in three dimensions seen along the third axis; points of the far half are faint."""
    points, classes = numpy.asarray(x), numpy.asarray(labels)
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color=PALETTE["grey"], linewidth=0.8))
    for c in numpy.unique(classes):
        for near, alpha, size in ((False, 0.25, 10), (True, 1.0, 20)):
            chosen = (classes == c) & ((points[:, 2] > 0) == near)
            style = {"color": CLASS_COLOURS[c % 8], "marker": CLASS_MARKERS[c % 8], "linewidth": 0}
            axes.scatter(points[chosen, 0], points[chosen, 1], s=size, alpha=alpha, **style)
    axes.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.grid(False)


FORWARD_PASS = pandas.DataFrame(
    [
        ("tokens", "(x_j, y_j), (x_q, 0)", "(n+1) × (d+C)"),
        ("query, keys", "W_Q t_q, W_K t_j", "d+C, n × (d+C)"),
        ("scores", "⟨W_Q t_q, W_K t_j⟩", "n"),
        ("weights", "scores, or their softmax", "n"),
        ("update", "W_P Σ weight_j W_V t_j", "d+C"),
        ("logits", "last C entries", "C"),
        ("probabilities ŷ", "softmax over classes", "C"),
    ],
    columns=["array", "formula", "shape"],
)


def forward_pass() -> pandas.DataFrame:
    """Draw the forward pass of one head as boxes with shapes; return what the boxes say."""
    _, axes = plt.subplots(figsize=(7.4, 2.5))
    # Two rows: the eye goes along the first, then along the second.
    places = [(0.0, 1.0), (2.6, 1.0), (5.2, 1.0), (7.8, 1.0), (7.8, 0.0), (5.2, 0.0), (2.6, 0.0)]
    for k, ((left, bottom), row) in enumerate(zip(places, FORWARD_PASS.itertuples(index=False), strict=True)):
        colour = PALETTE["orange"] if row.array == "weights" else PALETTE["blue"]
        axes.add_patch(plt.Rectangle((left, bottom), 2.1, 0.7, fill=False, edgecolor=colour, linewidth=1.4))
        axes.text(left + 1.05, bottom + 0.55, row.array, ha="center", va="center", fontsize=9, weight="bold")
        axes.text(left + 1.05, bottom + 0.33, row.formula, ha="center", va="center", fontsize=7.5)
        axes.text(left + 1.05, bottom + 0.12, row.shape, ha="center", va="center", fontsize=7.5, color=PALETTE["grey"])
        if k:
            (x0, y0), down = places[k - 1], places[k - 1][0] == left
            start = (x0 + 1.05, y0) if down else ((x0 + 2.1 if left > x0 else x0), y0 + 0.35)
            end = (left + 1.05, bottom + 0.7) if down else ((left if left > x0 else left + 2.1), bottom + 0.35)
            axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": PALETTE["black"]})
    axes.set(xlim=(-0.1, 10.0), ylim=(-0.1, 1.8))
    axes.axis("off")
    return FORWARD_PASS

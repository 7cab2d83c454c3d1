"""Both papers' results in one picture, from the data that the chapters save."""

from collections.abc import Mapping
from typing import Any

import numpy
import pandas
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_lib.display.figures import GD, PALETTE, SA, band

# What linear and softmax attention are marked by, since colours belong to layer and step.
MARKERS = {"linear": "s", "softmax": "o"}


def draw(sizes: Mapping[int, pandas.DataFrame], steps: pandas.DataFrame, heads: pandas.DataFrame) -> Figure:
    """Left: the losses of paper 1 over d, a line for each length in `sizes`. Right: those of paper 2.

    A table of `sizes` has `d`, `repetition`, `loss_sa`, `loss_gd` and `loss_uniform`; `steps`, for one C and n, has
    `d`, `loss_linear` and `loss_softmax`; `heads` has `d`, `attention`, `repetition` and `loss_sa`, after training.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
    for n, table in sizes.items():
        _layer_and_step(left, table, labelled=n == max(sizes))
        last = table[table.d == table.d.max()]
        end = (table.d.max(), (last.loss_gd / last.loss_uniform).mean())
        left.annotate(f"n = {n}", end, xytext=(4, 0), textcoords="offset points")
    left.axhline(1, color=PALETTE["grey"], linestyle=":")
    left.set(title="softmax regression", xlabel="embedding size d", ylabel="loss / loss of the uniform prediction")
    left.set(ylim=(0, None))
    left.margins(x=0.12)
    for kind, marker in MARKERS.items():
        _heads_and_step(right, steps, heads[heads.attention == kind], kind, marker)
    title = f"classification, C = {steps.C.iloc[0]}, n = {steps.n.iloc[0]}"
    right.set(title=title, xlabel="dimensions d", ylabel="cross-entropy", ylim=(0, None))
    for axes in (left, right):
        axes.legend(fontsize=8, loc="best")
    return figure


def _layer_and_step(axes: Axes, table: pandas.DataFrame, *, labelled: bool) -> None:
    for name, text, style in (("loss_gd", "gradient step", GD), ("loss_sa", "trained layer", SA)):
        shares = table.assign(share=table[name] / table.loss_uniform).pivot(
            index="repetition", columns="d", values="share"
        )
        band(axes, shares.columns, shares.to_numpy(), text if labelled else None, marker="o", markersize=3, **style)


def _heads_and_step(axes: Axes, steps: pandas.DataFrame, heads: pandas.DataFrame, kind: str, marker: str) -> None:
    dimensions = sorted(set(steps.d))
    axes.set_xticks(range(len(dimensions)), [str(d) for d in dimensions])
    losses = [float(steps[steps.d == d][f"loss_{kind}"].iloc[0]) for d in dimensions]
    look: dict[str, Any] = {"color": GD["color"], "linestyle": GD["linestyle"], "marker": marker}
    axes.plot(
        numpy.arange(len(dimensions)), losses, markersize=6, markerfacecolor="white", label=f"{kind} step", **look
    )
    groups = [heads[heads.d == d].loss_sa.to_numpy() for d in dimensions]
    places = numpy.arange(len(dimensions)) + 0.12
    spreads = [each.std(ddof=1) if len(each) > 1 else 0.0 for each in groups]
    axes.errorbar(
        places, [each.mean() for each in groups], spreads, fmt=marker, markersize=4, color=SA["color"],
        label=f"trained {kind} head", capsize=2,
    )  # fmt: skip

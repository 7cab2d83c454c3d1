"""Figures of classification: what stands where."""

import numpy
import pandas
import xarray
from matplotlib import pyplot as plt

from icl_lib.classification.figures import published_figure


def test_the_published_form_has_a_row_for_each_dimension_and_the_layer_on_the_abscissa() -> None:
    measures = {
        name: (("repetition", "step"), numpy.full((2, 3), 0.5)) for name in ("preds_diff", "model_diff", "model_cos")
    }
    result = xarray.Dataset(measures, coords={"step": [0, 10, 20]})
    columns = {"loss": [0.1, 0.4], "probability": [0.9, 0.6], "entropy": [0.3, 0.8]}
    doubled = {name: [2 * value for value in values] for name, values in columns.items()}
    models = {"sa": columns, "gd": doubled}
    frame = pandas.concat(
        [pandas.DataFrame({"context": [0, 1], "model": name, **values}) for name, values in models.items()]
    )
    figure = published_figure({2: result, 5: result}, {2: frame, 5: frame}, ("SA", "GD"))
    assert len(figure.axes) == 8
    first, last = figure.axes[:4], figure.axes[4:]
    assert [axes.get_title() for axes in first[1:]] == ["loss", "p of right class", "entropy"]
    assert [axes.get_title() for axes in last] == [""] * 4
    assert [axes.get_xlabel() for axes in last] == ["training step", "SA", "SA", "SA"]
    assert first[1].get_ylabel() == "GD"
    assert first[1].collections[0].get_offsets().tolist() == [[0.1, 0.2], [0.4, 0.8]]
    plt.close(figure)

import numpy
import pandas
import pytest
from matplotlib import pyplot as plt

from icl_lib.display import glance


@pytest.fixture
def tables() -> tuple[dict[int, pandas.DataFrame], pandas.DataFrame, pandas.DataFrame]:
    """Two repetitions in two dimensions, at two lengths; two steps and two trainings of either head."""
    rows = [(d, r) for d in (2, 5) for r in (0, 1)]
    sizes = {
        n: pandas.DataFrame(
            {
                "d": [d for d, _ in rows], "repetition": [r for _, r in rows],
                "loss_sa": [n * d + r for d, r in rows], "loss_gd": [n * d for d, r in rows], "loss_uniform": 1000.0,
            }
        )
        for n in (25, 200)
    }  # fmt: skip
    steps = pandas.DataFrame({"C": 5, "n": 100, "d": [2, 5], "loss_linear": [0.4, 0.5], "loss_softmax": [0.1, 0.5]})
    heads = pandas.DataFrame(
        [(d, kind, r, d + r + (kind == "softmax")) for d in (2, 5) for kind in ("linear", "softmax") for r in (0, 1)],
        columns=["d", "attention", "repetition", "loss_sa"],
    )
    return sizes, steps, heads


def test_every_loss_is_drawn_where_its_table_says(tables: tuple[dict, pandas.DataFrame, pandas.DataFrame]) -> None:
    figure = glance.draw(*tables)
    left, right = figure.axes
    drawn = [list(line.get_ydata()) for line in left.lines]
    numpy.testing.assert_allclose(drawn[:4], [[0.05, 0.125], [0.0505, 0.1255], [0.4, 1.0], [0.4005, 1.0005]])
    assert [list(line.get_ydata()) for line in right.lines if line.get_label().endswith("step")] == [
        [0.4, 0.5],
        [0.1, 0.5],
    ]
    filled = {bars.get_label(): list(bars[0].get_ydata()) for bars in right.containers}
    assert filled == {"trained linear head": [2.5, 5.5], "trained softmax head": [3.5, 6.5]}
    names = [text.get_text() for axes in (left, right) for text in axes.get_legend().get_texts()]
    assert len(names) == len(set(names)) == 6
    plt.close(figure)


def test_a_single_training_has_no_spread(tables: tuple[dict, pandas.DataFrame, pandas.DataFrame]) -> None:
    sizes, steps, heads = tables
    figure = glance.draw(sizes, steps, heads[heads.repetition == 0])
    ends = [bars[2][0].get_segments() for bars in figure.axes[1].containers]
    assert numpy.allclose([segment[0] for some in ends for segment in some], [s[1] for some in ends for s in some])
    plt.close(figure)

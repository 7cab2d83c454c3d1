from collections.abc import Iterator
from pathlib import Path

import matplotlib
import nbclient
import nbformat
import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from numpy.typing import NDArray

from icl_lib.display import figures
from icl_lib.statistics import Measurement, rounded


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Axes]:
    """Axes of a figure that no window shows."""
    monkeypatch.setattr(matplotlib, "rcParams", matplotlib.rcParams.copy())
    figure = plt.figure()
    yield figure.add_subplot()
    plt.close(figure)


def corners(shade: Collection) -> NDArray[numpy.float64]:
    """The corners of a shaded area."""
    return numpy.asarray(shade.get_paths()[0].vertices)


def test_a_band_is_the_mean_and_one_standard_deviation(axes: Axes) -> None:
    values = numpy.array([[1.0, 2.0], [3.0, 2.0], [5.0, 5.0]])
    figures.band(axes, [0, 1], values, "name", **figures.SA)
    (line,), (shade,) = axes.get_lines(), axes.collections
    assert numpy.allclose(line.get_ydata(), [3, 3])
    lowest = corners(shade)[:, 1].min()
    assert lowest == pytest.approx(3 - values.std(0, ddof=1).max())
    assert colors.to_hex(numpy.asarray(shade.get_facecolor())[0]) == figures.SA["color"].lower()


def test_a_band_of_one_repetition_is_a_line(axes: Axes) -> None:
    figures.band(axes, [0, 1], [[1.0, 2.0]])
    assert set(corners(axes.collections[0])[:, 1].tolist()) == {1.0, 2.0}


def test_colours_of_the_palette_differ_in_grey_too() -> None:
    def grey(colour: str) -> float:
        return float(numpy.dot(colors.to_rgb(colour), [0.299, 0.587, 0.114]))

    drawn = [figures.SA, figures.GD, figures.UNIFORM]
    assert len({style["linestyle"] for style in drawn}) == len(drawn)
    assert len({round(grey(colour), 2) for colour in figures.PALETTE.values()}) > len(figures.PALETTE) - 2


def test_data_are_saved_tidily_to_nine_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_OUTPUT", str(tmp_path))
    frame = pandas.DataFrame({"step": [0, 20], "loss": [1 / 3, 1e-12], "model": ["SA", "GD"]}, index=[5, 6])
    figures.save_data("closeness-n5-d2-held", frame)
    text = (tmp_path / "data" / "closeness-n5-d2-held.csv").read_bytes().decode()
    assert text == "step,loss,model\n0,0.333333333,SA\n20,1e-12,GD\n"


def test_a_table_is_markdown_with_numbers_to_the_right() -> None:
    frame = pandas.DataFrame({"model": ["SA"], "loss": [0.123456], "n": [25]})
    assert (
        figures.table(frame, digits=3, exact=["loss"]).data
        == "| model | loss | n |\n| :-- | --: | --: |\n| SA | 0.123 | 25 |"
    )
    assert figures.table(frame, columns=["a", "b", "c"], exact=None).data.startswith("| a | b | c |")


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4), st.integers(1, 9))
def test_a_table_keeps_the_digits_asked_for(values: list[float], digits: int) -> None:
    rows = figures.table(pandas.DataFrame({"x": values}), digits=digits, exact=None).data.splitlines()[2:]
    for row, value in zip(rows, values, strict=True):
        assert float(row.strip("| ")) == pytest.approx(value, rel=10.0 ** (1 - digits), abs=1e-300)


def test_the_style_is_set_by_a_call_only() -> None:
    with matplotlib.rc_context():
        figures.use_style()
        assert matplotlib.rcParams["svg.hashsalt"] == "icl"
        assert matplotlib.rcParams["figure.facecolor"] == "white"
    assert matplotlib.rcParams["svg.hashsalt"] != "icl"


def test_pictures_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel, since only there does a figure show itself; the text that stands for it is as ever."""
    monkeypatch.setenv("ICL_PICTURES", "off")
    imports = "from matplotlib import pyplot as plt\nfrom icl_lib.display import figures\n"
    code = nbformat.v4.new_code_cell(f"{imports}figures.use_style()\nplt.subplots()\nplt.show()")
    notebook = nbformat.v4.new_notebook(cells=[code])
    (cell,) = nbclient.NotebookClient(notebook, kernel_name="python3").execute().cells
    (shown,) = (output.data for output in cell.outputs if output.output_type == "display_data")
    assert list(shown) == ["text/plain"]
    assert shown["text/plain"].startswith("<Figure size 720x340")


def test_another_word_for_pictures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_PICTURES", "no")
    with matplotlib.rc_context(), pytest.raises(ValueError, match="ICL_PICTURES must be one of 'on', 'off', got 'no'"):
        figures.use_style()


def test_a_bar_in_a_cell_ends_no_cell() -> None:
    shown = figures.table(pandas.DataFrame({"σ / |c|": [1.5], "name": ["a|b"]}), exact=None).data
    assert shown.splitlines() == [r"| σ / \|c\| | name |", "| --: | :-- |", r"| 1.5 | a\|b |"]


def test_a_table_prints_measurements_as_they_print_themselves() -> None:
    frame = pandas.DataFrame({"case": ["a", "b"], "rel": [Measurement(0.0161, 0.0077), rounded(0.5, 1.0)]})
    shown = figures.table(frame).data.splitlines()
    assert shown[1:] == ["| :-- | --: |", "| a | 0.0161 ± 0.0077 |", "| b | ≈ 0.500 |"]


def test_a_table_refuses_bare_floats() -> None:
    frame = pandas.DataFrame({"rate": [0.1], "loss": [0.2]})
    with pytest.raises(TypeError, match="column 'loss' holds bare floats"):
        figures.table(frame, exact=["rate"])
    with pytest.raises(ValueError, match=r"exact must name columns of .* got \['rates'\]"):
        figures.table(frame, exact=["rates"])


def test_what_is_told_says_how_well_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: told.update({name: value}))
    figures.tell("page", best_ratio=Measurement(1.0, 0.1), n=numpy.int64(3), where="n = 3")
    assert told == {"page-best-ratio": Measurement(1.0, 0.1), "page-n": 3, "page-where": "n = 3"}
    for value in (0.5, numpy.float32(0.5), True, None):
        with pytest.raises(TypeError, match="ratio must be a Measurement, an int or a str, got"):
            figures.tell("page", ratio=value)  # type: ignore[arg-type]


def test_data_of_measurements_are_their_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_OUTPUT", str(tmp_path))
    figures.save_data("a", pandas.DataFrame({"x": [Measurement(0.125, 0.1)], "n": [2]}))
    assert (tmp_path / "data" / "a.csv").read_text() == "x,n\n0.125,2\n"

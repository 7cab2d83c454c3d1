"""The figure of the first page."""

from pathlib import Path

import matplotlib
import pytest
from small_site import built

from tools.sphinx_ext.glance import PICTURE, picture

EXTENSIONS = ["tools.sphinx_ext.data", "tools.sphinx_ext.glance"]
SOURCE = ".. glance::\n   :alt: Two panels.\n\n   The two results."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What the chapters save of the two results, with more beside it."""
    folder = tmp_path / "_extra" / "data"
    folder.mkdir(parents=True)
    losses = "d,repetition,loss_sa,loss_gd,loss_uniform\n2,0,.2,.1,1\n2,1,.3,.1,1\n"
    (folder / "embedding-n25-held.csv").write_text(losses)
    (folder / "embedding-n25-same.csv").write_text("no table")
    (folder / "authors-fitted.csv").write_text("C,n,d,loss_linear,loss_softmax\n5,100,2,.4,.1\n2,10,2,9,9\n")
    for kind in ("linear", "softmax"):
        head = "repetition,step,loss_sa\n0,0,9\n0,7,.5\n1,0,9\n1,7,.7\n"
        (folder / f"classification-C5-n100-d2-{kind}.csv").write_text(head)
        (folder / f"classification-C2-n100-d2-{kind}.csv").write_text("no table")
    return folder


def test_the_figure_stands_on_the_page_with_its_caption(data: Path, tmp_path: Path) -> None:
    page, told = built(tmp_path, SOURCE, [], EXTENSIONS)
    assert not told
    assert 'alt="Two panels."' in page
    assert "The two results." in page
    assert f"_images/{PICTURE}" in page
    assert (tmp_path / "out" / "_images" / PICTURE).read_text().count("<svg") == 1


def test_the_same_data_give_the_same_bytes_and_others_do_not(data: Path) -> None:
    files = {path.stem: path for path in data.glob("*.csv") if path.read_text() != "no table"}
    style = dict(matplotlib.rcParams)
    before = picture(files)
    assert dict(matplotlib.rcParams) == style
    assert picture(files) == before
    (data / "authors-fitted.csv").write_text("C,n,d,loss_linear,loss_softmax\n5,100,2,.4,.2\n")
    assert picture(files) != before


def test_a_page_whose_data_are_missing_is_built_without_it(data: Path, tmp_path: Path) -> None:
    """A chapter that failed has left none."""
    (data / "authors-fitted.csv").unlink()
    page, told = built(tmp_path, SOURCE, [], EXTENSIONS)
    assert "no data for the figure at a glance: authors-fitted" in told
    assert "The two results." not in page

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tools import archive
from tools.errors import BookError
from tools.layout import Layout
from tools.progress import Progress


@pytest.fixture
def layout(checkout: Path) -> Layout:
    """A checkout under git with something that looks like a build."""
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(["git", "add", "_toc.yml", "requirements.txt", "book"], cwd=checkout, check=True)
    for name in ("html/index.html", "results/a.nc", "results/a.lock", "executed/sums.ipynb", "stage/x", "home/.hidden"):
        path = checkout / "_build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Layout(checkout)


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as held:
        assert held.testzip() is None
        return held.namelist()


def test_it_holds_sources_and_build_and_nothing_else(layout: Layout) -> None:
    (layout.root / "untracked.txt").write_text("mine")
    held = names(archive.make(layout, Progress()))
    assert {"book/_toc.yml", "book/requirements.txt", "book/book/index.md"} <= set(held)
    assert {"book/_build/html/index.html", "book/_build/results/a.nc", "book/_build/executed/sums.ipynb"} <= set(held)
    assert not [name for name in held if "untracked" in name or name.endswith(".lock") or "stage" in name]
    assert held == sorted(held)


def test_results_that_lie_elsewhere_are_there_too(
    layout: Layout, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path_factory.mktemp("store")
    (store / "b.nc").write_text("kept elsewhere")
    monkeypatch.setenv("ICL_STORE", str(store))
    held = names(archive.make(layout, Progress()))
    assert "book/_build/results/b.nc" in held
    assert "book/_build/results/a.nc" not in held
    monkeypatch.setenv("ICL_STORE", "off")
    assert not [name for name in names(archive.make(layout, Progress())) if "results" in name]


def test_equal_builds_are_equal_bytes(layout: Layout) -> None:
    first = archive.make(layout, Progress()).read_bytes()
    for path in layout.build.rglob("*"):
        os.utime(path, (1, 1))
    assert archive.make(layout, Progress()).read_bytes() == first
    (layout.build / "results" / "a.nc").write_text("changed")
    assert archive.make(layout, Progress()).read_bytes() != first


def test_a_checkout_that_was_never_built_is_told(layout: Layout) -> None:
    (layout.html / "index.html").unlink()
    with pytest.raises(BookError, match="run `make book` first"):
        archive.make(layout, Progress())


def test_a_folder_without_git_is_told(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(layout.root / "nowhere"))
    with pytest.raises(BookError, match="git cannot list"):
        archive.make(layout, Progress())

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fixture_book import REPOSITORY

from tools import archive, provenance
from tools.errors import BookError
from tools.layout import Layout
from tools.progress import Progress


@pytest.fixture
def layout(checkout: Path) -> Layout:
    """A checkout under git with something that looks like a build."""
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(
        ["git", "add", "_toc.yml", "_config.yml", "requirements.txt", "book", "icl_lib"], cwd=checkout, check=True
    )
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


def test_a_source_that_git_does_not_know_is_not_left_out_in_silence(layout: Layout) -> None:
    for name in ("book/.ipynb_checkpoints/x.md", "icl_lib/__pycache__/x.pyc", "book/new.md~"):
        (layout.root / name).parent.mkdir(exist_ok=True)
        (layout.root / name).write_text("")
    archive.make(layout, Progress())
    (layout.root / ".gitignore").write_text("*.csv\n")
    for name in ("book/new.md", "icl_lib/table.csv"):
        (layout.root / name).write_text("")
    with pytest.raises(BookError, match=r"does not: book/new\.md, icl_lib/table\.csv; `git add` it"):
        archive.make(layout, Progress())


def test_a_checkout_inside_another_repository_has_neither_its_commit_nor_its_files(layout: Layout) -> None:
    inner = layout.root / "unpacked"
    shutil.copytree(layout.root / "_build", inner / "_build")
    with pytest.raises(BookError, match=f"no git repository of its own, but lies in that of {layout.root}"):
        archive.make(Layout(inner), Progress())
    assert provenance.commit(inner) == "unknown"


def test_git_is_asked_of_the_checkout_also_in_a_hook(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "-qm", "all"], cwd=layout.root, check=True)
    commit = provenance.commit(layout.root)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(layout.root / "nowhere"))
    assert provenance.commit(layout.root) == commit
    assert len(commit) == 40


def test_tests_in_a_hook_touch_no_repository_but_their_own(layout: Layout) -> None:
    """Git tells a hook of its repository by variables, and these tests make repositories and commits."""
    git = ["git", "-C", str(layout.root)]
    asked = [[*git, "status", "--porcelain"], [*git, "config", "--local", "--list"], [*git, "ls-files", "--stage"]]

    def state() -> list[bytes]:
        return [subprocess.run(command, capture_output=True, check=True).stdout for command in asked]

    before = state()
    hook = {
        **os.environ,
        "GIT_DIR": str(layout.root / ".git"),
        "GIT_INDEX_FILE": str(layout.root / ".git/index"),
        "GIT_WORK_TREE": str(layout.root),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"{__file__}::{test_equal_builds_are_equal_bytes.__name__}",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, env=hook, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert state() == before


def test_git_is_heard_in_its_own_words(layout: Layout) -> None:
    (layout.root / ".git/HEAD").write_text("nothing")
    with pytest.raises(BookError, match=r"git cannot read .*: fatal: "):
        archive.make(layout, Progress())
    assert provenance.commit(layout.root).startswith(f"unknown: git cannot read {layout.root}: fatal: ")

"""What a chapter's key covers, and what it does not."""

from pathlib import Path

import pytest
from fixture_book import replace

from tools.catalogue import load
from tools.digests import Library, differing, installed_versions
from tools.errors import BookError
from tools.execute import Surroundings, plan
from tools.layout import Layout
from tools.notebooks import read_chapter


def keys(checkout: Path) -> dict[str, str]:
    """The key of each page."""
    layout = Layout(checkout)
    chapters = [read_chapter(page) for page in load(layout).notebooks]
    return {one.page.name: one.key for one in plan(layout, chapters, Surroundings.of(layout))}


def changed(checkout: Path, file: str, old: str, new: str) -> set[str]:
    """The pages whose key a change of a file moves."""
    before = keys(checkout)
    replace(checkout / file, old, new)
    after = keys(checkout)
    return {name for name in before if before[name] != after[name]}


CURVES = {"part/curve", "part/curve-n3"}


@pytest.mark.parametrize(
    ("file", "old", "new", "pages"),
    [
        ("book/sums.md", "The sum, seen again", "The sum, seen once more", set()),
        ("book/part/curve.md", "A line of $n$ points", "Some points", set()),
        ("book/part/curve.md", "A rising line", "A line that rises", set()),
        ("book/part/curve.md", "rtol-1e-4", "rtol-1e-3", set()),
        ("book/index.md", "A small book", "A book", set()),
        ("icl_lib/unused.py", "1.0", "2.0", set()),
        ("icl_lib/numbers.py", "0.0", "0.0  # nothing", set()),
        ("icl_lib/numbers.py", "ZERO", '"""What is nothing."""\n\nZERO', set()),
        ("book/sums.md", "[0.1, 0.2]", "[0.1, 0.3]", {"sums"}),
        ("book/part/curve.md", "rate / 3", "rate / 4", CURVES),
        ("book/part/curve.md", "rate = 0.5", "rate = 0.6", CURVES),
        ("book/profiles.yml", "{n: 3}", "{n: 4}", {"part/curve-n3"}),
        ("icl_lib/adding.py", "sum(", "max(", {"sums"}),
        ("icl_lib/numbers.py", "0.0", "0.5", {"sums"}),
        ("requirements.txt", "numpy==1", "numpy==1\nscipy==1", CURVES | {"sums"}),
    ],
)
def test_a_change_moves_the_keys_that_it_should(checkout: Path, file: str, old: str, new: str, pages: set[str]) -> None:
    assert changed(checkout, file, old, new) == pages


def test_time_stamps_do_not_matter(checkout: Path) -> None:
    before = keys(checkout)
    for path in checkout.rglob("*"):
        path.touch()
    assert keys(checkout) == before


def test_another_device_is_another_key(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(checkout)
    monkeypatch.setenv("ICL_DEVICE", "cuda")
    assert not set(before.values()) & set(keys(checkout).values())


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("import icl_lib.a", {"__init__", "a", "b"}),
        ("from icl_lib import a", {"__init__", "a", "b"}),
        ("from icl_lib.b import x", {"__init__", "b"}),
        ("def f():\n    from icl_lib import b", {"__init__", "b"}),
        ("import importlib\nimportlib.import_module('icl_lib.b')", {"__init__", "b"}),
        ("%time\nimport icl_lib.b", {"__init__", "b"}),
        ("import icl_lib.sub.c", {"__init__", "sub/__init__", "sub/c", "b"}),
        ("x = 1", set()),
        ("this is no Python", {"__init__", "a", "b", "sub/__init__", "sub/c", "lonely"}),
    ],
)
def test_the_modules_that_code_reaches(tmp_path: Path, source: str, reached: set[str]) -> None:
    files = {
        "__init__": "",
        "a": "from icl_lib.b import x\n",
        "b": "x = 1\n",
        "sub/__init__": "",
        "sub/c": "from ..b import x\n",
        "lonely": "",
    }
    for name, text in files.items():
        path = tmp_path / "icl_lib" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert set(Library(tmp_path).reached([source])) == {f"icl_lib/{name}.py" for name in reached}


def test_data_of_the_library_counts(tmp_path: Path) -> None:
    (tmp_path / "icl_lib").mkdir()
    (tmp_path / "icl_lib/__init__.py").write_text("")
    (tmp_path / "icl_lib/table.csv").write_text("1")
    before = Library(tmp_path).reached(["import icl_lib"])
    (tmp_path / "icl_lib/table.csv").write_text("2")
    assert before != Library(tmp_path).reached(["import icl_lib"])


def test_recorded_benchmarks_count_where_they_are_read(tmp_path: Path) -> None:
    results = tmp_path / "benchmarks" / "results" / "machine.json"
    display = tmp_path / "icl_lib" / "display"
    for path in (results, tmp_path / "icl_lib/__init__.py", display / "__init__.py", display / "benchmark_results.py"):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("")
    (display / "scale.py").write_text("from icl_lib.display import benchmark_results")
    sources = ("import icl_lib", "import icl_lib.display.benchmark_results", "import icl_lib.display.scale")
    before = [Library(tmp_path).reached([source]) for source in sources]
    results.write_text("{}")
    after = [Library(tmp_path).reached([source]) for source in sources]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, True]


def test_a_module_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "icl_lib").mkdir()
    (tmp_path / "icl_lib/__init__.py").write_text("x = (\n")
    with pytest.raises(BookError, match=r"icl_lib/__init__.py, line 1"):
        Library(tmp_path).reached(["import icl_lib"])


def test_versions_are_those_installed(tmp_path: Path) -> None:
    import numpy

    (tmp_path / "requirements.txt").write_text("numpy==1.0\n    # via x\nno-such-package==3\n")
    versions = installed_versions(tmp_path / "requirements.txt")
    assert versions["numpy"] == numpy.__version__
    assert versions["no-such-package"] == "missing"
    told = differing(tmp_path / "requirements.txt", versions)
    assert told == (
        f"other packages than those of requirements.txt: numpy is {numpy.__version__}, not 1.0, "
        "no-such-package is missing, not 3"
    )
    (tmp_path / "requirements.txt").write_text(f"numpy=={numpy.__version__}+cpu\n")
    assert differing(tmp_path / "requirements.txt", versions) == ""
    with pytest.raises(BookError, match=r"cannot read .*nope\.txt: No such file"):
        installed_versions(tmp_path / "nope.txt")


def test_another_package_that_comes_first_on_the_path_is_not_recorded_as_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("numpy==1.0\nscipy==1.0\n")
    before = installed_versions(tmp_path / "requirements.txt")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").write_text("__version__ = '1.0'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    after = installed_versions(tmp_path / "requirements.txt")
    assert after["numpy"] == "another one on the path"
    assert after["scipy"] == before["scipy"]

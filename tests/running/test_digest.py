import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import random_documents
import toy_experiment

from icl_lib.running import digest
from icl_lib.running.digest import LIBRARY, check_unchanged, files_of, library_digest, module_digest
from icl_lib.running.graph import Graph, code


def test_a_process_knows_when_it_was_started() -> None:
    program = "from icl_lib.running import digest; print(digest._STARTED - digest.START_SECONDS)"
    before = time.time()
    told = subprocess.run([sys.executable, "-c", program], cwd=LIBRARY.parent, capture_output=True, check=True).stdout
    assert before - 0.02 < float(told) < time.time()


def test_a_module_that_was_written_since_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process computes belongs to the text that it has imported, perhaps another than the one there."""
    check_unchanged(LIBRARY.rglob("*.py"))
    module = tmp_path / "kernels.py"
    module.write_text("x = 1\n")
    os.utime(module, (1, 1))
    with pytest.raises(RuntimeError, match=r"kernels\.py changed after this process started"):
        check_unchanged([module])
    monkeypatch.setattr(digest, "_STARTED", time.time())
    check_unchanged([module])
    with pytest.raises(RuntimeError, match=r"gone\.py changed"):
        check_unchanged([tmp_path / "gone.py"])


FILES = {
    "__init__.py": "",
    "base.py": "BASE = 1\n",
    "middle.py": "from icl_lib import base\nimport numpy\n",
    "top.py": "from icl_lib.middle import base as b\n",
    "lazy.py": "def later():\n    from icl_lib.base import BASE\n    return BASE\n",
    "aside.py": "import icl_lib.base\n",
    "part/__init__.py": "from icl_lib.aside import icl_lib\n",
    "part/inner.py": "X = 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "icl_lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def reached(source: str, root: Path) -> set[str]:
    graph = Graph(root)
    return graph.reached(graph.named(ast.parse(source)))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import numpy", set()),
        ("import icl_lib.base", {"", ".base"}),
        ("from icl_lib import middle", {"", ".middle", ".base"}),
        ("from icl_lib.top import b", {"", ".top", ".middle", ".base"}),
        ("def f():\n    from icl_lib.lazy import later", {"", ".lazy", ".base"}),
        ("from icl_lib.part.inner import X", {"", ".part", ".part.inner", ".aside", ".base"}),
        ("import icl_library", set()),
    ],
)
def test_what_a_text_reaches(source: str, names: set[str], root: Path) -> None:
    assert reached(source, root) == {f"icl_lib{name}" for name in names}


@pytest.mark.parametrize("changed", ["__init__.py", "base.py", "middle.py", "top.py"])
def test_a_change_of_what_is_reached_changes_the_digest(changed: str, root: Path) -> None:
    before = library_digest(["icl_lib.top"], root)
    (root / "icl_lib" / changed).write_text(FILES[changed] + "MORE = 1\n")
    assert library_digest(["icl_lib.top"], root) != before


def test_a_change_of_what_is_not_reached_does_not(root: Path) -> None:
    before = library_digest(["icl_lib.top"], root)
    (root / "icl_lib" / "aside.py").write_text("import icl_lib.base\nCHANGED = 1\n")
    assert library_digest(["icl_lib.top"], root) == before


WORDS = '''"""What it is."""
class A:
    """A."""
    def f(self, x):
        """Computes."""
        return x + 1  # why
async def g(): "only words"
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("What it is.", "What it was."),
        ('"""A."""', ""),
        ("Computes.", "Other\n words."),
        ("  # why", ""),
        ('"only', '"no'),
    ],
)
def test_words_are_no_code(before: str, after: str) -> None:
    assert before in WORDS
    assert code(WORDS.replace(before, after)) == code(WORDS)


@pytest.mark.parametrize(("before", "after"), [("x + 1", "x + 2"), ("f(self", "h(self"), ('"only', 'return "only')])
def test_code_is(before: str, after: str) -> None:
    assert code(WORDS.replace(before, after)) != code(WORDS)


def test_nothing_in_the_library_reads_a_docstring() -> None:
    assert not [path.name for path in LIBRARY.rglob("*.py") if "__doc__" in code(path.read_text())]


def test_no_experiment_reaches_figures_or_the_record_of_claims() -> None:
    found = [path for path in LIBRARY.rglob("*.py") if "    def compute(self, device" in path.read_text()]
    assert len(found) > 10
    for path in found:
        names = reached(path.read_text(), LIBRARY.parent)
        told = {name for name in names if name.startswith("icl_lib.display") or name.endswith("summaries")}
        assert not told | (names & {"icl_lib.claims"}), path.name


def test_a_module_outside_the_package_counts_with_its_own_text() -> None:
    assert module_digest(toy_experiment.__name__) != module_digest(random_documents.__name__)


OUTSIDE = {
    "myexp.py": "import helpers\nimport mine.part\nfrom icl_lib.running import streams\nimport numpy\n",
    "helpers.py": "def f(n):\n    return 1.0 * n\n",
    "mine/__init__.py": "from . import other\n",
    "mine/other.py": "import importlib\nimportlib.import_module('late')\n",
    "mine/part.py": "X = 1\n",
    "late.py": "X = 1\n",
    "aside.py": "import myexp\n",
}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules that are neither installed nor of the library."""
    (tmp_path / "mine").mkdir()
    for name, text in OUTSIDE.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("changed", [name for name in OUTSIDE if name != "aside.py"])
def test_a_module_that_is_not_installed_counts_where_it_is_reached(changed: str, outside: Path) -> None:
    before = module_digest("myexp")
    (outside / changed).write_text(OUTSIDE[changed] + "# words\n")
    assert module_digest("myexp") == before
    (outside / changed).write_text(OUTSIDE[changed] + "MORE = 1\n")
    assert module_digest("myexp") != before


def test_the_files_that_count_are_those_outside_and_in_the_library(outside: Path) -> None:
    files = files_of("myexp")
    assert {path.name for path in files if path.is_relative_to(outside)} == {Path(name).name for name in OUTSIDE} - {
        "aside.py"
    }
    inside = {path.relative_to(LIBRARY).as_posix() for path in files if path.is_relative_to(LIBRARY)}
    used = {"checked.py", "streams.py", "validation.py"}
    assert inside == {"__init__.py", "running/__init__.py", *(f"running/{name}" for name in used)}
    assert len(files) == len(OUTSIDE) - 1 + len(inside)


@pytest.mark.parametrize("name", ["__main__", "typed_in"])
def test_a_module_that_no_other_process_finds_has_no_digest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker the script that was started has another file: a change of it would go unseen."""
    monkeypatch.setitem(sys.modules, "typed_in", ModuleType("typed_in"))
    with pytest.raises(ValueError, match=f"must be defined in a module of its own, with a file, got one of {name}"):
        module_digest(name)


def test_the_library_imports_in_no_way_that_the_key_cannot_follow() -> None:
    """The key is read from import statements and from strings; a name that is put together would go unseen."""
    calls = [
        (path.name, ast.unparse(node.func))
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    hidden = {"__import__", "exec", "eval", "compile", "import_module", "run_module", "run_path", "find_spec"}
    assert not [call for call in calls if call[1] in hidden or call[1].split(".")[0] in ("importlib", "runpy")]

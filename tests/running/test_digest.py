import ast
from pathlib import Path

import pytest
import random_documents
import toy_experiment

from icl_lib.running import digest
from icl_lib.running.digest import LIBRARY, library_digest, module_digest
from icl_lib.running.graph import Graph, code


def test_a_module_that_was_written_since_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process computes belongs to the text that it has imported."""
    digest.check_unchanged()
    changed = {path: state for path, state in digest._AT_START.items() if path.name != "kernels.py"}
    monkeypatch.setattr(digest, "_AT_START", changed)
    with pytest.raises(RuntimeError, match=r"kernels\.py changed after this process started"):
        digest.check_unchanged()


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


def test_a_module_without_a_file_has_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "typed_in", ModuleType("typed_in"))
    with pytest.raises(ValueError, match="an experiment must be defined in a module with a file, got one of typed_in"):
        module_digest("typed_in")

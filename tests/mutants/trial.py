"""One mutant against the tests that can notice it."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from icl_lib.running.graph import Graph
from tests.mutants.forked import ROOT, in_child, path_of, replace_modules, run_tests
from tests.mutants.mutations import Mutant, mutated

# Examples of each property in a first look, which the whole test would try too.
EXAMPLES = 10
# CPU-seconds that the tests of one mutant may take: in a first look, and thoroughly.
BRIEF, THOROUGH = 8.0, 180.0
# Tests of formulas; those of experiments and of what runs them take too long to be run for every mutant.
ROOMS = ("tests", "bounds", "classification", "softmax_regression")


def test_files(module: str) -> list[str]:
    """The test files that import a module, those that import one which imports it, and so once more.

    In each group first those that are called like it, then the shorter ones.
    """
    called = module.rpartition(".")[2]
    found: list[str] = []
    near = {module}
    for _ in range(3):
        files = {path for path, named in _imports().items() if named & near} - set(found)
        found += sorted(files, key=lambda name: (called not in name, (ROOT / name).stat().st_size))
        near = {user for user, named in _library().items() if named & near}
    return found


@cache
def _imports() -> dict[str, set[str]]:
    """What the test files of formulas name, by file."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {_name(path): _named(path) for path in files if path.parent.name in ROOMS and "experiment" not in path.name}


@cache
def _library() -> dict[str, set[str]]:
    """What the modules of the library name, by module."""
    return {
        _name(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): _named(path)
        for path in sorted((ROOT / "icl_lib").rglob("*.py"))
    }


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _named(path: Path) -> set[str]:
    return set(Graph(ROOT).named(ast.parse(path.read_text("utf-8"))))


def killer(mutant: Mutant, *, thorough: bool = False, tests: list[str] | None = None) -> str | None:
    """The first test that fails on the mutant; None where all pass.

    `tests` are the ones to run, all of the files that import the mutant's module where they are left out. Raises
    `Unfinished` where the time is over before.
    """

    def work() -> str | None:
        replace_modules({mutant.module: mutated(path_of(mutant.module).read_text(encoding="utf-8"), mutant)})
        for one in tests or test_files(mutant.module):
            watch = Watch("" if tests else mutant.function, EXAMPLES if not (thorough or tests) else None)
            status = run_tests([one], watch, "-x")
            if status:
                return watch.failed or "the import"
        return None

    found = in_child(work, THOROUGH if thorough else BRIEF)
    return None if found is None else str(found)


class Watch:
    """A plugin of pytest: tells the first test that fails.

    Tests that name a `function` come first; of a property `examples` are tried, all where that is None.
    """

    def __init__(self, function: str = "", examples: int | None = None) -> None:
        self.failed: str | None = None
        self.names = [name for name in function.split(".") if name.isidentifier()]
        self.examples = examples

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the tests that name the function before others."""
        items.sort(key=lambda item: not any(name in _text(item) for name in self.names))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Shorten a property test."""
        test: Any = getattr(item, "obj", None)
        known = getattr(test, "_hypothesis_internal_use_settings", None)
        if known is not None and self.examples is not None and known.max_examples > self.examples:
            test._hypothesis_internal_use_settings = settings(known, max_examples=self.examples)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def _text(item: pytest.Item) -> str:
    test: Any = getattr(item, "obj", None)
    inner = getattr(getattr(test, "hypothesis", None), "inner_test", test)
    try:
        return inspect.getsource(inner)
    except (OSError, TypeError):
        return ""

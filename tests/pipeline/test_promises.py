"""The page of promises names tests that there are."""

import re

import pytest
from fixture_book import REPOSITORY

PAGE = (REPOSITORY / "book/appendix/promises.md").read_text()
FILES = {path.stem: path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")}


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(test_\w+)(?:::(test_\w+))?`", PAGE)
    assert len(named) > 40
    missing = [
        f"{file}::{name}" for file, name in named if file not in FILES or (name and f"\ndef {name}(" not in FILES[file])
    ]
    assert not missing


@pytest.mark.parametrize("folder", ["book", "icl_lib", "tools", "tests", "benchmarks", "."])
def test_a_test_that_is_named_by_its_path_is_there(folder: str) -> None:
    pattern = re.compile(r"(?<![\w/])tests/[A-Za-z_/]+\.py\b")
    files = [
        path
        for kind in ("*.md", "*.py")
        for path in (REPOSITORY / folder).glob(kind if folder == "." else f"**/{kind}")
    ]
    named = {(path, name) for path in files for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert files
    assert not [f"{path}: {name}" for path, name in named if not (REPOSITORY / name).exists()]

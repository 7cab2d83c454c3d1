"""The page of promises names tests that there are."""

import re

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

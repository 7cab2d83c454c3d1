"""Checkouts with a small book in them."""

from pathlib import Path

import pytest
from fixture_book import write_book


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a small book that has never been built."""
    return write_book(tmp_path / "checkout")

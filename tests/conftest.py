"""Options and profiles that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A hook of git is told of its repository by variables: what tests do to theirs would be done to the book.
for name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[name]
# The same examples in every run: a failure seen once can be seen again.
settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--site", type=Path, default=None, help="a built site, for the tests in tests/browser")


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Path:
    """The folder of a built site."""
    folder = request.config.getoption("--site")
    if folder is None or not (folder / "index.html").is_file():
        pytest.fail(f"--site must name a folder with index.html, got {folder}")
    return folder.resolve()

"""Options and profiles that all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

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

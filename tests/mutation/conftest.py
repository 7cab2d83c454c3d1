"""What the tests of this folder share."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from checkouts import PROFILE, Checkout

from tools import kernels
from tools.layout import Layout
from tools.processes import WORTHWHILE, Children


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matplotlib's list of fonts, as a build makes it."""
    layout = Layout(tmp_path_factory.mktemp("fonts"), PROFILE)
    kernels.prepare(layout)
    return layout.build / "home" / "matplotlib"


@pytest.fixture(scope="session")
def _warm() -> Iterator[Children]:
    children = Children()
    children.expect(WORTHWHILE)
    yield children
    children.stop()


@pytest.fixture
def fresh(tmp_path: Path, fonts: Path) -> Checkout:
    """A checkout that is judged in fresh processes, as by `make chapter`."""
    return Checkout(tmp_path, Children(), fonts)


@pytest.fixture
def forked(tmp_path: Path, fonts: Path, _warm: Children) -> Checkout:
    """A checkout that is judged in processes that start warm, as by `make book`."""
    return Checkout(tmp_path, _warm, fonts)


@pytest.fixture(scope="session")
def own_references(tmp_path_factory: pytest.TempPathFactory, fonts: Path, _warm: Children) -> Callable[..., bytes]:
    """References as this machine writes them, each made and checked once: a page and its parameters → the file."""

    @cache
    def made(page: str, **parameters: int) -> bytes:
        return Checkout(tmp_path_factory.mktemp("own"), _warm, fonts).own_reference(page, **parameters)

    return made


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numerical libraries of kernels have two threads, and with them another order of summation."""
    for name in kernels.THREADS:
        monkeypatch.setenv(name, "2")

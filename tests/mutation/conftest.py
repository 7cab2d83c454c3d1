"""What the tests of this folder share."""

from pathlib import Path

import pytest
from checkouts import PROFILE, Checkout
from forked import ForkedChildren, start_server

from tools import kernels
from tools.layout import Layout
from tools.processes import Children


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matplotlib's list of fonts, as a build makes it."""
    layout = Layout(tmp_path_factory.mktemp("fonts"), PROFILE)
    kernels.prepare(layout)
    return layout.build / "home" / "matplotlib"


@pytest.fixture(scope="session")
def _server() -> None:
    start_server()


@pytest.fixture
def fresh(tmp_path: Path, fonts: Path) -> Checkout:
    """A checkout that is judged in processes of their own, as by `make book`."""
    return Checkout(tmp_path, Children(), fonts)


@pytest.fixture
def forked(tmp_path: Path, fonts: Path, _server: None) -> Checkout:
    """A checkout that is judged in forked processes."""
    return Checkout(tmp_path, ForkedChildren(), fonts)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numerical libraries of kernels have two threads, and with them another order of summation."""
    for name in kernels.THREADS:
        monkeypatch.setenv(name, "2")

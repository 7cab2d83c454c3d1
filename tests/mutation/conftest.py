"""What the tests of this folder share."""

import pytest

from tools.kernels import THREADS


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numerical libraries of kernels have two threads, and with them another order of summation."""
    for name in THREADS:
        monkeypatch.setenv(name, "2")

"""On another processor the references hold, and a small change in what is trained or computed is still found."""

from collections.abc import Iterator

import pytest
from checkouts import Change, Checkout

from tools.emulation import EMULATIONS, emulating

CLOSENESS, SPHERE = "closeness/closeness", "kernel/sphere"

CHANGES = {
    "a rate of training off by 1 %": (
        CLOSENESS,
        Change(
            "training.py",
            "rate = self.member.optimiser.rate_at(step)",
            "rate = 1.01 * self.member.optimiser.rate_at(step)",
        ),
    ),
    "one update fewer": (
        CLOSENESS,
        Change("training.py", "        take()\n", "        if step:\n            take()\n"),
    ),
    "a width off by 1 %": (
        SPHERE,
        Change("kernels.py", "return None, beta * (s - 1)", "return None, 1.01 * beta * (s - 1)"),
    ),
}


@pytest.fixture(params=[*EMULATIONS])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kernels compute as on another processor."""
    with emulating(request.param):
        yield


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", CHANGES)
def test_a_real_change_is_found_on_another_processor(name: str, fresh: Checkout) -> None:
    fresh.assert_found(*CHANGES[name])


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("page", [CLOSENESS, SPHERE])
def test_another_processor_alone_passes(page: str, fresh: Checkout) -> None:
    """The control: what fails above is the change."""
    fresh.check(page)

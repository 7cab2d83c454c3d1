"""A change of one per cent in a formula of the library makes the check of a chapter fail: the part on bounds."""

import pytest
from checkouts import NOISE, Change, Checkout

CHAIN, SHARP, CURVATURE, CORE = (f"bounds/{name}" for name in ("published-chain", "sharp-bounds", "curvature", "core"))

CHANGES = {
    "exponent of M": (
        CHAIN,
        Change("bounds/published.py", "(1.5 * math.log(n) + 10 * R * R)", "(1.5 * math.log(n) + 10.1 * R * R)"),
    ),
    "repaired chain": (
        CHAIN,
        Change("bounds/published.py", "R.square() * (1 + 1 / root)", "1.01 * R.square() * (1 + 1 / root)"),
    ),
    "shifted target": (
        CHAIN,
        Change("bounds/sharp.py", "return b - prediction_shift(", "return b - 1.01 * prediction_shift("),
    ),
    "tanh law": (SHARP, Change("bounds/sharp.py", "/ (2 * math.sqrt(2)))\n", "/ (2.02 * math.sqrt(2)))\n")),
    "best constant": (
        SHARP,
        Change("bounds/best_constant.py", "together = math.sqrt((n - 2)", "together = 1.01 * math.sqrt((n - 2)"),
    ),
    "third cumulant": (
        SHARP,
        Change("bounds/cumulants.py", "C_3 = 1 / (6 * math.sqrt(3))", "C_3 = 1.01 / (6 * math.sqrt(3))"),
    ),
    "largest curvature": (CURVATURE, Change("bounds/curvature.py", "UPPER = 0.30812", "UPPER = 0.31120")),
    "square of the odds": (CORE, Change("bounds/core.py", "return (q - 1) * (1 -", "return 1.01 * (q - 1) * (1 -")),
    "curvature of the logits": (CURVATURE, Change("bounds/curvature.py", "return J @ J +", "return 1.01 * J @ J +")),
}

MORE_NOISE = Change("bounds/published.py", "10 * R * R", "(10 + 1e-7) * R * R")


@pytest.mark.parametrize("name", CHANGES)
def test_one_per_cent_fails(name: str, forked: Checkout) -> None:
    forked.assert_found(*CHANGES[name])


@pytest.mark.parametrize("page", [CHAIN, SHARP, CURVATURE, CORE])
def test_noise_passes(page: str, forked: Checkout) -> None:
    """The control: what fails above is the change, neither the copy of the checkout nor the fork."""
    forked.check(page, [*NOISE, MORE_NOISE])


@pytest.mark.usefixtures("two_threads")
def test_noise_and_another_number_of_threads_pass(fresh: Checkout) -> None:
    fresh.check(CURVATURE, [*NOISE, MORE_NOISE])

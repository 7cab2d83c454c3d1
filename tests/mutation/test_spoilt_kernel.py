"""A small change in a formula of the library makes the check of a chapter fail: the part on classification."""

import pytest
from checkouts import Change, Checkout

CONTEXTS, STEP, SPHERE = (f"kernel/{name}" for name in ("contexts", "attention-step", "sphere"))

CHANGES = {
    "length of class vectors": (
        CONTEXTS,
        Change("contexts.py", "w = w / w.norm(dim=-1, keepdim=True)", "w = w / w.norm(dim=-1, keepdim=True).sqrt()"),
    ),
    "sign of the queries": (
        STEP,
        Change("constructions.py", "return math.copysign(1.0, beta) * W, W", "return -math.copysign(1.0, beta) * W, W"),
    ),
    "labels not centred": (
        STEP,
        Change("kernels.py", "return labelled - total / scores.y.shape[-1]", "return labelled"),
    ),
    "functional gradient": (
        STEP,
        Change("descent.py", "- y) / y.shape[-2] + ridge", "- y) / (1.01 * y.shape[-2]) + ridge"),
    ),
    "width on the sphere": (
        SPHERE,
        Change("kernels.py", "return None, beta * (s - 1)", "return None, 1.01 * beta * (s - 1)"),
    ),
    "the query's own token": (
        SPHERE,
        Change("kernels.py", "(log_self - largest).exp()", "(log_self + 0.01 - largest).exp()"),
    ),
    "normaliser": (
        SPHERE,
        Change("kernels.py", "weights = weights / total", "weights = weights / 1.01 / total"),
    ),
}

# Another rounding of every point: points are normalised afterwards.
NOISE = [Change("contexts.py", "x = self._normal(len(w)", "x = (1 + 1e-7) * self._normal(len(w)")]


@pytest.mark.parametrize("name", CHANGES)
def test_a_spoilt_formula_fails(name: str, forked: Checkout) -> None:
    forked.assert_found(*CHANGES[name])


@pytest.mark.parametrize("page", [CONTEXTS, STEP, SPHERE])
def test_noise_passes(page: str, forked: Checkout) -> None:
    """The control: what fails above is the change, neither the copy of the checkout nor the fork."""
    forked.check(page, NOISE)


@pytest.mark.usefixtures("two_threads")
def test_noise_and_another_number_of_threads_pass(fresh: Checkout) -> None:
    fresh.check(CONTEXTS, NOISE)

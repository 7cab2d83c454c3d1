"""A change of one per cent in a formula of the library makes the check of a chapter fail: the first part."""

from collections.abc import Callable

import pytest
from checkouts import NOISE, Change, Checkout

SOFTMAX, LAYER, LINEAR = (
    f"foundations/{name}" for name in ("softmax-regression", "gradient-step-layer", "linear-regression")
)

CHANGES = {
    "prediction": (
        SOFTMAX,
        Change("problem.py", '"...nd,...d->...n", A, x)', '"...nd,...d->...n", A, 1.01 * x)'),
    ),
    "loss": (SOFTMAX, Change("problem.py", "0.5 * (predict", "0.505 * (predict")),
    "gradient": (
        SOFTMAX,
        Change("problem.py", "apply_softmax_jacobian(f, f - b)", "apply_softmax_jacobian(f, f - 1.01 * b)"),
    ),
    "Hessian": (SOFTMAX, Change("problem.py", "return JA.mT @ JA", "return 1.01 * JA.mT @ JA")),
    "scale of the logits": (
        SOFTMAX,
        Change("documents.py", "(self.scale / math.sqrt(self.d))", "(1.01 * self.scale / math.sqrt(self.d))"),
    ),
    "line search": (
        SOFTMAX,
        Change("descent_rate.py", "torch.softmax(rate * logits", "torch.softmax(1.01 * rate * logits"),
    ),
    "step": (
        LAYER,
        Change("problem.py", "return (rate / A.shape[-2])", "return (1.01 * rate / A.shape[-2])"),
    ),
    "centring in the construction": (LAYER, Change("constructions.py", "-rate / n**2", "-1.01 * rate / n**2")),
    "linear attention": (LAYER, Change("attention.py", "return q @ (kept.mT @ v)", "return 1.01 * q @ (kept.mT @ v)")),
    "inputs of linear tasks": (LINEAR, Change("linear_regression.py", "x = 2 * torch.rand(", "x = 2.02 * torch.rand(")),
    "rate of Adam": (LINEAR, Change("training.py", "return self.rate * warm * 0.5", "return self.rate * warm * 0.505")),
    "memory of Adam": (LINEAR, Change("training.py", "beta1: float = 0.9\n", "beta1: float = 0.909\n")),
}


# At toy scale two repetitions leave errors so wide that a tenth of one hides these: what they change is less than a
# tenth of the error of every number of the page. On one machine the digits tell.
BY_DIGITS = {"line search", "rate of Adam", "memory of Adam"}


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - BY_DIGITS))
def test_one_per_cent_fails(name: str, forked: Checkout) -> None:
    forked.assert_found(*CHANGES[name])


@pytest.mark.parametrize("name", sorted(BY_DIGITS))
def test_one_per_cent_changes_digits(name: str, forked: Checkout, own_references: Callable[..., bytes]) -> None:
    page, change = CHANGES[name]
    forked.assert_found_by_digits(page, change, own_references(page))


@pytest.mark.parametrize("page", [SOFTMAX, LAYER, LINEAR])
def test_noise_passes(page: str, forked: Checkout) -> None:
    """The control: what fails above is the change, neither the copy of the checkout nor the fork."""
    forked.check(page, NOISE)


@pytest.mark.usefixtures("two_threads")
def test_noise_and_another_number_of_threads_pass(fresh: Checkout) -> None:
    fresh.check(SOFTMAX, NOISE)


def test_a_fresh_process_finds_what_a_fork_finds(fresh: Checkout) -> None:
    fresh.assert_found(*CHANGES["Hessian"])

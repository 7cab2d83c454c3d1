import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds
from torch import Tensor

from icl_lib.alignment import cosine, model_cos, model_diff, preds_diff


def sensitivity(A: Tensor, w: Tensor) -> Tensor:
    """J[i, j, :] = ∂ softmax(A w)_i / ∂ a_j by autograd, (n, n, d)."""
    return torch.autograd.functional.jacobian(lambda rows: torch.softmax(rows @ w, -1), A)


@given(st.integers(1, 7), st.integers(1, 5), seeds, st.floats(0.1, 3))
def test_metrics_are_those_of_the_sensitivities_by_autograd(n: int, d: int, seed: int, scale: float) -> None:
    A, w, w2 = normal(seed, n, d), scale * normal(seed + 1, d), scale * normal(seed + 2, d)
    f, f2 = torch.softmax(A @ w, -1), torch.softmax(A @ w2, -1)
    J, J2 = sensitivity(A, w).flatten(), sensitivity(A, w2).flatten()
    # Through inner products a norm is good to about √ε of the terms.
    torch.testing.assert_close(model_diff(f, w, f2, w2), (J - J2).norm(), rtol=1e-10, atol=1e-7 * float(1 + J.norm()))
    expected = J @ J2 / (J.norm() * J2.norm()) if n > 1 else torch.zeros(()).double()
    # Where one word takes all but a share δ, it is the definition that loses digits.
    rest = (1 - f.max()) * (1 - f2.max())
    torch.testing.assert_close(model_cos(f, w, f2, w2), expected, rtol=0, atol=1e-13 / max(float(rest), 1e-13))


@pytest.mark.parametrize("gap", [5.0, 6.5, 8.0, 14.0, 20.0, 30.0])
def test_single_precision_keeps_its_digits_near_one_hot_predictions(gap: float) -> None:
    z, z2 = torch.tensor([gap, 0.3, 0, 0, 0]), torch.tensor([gap, 0, 0.7, 0, 0])
    w, w2 = torch.tensor([1.0, 2.0]), torch.tensor([1.5, 1.0])
    single = torch.softmax(z, -1), w, torch.softmax(z2, -1), w2
    # Doubled precision has enough digits for the plain sum as far as a gap of 14, and for this one further on.
    double = torch.softmax(z.double(), -1), w.double(), torch.softmax(z2.double(), -1), w2.double()
    for metric in (model_cos, model_diff):
        torch.testing.assert_close(metric(*single).double(), metric(*double), rtol=1e-5, atol=0)
    if gap <= 14:
        f, _, f2, _ = double
        J, J2 = (torch.diag(p) - p.outer(p) for p in (f, f2))
        inner = (J * J2).sum() / (J.norm() * J2.norm()) * torch.cosine_similarity(w.double(), w2.double(), dim=0)
        torch.testing.assert_close(model_cos(*double), inner, rtol=1e-6, atol=0)


@given(st.integers(2, 9), st.integers(1, 5), seeds)
def test_a_model_is_close_to_itself(n: int, d: int, seed: int) -> None:
    w, f = normal(seed, 4, d), torch.softmax(normal(seed + 1, 4, n), -1)
    assert model_diff(f, w, f, w).max() <= 1e-6
    torch.testing.assert_close(model_cos(f, w, f, w), torch.ones(4).double())
    torch.testing.assert_close(model_cos(f, w, f, -w), -torch.ones(4).double())
    assert not preds_diff(f, f).any()


def test_batches_broadcast() -> None:
    f, w = torch.softmax(normal(0, 3, 5), -1), normal(1, 3, 2)
    f2, w2 = torch.softmax(normal(2, 4, 3, 5), -1), normal(3, 4, 3, 2)
    for metric in (model_diff, model_cos):
        found = metric(f, w, f2, w2)
        assert found.shape == (4, 3)
        torch.testing.assert_close(found[2, 1], metric(f[1], w[1], f2[2, 1], w2[2, 1]))
    torch.testing.assert_close(preds_diff(f[0], f2[0, 0]), (f[0] - f2[0, 0]).norm())


def test_a_vanishing_sensitivity_has_cosine_zero() -> None:
    f = torch.softmax(normal(0, 5), -1)
    assert model_cos(f, torch.zeros(2).double(), f, normal(1, 2)) == 0
    assert cosine(torch.zeros(3), torch.ones(3)) == 0


@given(st.integers(1, 9), seeds)
def test_cosine_is_its_definition(n: int, seed: int) -> None:
    v, w = normal(seed, 4, n), normal(seed + 1, 4, n)
    torch.testing.assert_close(cosine(v, w), (v * w).sum(-1) / (v.norm(dim=-1) * w.norm(dim=-1)))


def test_sizes_that_do_not_fit_are_named() -> None:
    f, w = torch.ones(5), torch.ones(2)
    with pytest.raises(ValueError, match=r"q must have shape \(\.\.\., n=5\)"):
        preds_diff(f, torch.ones(4))
    for metric in (model_diff, model_cos):
        with pytest.raises(ValueError, match=r"f2 must have shape \(\.\.\., n=5\)"):
            metric(f, w, torch.ones(4), w)
        with pytest.raises(ValueError, match=r"w2 must have shape \(\.\.\., d=2\)"):
            metric(f, w, f, torch.ones(3))

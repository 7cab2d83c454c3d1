"""Sensitivities by word: their products from the n × n matrices, and where one is lost in rounding."""

import pytest
import torch
from random_documents import normal
from torch import Tensor

from icl_lib.softmax_regression import word_sensitivity as ws


def formed(f: Tensor | None, w: Tensor, n: int) -> Tensor:
    """J[i, j, :] = S_ij w_j with S formed; f is None without a softmax unit."""
    S = torch.eye(n).double() if f is None else torch.diag(f) - torch.outer(f, f)
    return S.unsqueeze(-1) * w


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("words", ["one", "each"])
def test_products_differences_and_cosines_are_those_of_the_formed_ones(n: int, words: str) -> None:
    f, f2 = torch.softmax(normal(0, n), -1), torch.softmax(2 * normal(1, n), -1)
    w, w2 = normal(2, n if words == "each" else 1, 3), normal(3, n, 3)
    pairs = [(ws.of_softmax(f, w), formed(f, w, n)), (ws.of_softmax(f2, w2), formed(f2, w2, n))]
    pairs.append((ws.of_logits(f, w2), formed(None, w2, n)))
    for J, full in pairs:
        for J2, full2 in pairs:
            expected = (full * full2).sum()
            torch.testing.assert_close(ws.product(J, J2), expected)
            torch.testing.assert_close(ws.model_diff_and_cos(J, J2)[0], (full - full2).norm(), rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(ws.model_cos(J, J2), expected / (full.norm() * full2.norm()))


def test_a_product_takes_any_diagonal_and_any_vector() -> None:
    p, q, w = normal(5, 4), normal(6, 4), normal(7, 4, 3)
    full = (torch.diag(p) - torch.outer(q, q)).unsqueeze(-1) * w
    torch.testing.assert_close(ws.product(*[ws.Sensitivity(p, q, w)] * 2), full.square().sum())


@pytest.mark.parametrize("delta", [0.1, 1e-3])
def test_a_softmax_near_one_word_keeps_its_size_and_direction(delta: float) -> None:
    """Of two words with f = (1 − δ, δ): ‖J‖ = 2 δ (1 − δ) ‖w‖."""
    w = normal(4, 1, 4)
    J = ws.of_softmax(torch.tensor([1 - delta, delta]).double(), w)
    torch.testing.assert_close(ws.product(J, J).sqrt(), 2 * delta * (1 - delta) * w.norm(), rtol=1e-4, atol=0)
    torch.testing.assert_close(ws.model_cos(J, J), torch.tensor(1.0).double(), rtol=1e-4, atol=0)
    opposite = J._replace(w=-w)
    torch.testing.assert_close(ws.model_cos(J, opposite), torch.tensor(-1.0).double(), rtol=1e-4, atol=0)


def test_a_word_with_no_direction_adds_nothing() -> None:
    f, w = torch.softmax(normal(0, 3), -1), normal(2, 3, 2)
    J = ws.of_softmax(f, w)
    nothing = ws.of_softmax(f, torch.zeros(3, 2).double())
    assert float(ws.product(J, nothing)) == float(ws.model_cos(J, nothing)) == 0
    torch.testing.assert_close(ws.model_diff_and_cos(J, nothing)[0], formed(f, w, 3).norm())

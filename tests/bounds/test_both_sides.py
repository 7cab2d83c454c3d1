"""Attention with the document on both sides: its rows, both bounds, that they are attained, and that less is false."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from icl_lib.bounds.both_sides import INEQUALITIES, attention, shift_of_document, shift_of_weights
from icl_lib.softmax_regression.problem import predict
from tests.bound_settings import make
from tests.random_documents import normal, seeds

sizes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.floats(1e-4, 30.0), st.floats(1e-6, 3.0), seeds)


def _frobenius(v: Tensor) -> float:
    return float(torch.linalg.matrix_norm(v))


@given(sizes)
def test_both_shifts_stay_below_their_bounds(size: tuple[int, int, float, float, int]) -> None:
    n, d, scale, step, seed = size
    A1, A2, change = (scale**0.5 * normal(seed + k, n, d) for k in range(3))
    X, move = (normal(seed + 3 + k, d, d) for k in range(2))
    moved = attention(A1, X + step * move, A2) - attention(A1, X, A2)
    assert _frobenius(moved) <= float(shift_of_weights(A1, A2, X, X + step * move)) * (1 + 1e-9) + 1e-12
    B = A1 + step * change
    moved = attention(B, X, B) - attention(A1, X, A1)
    assert _frobenius(moved) <= float(shift_of_document(A1, B, X)) * (1 + 1e-9) + 1e-12


def test_a_row_is_a_softmax_regression_in_the_other_document() -> None:
    A1, A2, X = normal(0, 5, 3), normal(1, 5, 3), normal(2, 3, 3)
    for row, word in zip(attention(A1, X, A2), A1, strict=True):
        torch.testing.assert_close(row, predict(A2, X.mT @ word))


@pytest.mark.parametrize("words", [2, 5])
def test_the_bound_for_the_weights_is_attained_at_every_length(words: int) -> None:
    """Two words share all attention of theirs; the others attend to one another and see nothing of the step."""
    A = torch.zeros(words, 2, dtype=torch.float64)
    A[0, 0], A[1, 0] = 1 / math.sqrt(2), -1 / math.sqrt(2)
    A[:2, 1], A[2:, 1] = 1e-4, -1e-4
    X, step = torch.diag(torch.tensor([0.0, 1e10], dtype=torch.float64)), torch.zeros(2, 2, dtype=torch.float64)
    step[0, 0] = 1e-3
    moved = _frobenius(attention(A, X + step, A) - attention(A, X, A))
    bound = float(shift_of_weights(A, A, X, X + step))
    assert 0.9999 < moved / bound <= 1
    assert moved > 0.98 * bound


@pytest.mark.parametrize("size", [0.4, 1.0, 2.5])
def test_the_bound_for_the_document_is_attained_by_two_words(size: float) -> None:
    along = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64) / math.sqrt(2)
    X = torch.diag(torch.tensor([size, 0.3 * size], dtype=torch.float64))
    A, B = 1e-3 * along, 3e-3 * along
    moved = _frobenius(attention(B, X, B) - attention(A, X, A))
    assert 0.9999 < moved / float(shift_of_document(A, B, X)) <= 1


def test_the_statements_of_the_part_are_about_this_attention() -> None:
    """Their weights are x yᵀ, and their left sides the difference formed here."""
    p = make("gaussian", 4, 3, 1.5, 0.7, 0, 5, torch.float64)
    X, Y = (torch.einsum("...i,...j->...ij", one, p.y) for one in (p.x, p.y))
    weights = attention(p.A, Y, p.B) - attention(p.A, X, p.B)
    document = attention(p.B, X, p.B) - attention(p.A, X, p.A)
    bounds = shift_of_weights(p.A, p.B, X, Y), shift_of_document(p.A, p.B, X)
    for statement, moved, bound in zip(INEQUALITIES, (weights, document), bounds, strict=True):
        torch.testing.assert_close(statement.left(p), torch.linalg.matrix_norm(moved))
        torch.testing.assert_close(statement.right(p), bound)


def test_shapes_that_do_not_fit_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match="X must"):
        attention(normal(0, 3, 2), normal(1, 3, 3), normal(2, 3, 2))
    with pytest.raises(ValueError, match="A2 must"):
        attention(normal(0, 3, 2), normal(1, 2, 2), normal(2, 4, 2))

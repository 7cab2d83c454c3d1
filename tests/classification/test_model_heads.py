"""Heads of trained models: the share of an identity and its ceiling, white coordinates, one β, offsets alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.classification import model_heads as heads
from icl_lib.matrices import distance_from_identity
from icl_lib.running.streams import stream

SEEDS = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(seed, "test"), dtype=torch.float64)


def rows(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights of two heads (2, 6, 4), scores, what is present, and places: two sentences of four and of two words."""
    present = torch.ones(6, 4, dtype=torch.float64)
    present[4:, 2:] = 0
    inner = normal(seed, 6, 4) * present
    weights = heads.attention_rows(normal(seed + 1, 2, 6, 4), present.expand(2, 6, 4))
    return weights, inner, present, torch.tensor([0.0, 1, 2, 3, 0, 1], dtype=torch.float64)


@given(SEEDS)
def test_the_share_is_what_the_distance_leaves(seed: int) -> None:
    M = normal(seed, 3, 5, 5)
    assert torch.allclose(heads.identity_share(M), 1 - distance_from_identity(M).square(), atol=1e-12)


@given(SEEDS, st.integers(1, 6))
def test_no_matrix_of_a_rank_exceeds_its_ceiling_and_a_projection_reaches_it(seed: int, rank: int) -> None:
    A, B = normal(seed, 2, rank, 6)
    ceiling = heads.share_ceiling(rank, 6)
    assert float(heads.identity_share(A.mT @ B)) <= ceiling * (1 + 1e-9)
    Q = torch.linalg.qr(A.mT).Q
    assert float(heads.identity_share(-3 * Q @ Q.mT)) == pytest.approx(ceiling, rel=1e-9)


def test_the_share_of_a_random_matrix_is_that_of_one_direction() -> None:
    A, B = normal(0, 2, 4000, 3, 8)
    assert float(heads.identity_share(A.mT @ B).mean()) == pytest.approx(1 / 64, rel=0.2)


def test_sizes_far_from_one_have_shares_too() -> None:
    M = normal(0, 4, 4)
    for scale in (1e-200, 1e200):
        assert float(heads.identity_share(scale * M)) == pytest.approx(float(heads.identity_share(M)), rel=1e-9)
    assert float(heads.identity_share(0 * M)) == 0


@given(SEEDS)
def test_white_scores_are_the_scores_of_what_is_made_of_white_vectors(seed: int) -> None:
    root = normal(seed, 4, 4)
    M, z = normal(seed + 1, 4, 4), normal(seed + 2, 2, 4)
    covariance = root @ root.mT
    # Another root of the same covariance differs by a rotation, which no share of an identity sees.
    white = heads.whitened(M, covariance)
    other = root.mT @ M @ root
    assert torch.allclose(white.trace(), other.trace(), atol=1e-9)
    assert torch.allclose(white.norm(), other.norm(), atol=1e-9)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    x = z @ (vectors * eigenvalues.clamp_min(0).sqrt()) @ vectors.mT
    assert torch.allclose(x[0] @ M @ x[1], z[0] @ white @ z[1], atol=1e-8)


def test_the_inner_product_of_white_vectors_is_found() -> None:
    root = normal(3, 5, 5)
    covariance = root @ root.mT
    M = 2 * torch.linalg.inv(covariance)
    assert float(heads.identity_share(heads.whitened(M, covariance))) == pytest.approx(1, abs=1e-9)
    assert float(heads.identity_share(M)) < 0.99


@pytest.mark.parametrize("covariance", [[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]]])
def test_what_is_no_covariance_is_refused(covariance: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="covariance must"):
        heads.whitened(torch.eye(2), torch.tensor(covariance))


@given(SEEDS, st.floats(-30, 30))
def test_the_width_of_a_head_that_has_one_is_found(seed: int, beta: float) -> None:
    _, inner, present, _ = rows(seed)
    weights = heads.attention_rows(beta * inner, present)
    found = heads.fit_width(weights, inner, present)
    predicted = heads.attention_rows(found * inner, present)
    assert torch.allclose(predicted, weights, atol=1e-6)
    if abs(beta) < 3:
        assert float(found) == pytest.approx(beta, abs=1e-5)


@given(SEEDS)
def test_no_width_beside_the_fitted_one_explains_more(seed: int) -> None:
    weights, inner, present, _ = rows(seed)
    beta = heads.fit_width(weights, inner, present)

    def explained(width: torch.Tensor) -> torch.Tensor:
        predicted = heads.attention_rows(width[:, None, None] * inner, present.expand(weights.shape))
        return heads.divergence_explained(weights, predicted, present)

    best = explained(beta)
    assert (best >= -1e-12).all()
    assert (best <= 1).all()
    for shift in (-0.01, 0.01):
        assert (explained(beta + shift) <= best + 1e-12).all()


def test_where_every_token_sees_only_the_nearest_the_width_is_large() -> None:
    inner = torch.tensor([[1.0, 0.5], [0.2, 0.9]], dtype=torch.float64)
    beta = heads.fit_width(torch.eye(2, dtype=torch.float64), inner, torch.ones_like(inner))
    assert float(beta) > 30


def test_what_is_explained_is_as_by_hand() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    present = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    predicted = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.5, 0.0]], dtype=torch.float64)
    # KL to the prediction: ½ log 2 and log 2; to uniform rows: log 3 − log 2 and log 2.
    expected = 1 - 1.5 * math.log(2) / math.log(3)
    assert float(heads.divergence_explained(weights, predicted, present)) == pytest.approx(expected)
    assert float(heads.divergence_explained(weights, weights, present)) == pytest.approx(1)
    # Squares: 1/16 + 1/16 + 1/2 of 1/36 + 1/36 + 1/9 + 1/2.
    assert float(heads.squares_explained(weights, predicted, present)) == pytest.approx(1 - (5 / 8) / (2 / 3))
    uniform = present / present.sum(-1, keepdim=True)
    for measure in (heads.divergence_explained, heads.squares_explained):
        assert float(measure(weights, uniform, present)) == pytest.approx(0, abs=1e-12)
        with pytest.raises(ValueError, match="weights must differ"):
            measure(uniform, weights, present)


@given(SEEDS)
def test_a_head_that_knows_offsets_only_is_explained_by_them(seed: int) -> None:
    _, _, present, places = rows(seed)
    means = normal(seed, 2, 7).exp()
    weights = heads.rows_by_offset(means, places, present)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 6, dtype=torch.float64))
    # From sentences of one length, where rows of one place have one sum, the means come back.
    pair, at = weights[:, 4:, :2], places[4:]
    again = heads.mean_by_offset(pair, at, present[4:, :2], 1)
    expected = torch.stack([pair[:, 1, 0], (pair[:, 0, 0] + pair[:, 1, 1]) / 2, pair[:, 0, 1]], -1)
    assert torch.allclose(again, expected)


def test_means_by_offset_are_those_by_hand() -> None:
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0]], dtype=torch.float64)
    present = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    places = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = heads.mean_by_offset(weights, places, present, 2)
    # No token is two away: the mean over all pairs.
    assert torch.allclose(found, torch.tensor([0.5, 0.3, 0.8, 0.1, 0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="largest must"):
        heads.mean_by_offset(weights, places, present, 0)
    with pytest.raises(ValueError, match="places must"):
        heads.mean_by_offset(weights, places + 0.5, present, 2)
    with pytest.raises(ValueError, match="means must"):
        heads.rows_by_offset(found[:4], places, present)


def test_scores_are_those_of_queries_and_keys() -> None:
    W_Q, W_K, x = normal(0, 2, 5), normal(1, 2, 5), normal(2, 3, 5)
    M = heads.score_matrix(W_Q, W_K, 0.5)
    assert torch.allclose(x @ M @ x.mT, 0.5 * (x @ W_Q.mT) @ (x @ W_K.mT).mT)


def test_rows_that_are_no_attention_are_refused() -> None:
    weights, inner, present, _ = rows(0)
    with pytest.raises(ValueError, match="weights must hold probabilities"):
        heads.fit_width(1.1 * weights, inner, present)
    with pytest.raises(ValueError, match="present must be 0 or 1"):
        heads.fit_width(weights, inner, 0.5 * present)

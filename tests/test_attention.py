import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import batches, normal, seeds
from torch import Tensor

from icl_lib.attention import (
    exponential_activation,
    labelled_tokens,
    query_mask,
    self_attention,
    softmax_regression_tokens,
)

sizes = st.tuples(st.integers(1, 7), st.integers(1, 5))


def distances(q: Tensor, k: Tensor) -> Tensor:
    """A kernel activation that is no function of inner products alone."""
    return torch.exp(-(q.unsqueeze(-2) - k.unsqueeze(-3)).square().sum(-1) / 2)


ALL_KINDS = {"linear": "linear", "softmax": "softmax", "exponential": exponential_activation, "gaussian": distances}


def by_loops(tokens: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, kind: str, mask: Tensor) -> Tensor:
    """The definition, token by token, for one sequence (T, e) and mask (T, T)."""
    q, k, v = (torch.stack([W @ token for token in tokens]) for W in (W_Q, W_K, W_V))
    updates = []
    for i in range(len(tokens)):
        seen = [j for j in range(len(tokens)) if mask[i, j]]
        scores = torch.stack([q[i] @ k[j] for j in seen]) if seen else torch.zeros(0, dtype=tokens.dtype)
        if kind == "softmax":
            scores = torch.softmax(scores, 0)
        elif kind == "exponential":
            scores = scores.exp()
        elif kind == "gaussian":
            scores = torch.stack([torch.exp(-(q[i] - k[j]) @ (q[i] - k[j]) / 2) for j in seen])
        updates.append(sum((s * v[j] for s, j in zip(scores, seen, strict=True)), torch.zeros_like(v[0])))
    return torch.stack(updates)


@given(sizes, seeds, st.sampled_from(list(ALL_KINDS)), st.sampled_from(["none", "keys", "full"]))
def test_attention_is_its_definition(size: tuple[int, int], seed: int, kind: str, masked: str) -> None:
    T, e = size
    tokens, W_Q, W_K, W_V = (normal(seed + i, *s) for i, s in enumerate([(T, e), (e, e), (e, e), (e, e)]))
    mask = normal(seed + 9, T, T) > 0
    mask[:, 0] = True
    mask = {"none": torch.ones_like(mask), "keys": mask[:1].expand(T, T), "full": mask}[masked]
    given_mask = {"none": None, "keys": mask[0], "full": mask}[masked]
    found = self_attention(tokens, W_Q, W_K, W_V, kind=ALL_KINDS[kind], mask=given_mask)
    torch.testing.assert_close(found, by_loops(tokens, W_Q, W_K, W_V, kind, mask), rtol=1e-11, atol=1e-11)


@given(sizes, seeds, st.sampled_from(list(ALL_KINDS)), st.floats(-2, 2))
def test_a_projection_acts_on_the_update_and_the_scale_on_the_queries(
    size: tuple[int, int], seed: int, kind: str, scale: float
) -> None:
    T, e = size
    tokens, *W, W_P = (normal(seed + i, *s) for i, s in enumerate([(T, e), (e, e), (e, e), (e, e), (e, e)]))
    found = self_attention(tokens, *W, W_P, kind=ALL_KINDS[kind], scale=scale)
    everything = torch.ones(T, T, dtype=torch.bool)
    updates = by_loops(tokens, scale * W[0], W[1], W[2], kind, everything)
    torch.testing.assert_close(found, torch.stack([W_P @ update for update in updates]), rtol=1e-11, atol=1e-11)


@given(sizes, seeds, batches, st.sampled_from(list(ALL_KINDS)))
def test_batches_of_tokens_and_weights_are_one_by_one(
    size: tuple[int, int], seed: int, batch: tuple[int, ...], kind: str
) -> None:
    T, e = size
    tokens, *W = (normal(seed + i, *batch, *s) for i, s in enumerate([(T, e), *((e, e),) * 4]))
    found = self_attention(tokens, *W, kind=ALL_KINDS[kind])
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (tokens, *W)]
    single = torch.stack([self_attention(*parts, kind=ALL_KINDS[kind]) for parts in zip(*flat, strict=True)])
    torch.testing.assert_close(found.reshape(single.shape), single, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["linear", "exponential", "gaussian"])
def test_a_token_without_keys_is_not_updated_where_nothing_is_normalised(kind: str) -> None:
    tokens, W = normal(0, 4, 3), normal(1, 3, 3)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2] = False
    update = self_attention(tokens, W, W, W, W, kind=ALL_KINDS[kind], mask=mask)
    assert torch.equal(update[2], torch.zeros(3).double())
    assert update[0].all()


def test_an_infinite_score_that_is_masked_is_not_seen() -> None:
    tokens, W = torch.eye(3).double() * 100, torch.eye(3).double()
    update = self_attention(tokens, W, W, W, kind=exponential_activation, mask=~torch.eye(3, dtype=torch.bool))
    torch.testing.assert_close(update, 100 * (1 - torch.eye(3).double()))


def test_the_query_mask_hides_the_last_token_and_needs_a_context() -> None:
    assert query_mask(3).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        query_mask(0)
    query, W = normal(0, 1, 3), normal(1, 3, 3)
    with pytest.raises(ValueError, match="mask must let every token look at one token or more"):
        self_attention(query, W, W, W, kind="softmax", mask=torch.tensor([False]))
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., n, d\) with sizes >= 1, got \(0, 3\)"):
        labelled_tokens(torch.zeros(0, 3), torch.zeros(0, 2), torch.zeros(3))


def test_a_masked_key_cannot_be_seen() -> None:
    tokens, W = normal(0, 4, 3), normal(1, 3, 3)
    other = tokens.clone()
    other[1] = 17.0
    mask = torch.tensor([True, False, True, True])
    for kind in ALL_KINDS.values():
        a, b = (self_attention(t, W, W, W, kind=kind, mask=mask) for t in (tokens, other))
        assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]])


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("shape", ["keys", "full"])
def test_what_a_masked_token_holds_reaches_no_other(number: float, shape: str) -> None:
    tokens, W = normal(0, 4, 3), normal(1, 3, 3)
    mask = torch.tensor([True, False, True, True])
    mask = mask if shape == "keys" else mask.expand(4, 4).clone()
    other = tokens.clone()
    other[1, 2] = number
    for kind in ALL_KINDS.values():
        found, expected = (self_attention(t, W, W, W, W, kind=kind, mask=mask) for t in (other, tokens))
        assert torch.equal(found[[0, 2, 3]], expected[[0, 2, 3]])
        with pytest.raises(ValueError, match="tokens must hold finite numbers, got nan or infinity"):
            self_attention(other, W, W, W, kind=kind)


def test_tokens_are_laid_out_as_the_papers_say() -> None:
    A, b, A_query = normal(0, 2, 3, 4), normal(1, 2, 3), normal(2, 2, 5, 4)
    tokens = softmax_regression_tokens(A, b, A_query)
    assert tokens.shape == (2, 8, 6)
    assert torch.equal(tokens[:, :3, :4], A)
    assert torch.equal(tokens[:, :3, 4], b)
    assert torch.equal(tokens[:, :, 5], torch.tensor([1.0] * 3 + [0.0] * 5).double().expand(2, 8))
    assert torch.equal(tokens[:, 3:, :4], A_query)
    assert not tokens[:, 3:, 4].any()
    x, y, x_query = normal(0, 3, 4), normal(1, 3, 2), normal(2, 4)
    tokens = labelled_tokens(x, y, x_query)
    assert torch.equal(tokens[:3], torch.cat([x, y], 1))
    assert torch.equal(tokens[3], torch.cat([x_query, torch.zeros(2).double()]))


def test_bad_calls_are_named() -> None:
    tokens, W = torch.zeros(4, 3), torch.zeros(3, 3)
    with pytest.raises(ValueError, match="kind must be one of 'linear', 'softmax', got 'cosine'"):
        self_attention(tokens, W, W, W, kind="cosine")
    with pytest.raises(ValueError, match=r"W_K must have shape .*, got \(3, 2\)"):
        self_attention(tokens, W, W[:, :2], W, kind="linear")
    with pytest.raises(ValueError, match=r"W_P must have shape .*, got \(2, 3\)"):
        self_attention(tokens, W, W, W, W[:2], kind="linear")
    with pytest.raises(ValueError, match="scale must be a finite number, got nan"):
        self_attention(tokens, W, W, W, kind="linear", scale=math.nan)
    with pytest.raises(ValueError, match=r"kind\(q, k\) must have shape \(\.\.\., T=4, T_=4\)"):
        self_attention(tokens, W, W, W, kind=lambda q, k: q)
    for mask in (torch.ones(4), torch.ones(3, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="mask must be boolean of shape"):
            self_attention(tokens, W, W, W, kind="linear", mask=mask)
    with pytest.raises(ValueError, match=r"A_query must have shape \(\.\.\., n_query, d=3\)"):
        softmax_regression_tokens(tokens, torch.zeros(4), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"y must have shape \(\.\.\., n=4, C\)"):
        labelled_tokens(tokens, torch.zeros(3, 2), torch.zeros(3))

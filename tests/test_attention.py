import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import batches, normal, seeds
from torch import Tensor

from icl_lib.attention import labelled_tokens, self_attention, softmax_regression_tokens

sizes = st.tuples(st.integers(1, 7), st.integers(1, 5))


def by_loops(tokens: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, kind: str, mask: Tensor) -> Tensor:
    """The definition, token by token, for one sequence (T, e) and mask (T, T)."""
    q, k, v = (torch.stack([W @ token for token in tokens]) for W in (W_Q, W_K, W_V))
    updates = []
    for i in range(len(tokens)):
        seen = [j for j in range(len(tokens)) if mask[i, j]]
        scores = torch.stack([q[i] @ k[j] for j in seen]) if seen else torch.zeros(0, dtype=tokens.dtype)
        if kind == "softmax":
            scores = torch.softmax(scores, 0)
        updates.append(sum((s * v[j] for s, j in zip(scores, seen, strict=True)), torch.zeros_like(v[0])))
    return torch.stack(updates)


@given(sizes, seeds, st.sampled_from(["linear", "softmax"]), st.sampled_from(["none", "keys", "full"]))
def test_attention_is_its_definition(size: tuple[int, int], seed: int, kind: str, masked: str) -> None:
    T, e = size
    tokens, W_Q, W_K, W_V = (normal(seed + i, *s) for i, s in enumerate([(T, e), (e, e), (e, e), (e, e)]))
    mask = normal(seed + 9, T, T) > 0
    mask[:, 0] = True
    mask = {"none": torch.ones_like(mask), "keys": mask[:1].expand(T, T), "full": mask}[masked]
    given_mask = {"none": None, "keys": mask[0], "full": mask}[masked]
    found = self_attention(tokens, W_Q, W_K, W_V, kind=kind, mask=given_mask)
    torch.testing.assert_close(found, by_loops(tokens, W_Q, W_K, W_V, kind, mask), rtol=1e-11, atol=1e-11)


@given(sizes, seeds, batches, st.sampled_from(["linear", "softmax"]))
def test_batches_of_tokens_and_weights_are_one_by_one(
    size: tuple[int, int], seed: int, batch: tuple[int, ...], kind: str
) -> None:
    T, e = size
    tokens, *W = (normal(seed + i, *batch, *s) for i, s in enumerate([(T, e), (e, e), (e, e), (e, e)]))
    found = self_attention(tokens, *W, kind=kind)
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (tokens, *W)]
    single = torch.stack([self_attention(*parts, kind=kind) for parts in zip(*flat, strict=True)])
    torch.testing.assert_close(found.reshape(single.shape), single, rtol=1e-11, atol=1e-11)


def test_a_linear_token_without_keys_is_not_updated() -> None:
    tokens, W = normal(0, 4, 3), normal(1, 3, 3)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2] = False
    assert torch.equal(self_attention(tokens, W, W, W, kind="linear", mask=mask)[2], torch.zeros(3).double())


def test_a_masked_key_cannot_be_seen() -> None:
    tokens, W = normal(0, 4, 3), normal(1, 3, 3)
    other = tokens.clone()
    other[1] = 17.0
    mask = torch.tensor([True, False, True, True])
    for kind in ("linear", "softmax"):
        a, b = (self_attention(t, W, W, W, kind=kind, mask=mask) for t in (tokens, other))
        assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]])


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
    for mask in (torch.ones(4), torch.ones(3, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="mask must be boolean of shape"):
            self_attention(tokens, W, W, W, kind="linear", mask=mask)
    with pytest.raises(ValueError, match=r"A_query must have shape \(\.\.\., n_query, d=3\)"):
        softmax_regression_tokens(tokens, torch.zeros(4), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"y must have shape \(\.\.\., n=4, C\)"):
        labelled_tokens(tokens, torch.zeros(3, 2), torch.zeros(3))

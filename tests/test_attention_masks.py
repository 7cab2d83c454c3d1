"""Masks of a batch: each token of each sequence sees what its own mask says."""

import pytest
import torch
from random_documents import normal
from test_attention import ALL_KINDS, by_loops

from icl_lib.attention import self_attention

B, T, E = 3, 4, 3
softmax_and_others = pytest.mark.parametrize("kind", ALL_KINDS)


def layer() -> tuple[torch.Tensor, ...]:
    """Tokens of three sequences, and W_Q, W_K, W_V."""
    return normal(0, B, T, E), normal(1, E, E), normal(2, E, E), normal(3, E, E)


def one_by_one(kind: str, mask: torch.Tensor) -> torch.Tensor:
    """The definition for every sequence with its mask (B, T, T)."""
    tokens, *W = layer()
    return torch.stack([by_loops(part, *W, kind, own) for part, own in zip(tokens, mask, strict=True)])


@softmax_and_others
def test_every_sequence_has_a_mask_of_its_own(kind: str) -> None:
    """With a token that nobody sees in one sequence, and one that sees itself only in another."""
    mask = normal(4, B, T, T) > 0
    mask |= torch.eye(T, dtype=torch.bool)
    mask[1, :, 2] = False
    mask[1, 2, 0] = True
    mask[2, 3] = torch.tensor([False, False, False, True])
    found = self_attention(*layer(), kind=ALL_KINDS[kind], mask=mask)
    torch.testing.assert_close(found, one_by_one(kind, mask), rtol=1e-11, atol=1e-11)


@softmax_and_others
def test_one_row_of_a_mask_holds_for_every_token_of_its_sequence(kind: str) -> None:
    """Masks (B, 1, T): with a token that no token of any sequence sees."""
    row = torch.tensor([[True, False, True, False], [False, False, True, True], [True, False, False, False]])
    found = self_attention(*layer(), kind=ALL_KINDS[kind], mask=row.unsqueeze(1))
    expected = one_by_one(kind, row.unsqueeze(1).expand(B, T, T))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@softmax_and_others
def test_one_mask_holds_for_all_sequences(kind: str) -> None:
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    found = self_attention(*layer(), kind=ALL_KINDS[kind], mask=mask)
    torch.testing.assert_close(found, one_by_one(kind, mask.expand(B, T, T)), rtol=1e-11, atol=1e-11)


def test_one_token_of_one_sequence_that_sees_nothing_is_refused_in_softmax() -> None:
    mask = torch.ones(B, T, T, dtype=torch.bool)
    mask[1, 2] = False
    with pytest.raises(ValueError, match="mask must let every token look at one token or more"):
        self_attention(*layer(), kind="softmax", mask=mask)
    with pytest.raises(ValueError, match="mask must let every token look at one token or more"):
        self_attention(*layer(), kind="softmax", mask=mask[:, 2:3])

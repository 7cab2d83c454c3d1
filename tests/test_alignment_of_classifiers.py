"""Sensitivities of classifiers: their difference and their angle are those of the matrices as vectors."""

import math

import pytest
import torch
from random_documents import normal

from icl_lib.alignment import classifier_model_cos, classifier_model_diff, cosine, entropy, model_diff, preds_diff


def test_differences_and_cosines_are_those_of_the_flattened_matrices() -> None:
    J, J2 = normal(0, 5, 3, 4), normal(1, 5, 3, 4)
    first, second = J.flatten(1), J2.flatten(1)
    torch.testing.assert_close(classifier_model_diff(J, J2), (first - second).norm(dim=-1))
    torch.testing.assert_close(classifier_model_cos(J, J2), torch.cosine_similarity(first, second, dim=-1))
    assert torch.equal(classifier_model_diff(J, J), torch.zeros(5).double())
    torch.testing.assert_close(classifier_model_cos(J, -3 * J), -torch.ones(5).double())
    assert torch.equal(classifier_model_cos(J, torch.zeros_like(J)), torch.zeros(5).double())


def test_the_difference_of_predictions_is_the_norm_of_theirs() -> None:
    p, q = normal(2, 4, 6), normal(3, 4, 6)
    torch.testing.assert_close(preds_diff(p, q), (p - q).square().sum(-1).sqrt())
    torch.testing.assert_close(cosine(p, q), torch.cosine_similarity(p, q, dim=-1))
    assert torch.equal(cosine(p, torch.zeros_like(p)), torch.zeros(4).double())


@pytest.mark.parametrize("seed", range(3))
def test_a_model_and_itself_do_not_differ_by_less_than_nothing(seed: int) -> None:
    """The square comes from inner products, and rounding may leave it below 0."""
    f, w = torch.softmax(normal(seed, 8, 7), -1).float(), normal(seed + 1, 8, 3).float()
    again = (1 + 1e-7) * w
    found = model_diff(f, w, f, again)
    assert bool(torch.isfinite(found).all())
    assert float(found.max()) < 1e-2 * float(w.norm(dim=-1).max())


def test_entropy_counts_nothing_for_what_never_happens() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]).double()
    torch.testing.assert_close(entropy(p), torch.tensor([math.log(2), 0.0, math.log(4)]).double())

"""What a head of a trained model is beside the construction: its matrices and the identity, its attention and one β.

A row of attention is a probability vector over the tokens that are `present` (1, else 0), where rows have several
lengths. A token that is not present has the weight 0.
"""

import torch
from torch import Tensor

from icl_lib.matrices import nearest_multiple
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_integer, check_number

# Sizes of β between which `fit_width` looks, and how often it halves them.
LARGEST_WIDTH = 1e4
HALVINGS = 40


@checked("M: ... d d_")
def identity_share(M: Tensor) -> Tensor:
    """Share of ‖M‖² that the nearest c I explains, d c² / ‖M‖², of M (..., d, d): shape (...). 0 for M = 0.

    It is 1 − `distance_from_identity`². See `prop-rank-ceiling`.
    """
    largest = M.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(M.dtype).tiny)
    scaled = M / largest
    size = scaled.square().sum((-2, -1)).clamp_min(torch.finfo(M.dtype).tiny)
    return M.shape[-1] * nearest_multiple(scaled).square() / size


@checked(counts=("rank", "d"))
def share_ceiling(rank: int, d: int) -> float:
    """The largest `identity_share` of a d × d matrix of that rank, rank / d. See `prop-rank-ceiling`."""
    check_integer("rank", rank, 1, d)
    return rank / d


@checked("M: ... d d_, covariance: ... d d_")
def whitened(M: Tensor, covariance: Tensor) -> Tensor:
    """Σ^{1/2} M Σ^{1/2}, (..., d, d): the bilinear form M of vectors with covariance Σ, in white coordinates.

    Raises `ValueError` where Σ is not symmetric or has a negative eigenvalue beyond rounding. See `sec-white-scores`.
    """
    size = float(covariance.abs().max())
    allowed = 100 * covariance.shape[-1] * torch.finfo(covariance.dtype).eps * size
    if not float((covariance - covariance.mT).abs().max()) <= allowed:
        raise ValueError("covariance must be symmetric, got another matrix")
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    if not float(eigenvalues.min()) >= -allowed:
        raise ValueError(f"covariance must have no negative eigenvalue, got {float(eigenvalues.min()):.3g}")
    root = (vectors * eigenvalues.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
    return root @ M @ root


def _check_present(present: Tensor) -> None:
    if not bool(((present == 0) | (present == 1)).all()) or not bool((present.sum(-1) > 0).all()):
        raise ValueError("present must be 0 or 1, with a 1 in every row, got other values")


def _check_rows(name: str, rows: Tensor, present: Tensor) -> None:
    """Raise `ValueError` unless rows are probabilities on what is present."""
    total = (rows.sum(-1) - 1).abs().max()
    if not (bool((rows >= 0).all()) and float(total) < 1e-3 and not bool((rows * (1 - present)).any())):
        raise ValueError(f"{name} must hold probabilities of the tokens that are present, got other rows")


@checked("scores: ... n, present: ... n")
def attention_rows(scores: Tensor, present: Tensor) -> Tensor:
    """softmax of scores (..., n) over what is present, 0 elsewhere. See `sec-one-width`."""
    _check_present(present)
    return torch.softmax(scores.masked_fill(present == 0, -torch.inf), -1)


@checked("weights: ... R n, inner: R n, present: R n")
def fit_width(weights: Tensor, inner: Tensor, present: Tensor) -> Tensor:
    """β (...) with which softmax(β · inner) over what is present is nearest to the rows `weights` (..., R, n).

    Nearest in the mean of KL(weights ‖ softmax) over rows, which is convex in β: its slope is halved down between
    ±`LARGEST_WIDTH`, one of which is the answer where the slope has no zero. See `sec-one-width`.
    """
    _check_present(present)
    _check_rows("weights", weights, present)
    wanted = (weights * inner).sum((-2, -1))
    low = torch.full_like(wanted, -LARGEST_WIDTH)
    high = -low
    for _ in range(HALVINGS):
        beta = (low + high) / 2
        expected = (attention_rows(beta[..., None, None] * inner, present.expand(weights.shape)) * inner).sum((-2, -1))
        low, high = torch.where(expected < wanted, beta, low), torch.where(expected < wanted, high, beta)
    return (low + high) / 2


@checked("weights: ... R n, predicted: ... R n, present: R n")
def divergence_explained(weights: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
    """1 − mean KL(weights ‖ predicted) / mean KL(weights ‖ uniform), over rows (R, n): shape (...).

    1 for the weights themselves, 0 for uniform rows, negative for worse. A prediction counts as at least the smallest
    normal number of its dtype. Raises `ValueError` where the weights are uniform. See `sec-one-width`.
    """
    _check_present(present)
    for name, rows in (("weights", weights), ("predicted", predicted)):
        _check_rows(name, rows, present)
    least = torch.finfo(weights.dtype).tiny
    own = torch.special.xlogy(weights, weights).sum((-2, -1))
    missed = own - (weights * predicted.clamp_min(least).log()).sum((-2, -1))
    uniform = own + (weights * present.sum(-1, keepdim=True).log()).sum((-2, -1))
    _check_not_uniform(uniform, weights)
    return 1 - missed / uniform


@checked("weights: ... R n, predicted: ... R n, present: R n")
def squares_explained(weights: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
    """1 − Σ (weights − predicted)² / Σ (weights − uniform)², over rows (R, n): shape (...). See `sec-one-width`."""
    _check_present(present)
    for name, rows in (("weights", weights), ("predicted", predicted)):
        _check_rows(name, rows, present)
    uniform = present / present.sum(-1, keepdim=True)
    total = (weights - uniform).square().sum((-2, -1))
    _check_not_uniform(total, weights)
    return 1 - (weights - predicted).square().sum((-2, -1)) / total


def _check_not_uniform(total: Tensor, weights: Tensor) -> None:
    if not bool((total > torch.finfo(weights.dtype).eps).all()):
        raise ValueError("weights must differ from the uniform ones, got rows that do not")


@checked("weights: ... R n, places: R, present: R n")
def mean_by_offset(weights: Tensor, places: Tensor, present: Tensor, largest: int) -> Tensor:
    """Mean attention (..., 2 · largest + 1) by j − i: what a head does that knows positions only.

    `places` (R,): the position i of each row's token, whole numbers from 0. An offset that does not occur has the
    mean over all. See `sec-one-width`.
    """
    _check_present(present)
    check_integer("largest", largest, 0, present.shape[1])
    bins = _offsets("largest", places, present, largest)
    index = bins.expand(weights.shape).flatten(-2)
    zeros = torch.zeros(*weights.shape[:-2], 2 * largest + 1, dtype=weights.dtype, device=weights.device)
    total = zeros.scatter_add(-1, index, (weights * present).flatten(-2))
    count = zeros.scatter_add(-1, index, present.expand(weights.shape).flatten(-2))
    every = (total.sum(-1) / count.sum(-1)).unsqueeze(-1)
    return torch.where(count > 0, total / count.clamp_min(1), every)


@checked("means: ... k, places: R, present: R n")
def rows_by_offset(means: Tensor, places: Tensor, present: Tensor) -> Tensor:
    """The rows (..., R, n) that means of `mean_by_offset` predict, each scaled to the sum 1. See `sec-one-width`."""
    _check_present(present)
    if not bool((means >= 0).all()) or means.shape[-1] % 2 == 0:
        raise ValueError(f"means must be an odd number of means of at least 0, got shape {tuple(means.shape)}")
    rows = means[..., _offsets("means", places, present, means.shape[-1] // 2)] * present
    total = rows.sum(-1, keepdim=True)
    return torch.where(total > 0, rows / total.clamp_min(torch.finfo(rows.dtype).tiny), present / present.sum(-1, True))


def _offsets(name: str, places: Tensor, present: Tensor, largest: int) -> Tensor:
    """j − i + largest for every row and column, (R, n)."""
    n = present.shape[1]
    if not bool(((places == places.round()) & (places >= 0) & (places < n)).all()):
        raise ValueError(f"places must be whole numbers from 0 to {n - 1}, got others")
    found = torch.arange(n, device=present.device) - places.long().unsqueeze(1)
    if not int((found * (present != 0)).abs().max()) <= largest:
        raise ValueError(f"{name} must reach to the largest offset, got {largest}")
    return found.clamp(-largest, largest) + largest


@checked("W_Q: ... r d, W_K: ... r d")
def score_matrix(W_Q: Tensor, W_K: Tensor, scale: float) -> Tensor:
    """M = scale · W_Qᵀ W_K (..., d, d) with scores x_iᵀ M x_j of query i and key j. See `sec-white-scores`."""
    check_number("scale", scale)
    return scale * W_Q.mT @ W_K

"""Words with a covariance: they are Gaussian words in other coordinates."""

import math

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_dtype, check_last_dimensions, check_number

# How far two entries that should be equal may be apart, in units of the largest.
SYMMETRIC = 1e-9


@checked()
def spread_evenly(d: int, condition: float) -> Tensor:
    """Diagonal Σ (d, d) in float64 whose standard deviations are evenly spaced and 1 in the mean.

    `condition` is the largest variance over the least one. See `prop-covariance`.
    """
    check_count("d", d)
    check_number("condition", condition, minimum=1)
    if d == 1 and condition != 1:
        raise ValueError(f"condition must be 1 for d = 1, got {condition}")
    ratio = math.sqrt(condition)
    return torch.linspace(2 / (1 + ratio), 2 * ratio / (1 + ratio), d, dtype=torch.float64).square().diag()


@checked()
def root(covariance: Tensor, d: int) -> Tensor:
    """Σ^{1/2} (d, d), symmetric: words z Σ^{1/2} with z ~ N(0, I) have the covariance Σ.

    Raises `ValueError` unless `covariance` is a symmetric positive definite matrix of size d. See `prop-covariance`.
    """
    check_count("d", d)
    check_last_dimensions("covariance", covariance, d=d, d_=d)
    check_dtype("dtype of covariance", covariance.dtype)
    if covariance.dim() != 2:
        raise ValueError(f"covariance must be one matrix of shape ({d}, {d}), got {tuple(covariance.shape)}")
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("covariance must be finite, got an entry that is not")
    apart = float((covariance - covariance.mT).abs().max())
    if apart > SYMMETRIC * float(covariance.abs().max()):
        raise ValueError(f"covariance must be symmetric, got entries across the diagonal that differ by {apart:g}")
    values, vectors = torch.linalg.eigh(covariance)
    if not float(values[0]) > 0:
        raise ValueError(f"covariance must be positive definite, got the eigenvalue {float(values[0]):g}")
    return (vectors * values.sqrt()) @ vectors.mT


@checked()
def inverse(covariance: Tensor, d: int) -> Tensor:
    """Σ⁻¹ (d, d), with which Σ⁻¹h is the direction of the preconditioned step; errors as of `root`.

    See `prop-covariance`.
    """
    half = torch.linalg.inv(root(covariance, d))
    return half @ half

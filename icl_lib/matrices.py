"""How near a square matrix is to a multiple of the identity."""

import torch
from torch import Tensor

from icl_lib.running.validation import check_last_dimensions


def _check_square(M: Tensor) -> int:
    check_last_dimensions("M", M, d=None)
    check_last_dimensions("M", M, d=M.shape[-1], d_=M.shape[-1])
    return int(M.shape[-1])


def nearest_multiple(M: Tensor) -> Tensor:
    """c (...) with which c I is nearest to M (..., d, d) in the Frobenius norm: the mean of the diagonal.

    See `prop-symmetric-optimum`.
    """
    return torch.diagonal(M, dim1=-2, dim2=-1).sum(-1) / _check_square(M)


def distance_from_identity(M: Tensor) -> Tensor:
    """‖M − c I‖_F / ‖M‖_F with the nearest c, shape (...): 0 for a multiple of the identity, 1 with no trace.

    It is the sine of the angle between M and I. For M = c I + noise of independent entries N(0, σ²) it is about
    √d σ over the size of c where that is small. 0 for M = 0. See `prop-symmetric-optimum`.
    """
    d, size = _check_square(M), M.square().sum((-2, -1))
    cosine = nearest_multiple(M).square() * d / size.clamp_min(torch.finfo(M.dtype).tiny)
    return torch.where(size > 0, (1 - cosine).clamp_min(0).sqrt(), torch.zeros_like(size))


def spectrum(M: Tensor) -> Tensor:
    """Singular values of M over the size of c, descending, (..., d): all 1 for a multiple of the identity.

    See `prop-symmetric-optimum`.
    """
    _check_square(M)
    return torch.linalg.svdvals(M) / nearest_multiple(M).abs().unsqueeze(-1)

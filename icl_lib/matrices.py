"""How near a square matrix is to a multiple of the identity."""

import torch
from torch import Tensor

from icl_lib.running.checked import checked


@checked("M: ... d d_")
def nearest_multiple(M: Tensor) -> Tensor:
    """c (...) with which c I is nearest to M (..., d, d) in the Frobenius norm: the mean of the diagonal.

    See `prop-symmetric-optimum`.
    """
    return torch.diagonal(M, dim1=-2, dim2=-1).sum(-1) / M.shape[-1]


@checked("M: ... d d_")
def distance_from_identity(M: Tensor) -> Tensor:
    """‖M − c I‖_F / ‖M‖_F with the nearest c, shape (...): 0 for a multiple of the identity, 1 with no trace.

    It is the sine of the angle between M and I. For M = c I + noise of independent entries N(0, σ²) it is about
    √d σ over the size of c where that is small. 0 for M = 0. See `prop-symmetric-optimum`.
    """
    size = torch.linalg.matrix_norm(M)
    # Not from the cosine, which is 1 to many digits where the distance is small.
    apart = M - nearest_multiple(M)[..., None, None] * torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    return torch.linalg.matrix_norm(apart) / size.clamp_min(torch.finfo(M.dtype).tiny)


@checked("M: ... d d_")
def spectrum(M: Tensor) -> Tensor:
    """Singular values of M over the size of c, descending, (..., d): all 1 for a multiple of the identity.

    See `prop-symmetric-optimum`.
    """
    return torch.linalg.svdvals(M) / nearest_multiple(M).abs().unsqueeze(-1)

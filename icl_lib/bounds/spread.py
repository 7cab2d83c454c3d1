"""How far logits, rows and matrices spread: the few norms that the bounds are written in."""

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_integer


@checked("v: ... n")
def osc(v: Tensor) -> Tensor:
    """Oscillation max v − min v over the last dimension, shape (...). See `sec-notation-bounds`."""
    return v.amax(-1) - v.amin(-1)


@checked("v: ... n")
def centre(v: Tensor, dim: int = -1) -> Tensor:
    """P v with P = I − 11ᵀ/n along `dim`; of a matrix (..., n, d) take `dim=-2` for P A. See `sec-notation-bounds`."""
    check_integer("dim", dim, -v.dim(), -1)
    return v - v.mean(dim, keepdim=True)


@checked("A: ... n d")
def spectral_norm(A: Tensor) -> Tensor:
    """Largest singular value of A (..., n, d), shape (...).

    Relative error of the order of (n + d) ε. Not from the eigenvalues of a Gram matrix: in float32 those do not
    converge for some matrices of rank 1, such as PA where all words are equal up to rounding.
    See `sec-notation-bounds`.
    """
    return torch.linalg.svdvals(A)[..., 0]


@checked("H: ... d d_")
def eigenvalues(H: Tensor) -> Tensor:
    """Eigenvalues of symmetric H (..., d, d) in ascending order, (..., d).

    Computed in float64 and given in the precision of H: LAPACK's solver in float32 does not converge, or gives nan,
    for some matrices whose entries span many orders of magnitude, and which those are depends on the processor.
    """
    return torch.linalg.eigvalsh(H.double()).to(H.dtype)


@checked("A: ... n d")
def centred_norm(A: Tensor) -> Tensor:
    """‖P A‖, the spectral norm of A (..., n, d) after the mean row is removed, shape (...).

    See `sec-notation-bounds`.
    """
    return spectral_norm(centre(A, dim=-2))


@checked("A: ... n d")
def diameter(A: Tensor) -> Tensor:
    """diam A = max ‖a_i − a_j‖₂ over the rows of A (..., n, d), shape (...); at most √2 ‖P A‖.

    See `sec-notation-bounds`.
    """
    distances = torch.cdist(A, A, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.flatten(-2).amax(-1)


@checked("v: ... n")
def norm(v: Tensor) -> Tensor:
    """‖v‖₂ over the last dimension, shape (...). See `sec-notation-bounds`."""
    return torch.linalg.vector_norm(v, dim=-1)

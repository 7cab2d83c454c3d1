"""The space of the kernel e^{β⟨x, x'⟩} written out: one coordinate for each monomial, up to a degree."""

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_integer, check_number


@checked("x: ... d")
def exponential_features(x: Tensor, beta: float, degree: int) -> Tensor:
    """φ_ν(x) = x^ν √(β^|ν| / ν!) for all multi-indices |ν| ≤ `degree`: (..., F) for `x` (..., d).

    ⟨φ(x), φ(x')⟩ is the series of e^{β⟨x, x'⟩} up to that degree; on the unit sphere what is left out is at most
    β^{K+1} e^β / (K+1)! for degree K. F = (d + K choose K) grows fast: for small d only. See `lem-functional-gradient`.
    """
    check_number("beta", beta, minimum=0)
    check_integer("degree", degree, 0, 150)
    d = x.shape[-1]
    # t^k √(β^k / k!) for every coordinate t: the features are products of these.
    scale = [math.sqrt(beta**k / math.factorial(k)) for k in range(degree + 1)]
    powers = torch.stack([x**k * scale[k] for k in range(degree + 1)], dim=-1)
    chosen = torch.tensor(_multi_indices(d, degree), device=x.device)
    features = torch.ones_like(powers[..., 0, :1])
    for axis in range(d):
        features = features * powers[..., axis, :].index_select(-1, chosen[:, axis])
    return features


def _multi_indices(d: int, degree: int) -> list[list[int]]:
    """All ν in ℕᵈ with |ν| ≤ degree."""
    found = []
    for total in range(degree + 1):
        for axes in combinations_with_replacement(range(d), total):
            found.append([axes.count(axis) for axis in range(d)])
    return found

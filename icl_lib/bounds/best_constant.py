"""The best constant of the bounded shift for a given number of words n and radius R, its floor and its ceiling.

R has any shape (...), and so has every result.
"""

import math

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count


@checked("R: ...")
def largest_probability(n: int, R: Tensor) -> Tensor:
    """p* = 1/(1 + (n−1) e^(−ρ√(n/(n−1)))), the largest entry of f when ‖Ax‖ ≤ ρ = R²; n ≥ 2.

    See `thm-best-constant`.
    """
    check_count("n", n, 2)
    return torch.sigmoid(R.square() * math.sqrt(n / (n - 1)) - math.log(n - 1))


@checked("R: ...")
def best_constant_ceiling(n: int, R: Tensor) -> Tensor:
    """R min(½, p*) ≥ M*(n, R), shape of R; n ≥ 2. See `thm-best-constant`."""
    check_count("n", n, 2)
    return R * largest_probability(n, R).clamp_max(0.5)


@checked("R: ...")
def best_constant_floor(n: int, R: Tensor) -> Tensor:
    """R max(n/(n−1) p̄(1−p̄), 1/(2 + (n−2) e^(−ρ√(n/(2(n−2)))))) ≤ M*(n, R), p̄ = min(p*, ½); n ≥ 2.

    See `thm-best-constant`.
    """
    check_count("n", n, 2)
    p = largest_probability(n, R).clamp_max(0.5)
    one = n / (n - 1) * p * (1 - p)
    if n == 2:
        return R * one
    two = 1 / (2 + (n - 2) * torch.exp(-R.square() * math.sqrt(n / (2 * (n - 2)))))
    return R * torch.maximum(one, two)


@checked("R: ...")
def best_constant(n: int, R: Tensor) -> Tensor:
    """M*(n, R) = R sup ‖J(z)‖ over ‖z‖₂ ≤ R², shape of R; n ≥ 2. See `thm-best-constant` and `thm-two-free-logits`.

    The supremum is attained with two free logits and the rest equal, so radius and angle in that plane are scanned,
    on a grid and then on finer ones around the best point. Relative error below 1e-9 in float64.
    """
    check_count("n", n, 2)
    if n == 2:
        return 0.5 * R
    # In float64: near equal words the two eigenvalues differ by less than float32 can tell.
    rho = R.double().square().unsqueeze(-1)
    with torch.no_grad():
        radius, angle = _best_point(n, rho)
    # The point is held fixed: at a maximum the derivative of the value in R does not see where it lies.
    return R * _two_free(n, rho * radius, angle).squeeze(-1).to(R)


def _best_point(n: int, rho: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the radius and angle at which `_two_free` is largest, each of shape (..., 1)."""
    radius, angle = torch.full_like(rho, 0.5), torch.zeros_like(rho)
    width, grid = 1.0, (9, 97)
    for _ in range(12):
        radii = (radius + width * torch.linspace(-0.5, 0.5, grid[0]).to(rho)).clamp(0, 1)
        angles = angle + width * math.pi * torch.linspace(-0.5, 0.5, grid[1]).to(rho)
        values = _two_free(n, (rho * radii).unsqueeze(-1), angles.unsqueeze(-2))
        at = values.flatten(-2).argmax(-1, keepdim=True)
        radius, angle = radii.gather(-1, at // grid[1]), angles.gather(-1, at % grid[1])
        # The first grid finds the right hill, the small ones climb it.
        width, grid = width / 4, (5, 17)
    return radius, angle


def _two_free(n: int, rho: Tensor, angle: Tensor) -> Tensor:
    """‖J‖ at the zero-sum logits of norm ρ in span{(e₁ − e₂)/√2, (e₁ + e₂)/√2 − mean}.

    On (e₁, e₂, the rest) J has the eigenvalue 0 and two more, of known sum and product. The greater is ‖J‖ wherever
    one of the two free words is the likeliest; elsewhere ‖J‖ may be f_rest, which is never the supremum.
    """
    together = math.sqrt((n - 2) / (2 * n))
    first = rho * (torch.cos(angle) * together + torch.sin(angle) / math.sqrt(2))
    second = rho * (torch.cos(angle) * together - torch.sin(angle) / math.sqrt(2))
    rest = -rho * torch.cos(angle) * 2 * together / (n - 2)
    f = torch.stack([first, second, rest + math.log(n - 2)], -1).softmax(-1)
    own, product = f * (1 - f), f.prod(-1) * n / (n - 2)
    total = own[..., 0] + own[..., 1] + own[..., 2] / (n - 2)
    return 0.5 * (total + (total.square() - 4 * product).clamp_min(torch.finfo(f.dtype).tiny).sqrt())

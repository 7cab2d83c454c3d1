"""Adversarial search: gradient ascent on left side / right side over everything a statement allows to vary.

Many restarts climb at once, in float64. A search proves nothing; it shows how tight a bound is at least, and it
finds a counterexample where a constant is too small.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from icl_lib.bounds.inequality import Inequality, Setting
from icl_lib.bounds.spread import norm, osc, spectral_norm
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_number

#: Ratios above 1 by more than this cannot be rounding.
ALLOWED = 1e-9

#: A ratio this near to 1 shows that a bound is attained: the climb ends after so many further updates.
ATTAINED = 1e-6
FURTHER = 20


class InequalityViolated(ArithmeticError):
    """A search found left > right: the inequality, or the code that states it, is false."""


@dataclass(frozen=True)
class Ascent:
    """What a search spends: `restarts` climbs of `steps` updates of Adam, `rate` falling to 0 along a cosine."""

    restarts: int = 64
    steps: int = 200
    rate: float = 0.1

    def __post_init__(self) -> None:
        check_count("restarts", self.restarts)
        check_count("steps", self.steps)
        check_number("rate", self.rate, above=0)


@dataclass(frozen=True)
class Family:
    """The settings searched: `n` words in `d` dimensions, radii in [R_low, R_high]."""

    n: int
    R_low: float
    R_high: float
    d: int = 2

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("d", self.d)
        check_number("R_low", self.R_low, above=0)
        check_number("R_high", self.R_high, minimum=self.R_low)


@dataclass(frozen=True)
class Worst:
    """The largest left/right found, and the radius R at which it was found."""

    ratio: float
    R: float


Parameters = dict[str, Tensor]


@checked()
def start(family: Family, restarts: int, generator: Generator) -> Parameters:
    """Unconstrained parameters of `restarts` settings, float64."""
    check_count("restarts", restarts)
    n, d = family.n, family.d
    shapes = {"A": (n, d), "B": (n, d), "x": (d,), "y": (d,), "b": (n,), "sizes": (8,)}
    drawn = {
        name: torch.randn(restarts, *shape, generator=generator, device=generator.device, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    # Cubes of normals have a few large entries: targets start near the vertices, where most extremes are.
    return drawn | {"b": drawn["b"] ** 3}


@checked(
    "parameters.A: N n d, parameters.B: N n d, parameters.x: N d, parameters.y: N d, parameters.b: N n, "
    "parameters.sizes: N eight"
)
def setting(family: Family, parameters: Parameters) -> Setting:
    """The feasible setting that `parameters` stand for.

    Sizes are sin² of a free number, so both ends of a range are reached and neither is a wall. Steps reach from
    10⁻³ R to 2R and are cut at the radius; η lies in [0.01, 10], and s in [0.01, 3]/D with D = max_i osc_j⟨a_i, a_j⟩,
    so that the scores of attention do not vanish in rounding.
    """
    if missing := {"A", "B", "x", "y", "b", "sizes"} - set(parameters):
        raise ValueError(f"parameters must hold A, B, x, y, b and sizes, got none called {', '.join(sorted(missing))}")
    size = torch.sin(parameters["sizes"]).square()
    R = family.R_low * (family.R_high / family.R_low) ** size[:, 0]
    A = _scaled(parameters["A"], R * size[:, 1])
    x = _unit(parameters["x"]) * (R * size[:, 2]).unsqueeze(-1)
    y = x + _unit(parameters["y"]) * (R * _between(1e-3, 2, size[:, 3])).unsqueeze(-1)
    B = A + _scaled(parameters["B"], R * _between(1e-3, 2, size[:, 4]))
    weights = parameters["b"].square()
    b = weights / weights.sum(-1, keepdim=True) * size[:, 5:6]
    eta, s = _between(1e-2, 10, size[:, 6]), _between(1e-2, 3, size[:, 7]) / osc(A @ A.mT).amax(-1)
    y = y * (R / norm(y)).clamp_max(1).unsqueeze(-1)
    B = B * (R / spectral_norm(B)).clamp_max(1)[:, None, None]
    return Setting(A, B, x, y, b, R, eta, s)


def _between(low: float, high: float, w: Tensor) -> Tensor:
    return low * (high / low) ** w


def _unit(v: Tensor) -> Tensor:
    return v / norm(v).unsqueeze(-1)


def _scaled(A: Tensor, size: Tensor) -> Tensor:
    return A * (size / spectral_norm(A))[:, None, None]


@checked(result="any")
def worst_ratio(inequality: Inequality, family: Family, ascent: Ascent, generator: Generator) -> Worst:
    """The largest left/right that `ascent` finds in `family`; it ends early near 1.

    Raises `InequalityViolated` where it exceeds 1 by more than 1e-9, conjectures included.
    """
    parameters = {k: v.requires_grad_() for k, v in start(family, ascent.restarts, generator).items()}
    adam = torch.optim.Adam(list(parameters.values()), lr=ascent.rate, betas=(0.9, 0.95))
    best, at, last = -math.inf, math.nan, ascent.steps
    for step in range(ascent.steps + 1):
        here = setting(family, parameters)
        climb = inequality.log_ratio(here)
        top, where = climb.detach().max(0)
        if float(top) > best:
            best, at = float(top), float(here.R[where].detach())
        if best > ALLOWED:
            excess = math.expm1(best)
            raise InequalityViolated(f"{inequality.key}: left/right = 1 + {excess:.3g} at n = {family.n}, R = {at:g}")
        if best > -ATTAINED:
            # A false inequality would now go on to ratios above 1.
            last = min(last, step + FURTHER)
        if step == last:
            break
        adam.param_groups[0]["lr"] = 0.5 * ascent.rate * (1 + math.cos(math.pi * step / ascent.steps))
        _climb(adam, climb)
    return Worst(math.exp(best), at)


def _climb(adam: torch.optim.Adam, climb: Tensor) -> None:
    """One update uphill; restarts whose ratio or slope is not a number stay where they are."""
    adam.zero_grad()
    finite = torch.isfinite(climb)
    torch.where(finite, -climb, 0.0).sum().backward()
    for group in adam.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
    adam.step()

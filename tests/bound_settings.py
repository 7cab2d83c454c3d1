"""Settings for the tests of the bounds: random ones and the extreme ones that the proofs point at."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from icl_lib.bounds.inequality import Setting
from icl_lib.bounds.spread import norm, osc, spectral_norm
from tests.random_documents import seeds

KINDS = ("gaussian", "aligned", "two words", "constant", "zero", "mirrored")
# What rounding may be allowed of a right side in a test that is to find something.
SLACK = 0.01


def _unit(v: Tensor) -> Tensor:
    return v / norm(v).clamp_min(1e-300).unsqueeze(-1)


def _document(kind: str, n: int, d: int, noise: Tensor, u: Tensor) -> Tensor:
    """A document (count, n, d) of spectral norm 1."""
    if kind == "aligned":
        rows = torch.zeros(n, dtype=u.dtype)
        rows[0] = 1
    elif kind in ("two words", "mirrored"):
        rows = torch.zeros(n, dtype=u.dtype)
        rows[0], rows[-1] = 1, -1
    elif kind == "constant":
        rows = -torch.ones(n, dtype=u.dtype)
    else:
        return noise / spectral_norm(noise)[:, None, None]
    A = rows[:, None] * u.unsqueeze(-2)
    return A / spectral_norm(A)[:, None, None]


def make(kind: str, n: int, d: int, R: float, step: float, seed: int, count: int, dtype: torch.dtype) -> Setting:
    """`count` settings of one kind; `step` is the size of both steps relative to R."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    # The last bit of R is left free, so that rounding to float32 does not leave the ball.
    inside = R * (1 - 1e-6)
    u = _unit(normal(d))
    A = inside * _document(kind, n, d, normal(n, d), u)
    size = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    x = inside * (u if kind in ("aligned", "constant", "two words") else _unit(normal(d)) * size)
    x = 1e-3 * x if kind == "two words" else 0 * x if kind == "zero" else x
    y = x + R * step * (u if kind in ("aligned", "two words") else _unit(normal(d)))
    change = normal(n, d)
    if kind == "mirrored":
        change = -(A @ (y - x).unsqueeze(-1)) * x.unsqueeze(-2)
    B = A + R * step * change / spectral_norm(change).clamp_min(1e-300)[:, None, None]
    y = y * (inside / norm(y).clamp_min(1e-300)).clamp_max(1).unsqueeze(-1)
    B = B * (inside / spectral_norm(B)).clamp_max(1)[:, None, None]
    b = torch.softmax(3 * normal(n), -1)
    b[::3] = torch.nn.functional.one_hot(torch.arange(len(b[::3])) % n, n).to(b)
    b[1::3] *= size[1::3]
    D = osc(A @ A.mT).amax(-1)
    eta = torch.exp(normal()).clamp(1e-2, 10)
    s = torch.where(D > 1e-6 * R * R, 0.5 * size.squeeze(-1).clamp_min(1e-2) / D.clamp_min(1e-300), 1.0)
    values = (A, B, x, y, b, torch.full((count,), R, dtype=torch.float64), eta, s)
    return Setting(*(v.to(dtype) for v in values))


def largest_radius(n: int, d: int, dtype: torch.dtype) -> float:
    """Up to 100, but no more than lets `rounding` allow a hundredth of the right side: beyond, no fault would show."""
    return math.sqrt(min(1e4, SLACK / (8 * (n + d) * torch.finfo(dtype).eps) - 1))


@st.composite
def settings(draw: st.DrawFn, dtype: torch.dtype, least_n: int = 1) -> Setting:
    """Sixteen settings with ‖Ax‖ up to 10⁴, as far as the dtype knows it, and steps from 10⁻⁶ R to 2R."""
    step = math.exp(draw(st.floats(math.log(1e-6), math.log(2.0))))
    n = draw(st.one_of(st.integers(least_n, 6), st.sampled_from((25, 60))))
    d = draw(st.one_of(st.integers(1, 4), st.just(20)))
    R = math.exp(draw(st.floats(math.log(0.02), math.log(largest_radius(n, d, dtype)))))
    return make(draw(st.sampled_from(KINDS)), n, d, R, step, draw(seeds), 16, dtype)

"""Cumulants of a softmax average: every derivative of f(z + tk) is one of them.

f (..., n) is a distribution, v, w, k (..., n) are vectors on the words; results have shape (...).
"""

import math

from torch import Tensor

from icl_lib.bounds.inequality import Inequality, Setting, Side
from icl_lib.bounds.spread import osc
from icl_lib.running.checked import checked

PAGE = "bounds/sharp-bounds"

#: Constant of the third cumulant, 1/(6√3): attained by two words.
C_3 = 1 / (6 * math.sqrt(3))

#: Constant of the third cumulant of three different vectors, 1/8: attained by three signs whose product is 1.
C_3_MIXED = 1 / 8

#: Constant of the fourth cumulant, 1/8: attained by two equal words.
C_4 = 1 / 8


@checked("f: ... n, v: ... n")
def centred(f: Tensor, v: Tensor) -> Tensor:
    """v − E_f v, shape (..., n). See `eq-cumulants`."""
    return v - (f * v).sum(-1, keepdim=True)


@checked("f: ... n, v: ... n, w: ... n")
def covariance(f: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Cov_f(v, w) = vᵀ J w, the first derivative of E[w] along v. See `eq-cumulants`."""
    return (f * centred(f, v) * centred(f, w)).sum(-1)


@checked("f: ... n, v: ... n, w: ... n, k: ... n")
def third_cumulant(f: Tensor, v: Tensor, w: Tensor, k: Tensor) -> Tensor:
    """κ₃(v, w, k) = E_f[ṽ w̃ k̃]. See `eq-cumulants`."""
    return (f * centred(f, v) * centred(f, w) * centred(f, k)).sum(-1)


@checked("f: ... n, k: ... n, v: ... n")
def fourth_cumulant(f: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """κ₄(k, k, k, v) = E_f[k̃³ ṽ] − 3 E_f[k̃²] E_f[k̃ ṽ]. See `lem-cumulants`."""
    k, v = centred(f, k), centred(f, v)
    return (f * k**3 * v).sum(-1) - 3 * (f * k.square()).sum(-1) * (f * k * v).sum(-1)


@checked("f: ... n, k: ... n")
def largest_second_moment(f: Tensor, k: Tensor) -> Tensor:
    """E_f[g²] over osc(k)⁶ with g = k̃³ − 3 Var(k) k̃, shape (...): at most 1/16, which proves C_4 = 1/8.

    κ₄(k, k, k, v) = Cov_f(g, v). See `lem-cumulants`.
    """
    centred_k = centred(f, k)
    variance = (f * centred_k.square()).sum(-1, keepdim=True)
    g = centred_k**3 - 3 * variance * centred_k
    return (f * g.square()).sum(-1) / osc(k) ** 6


def _f(p: Setting) -> Tensor:
    return p.z.softmax(-1)


def _largest(v: Tensor) -> Tensor:
    return v.abs().amax(-1)


def _sharp(key: str, statement: str, constant: str, left: Side, right: Side, magnitude: Side) -> Inequality:
    return Inequality(
        key, statement, "sharp", constant, "lem-cumulants", PAGE, left, right, fails_at=0.98, magnitude=magnitude
    )


THIRD = _sharp(
    "third-cumulant",
    "κ₃(k, k, v)",
    "osc(k)² osc(v)/6√3",
    left=lambda p: third_cumulant(_f(p), p.by_x, p.by_x, p.by_A).abs(),
    right=lambda p: C_3 * osc(p.by_x).square() * osc(p.by_A),
    magnitude=lambda p: _largest(p.by_x).square() * _largest(p.by_A),
)

THIRD_MIXED = _sharp(
    "third-cumulant-mixed",
    "κ₃(k, v, w)",
    "⅛ osc(k) osc(v) osc(w)",
    left=lambda p: third_cumulant(_f(p), p.by_x, p.by_A, p.b).abs(),
    right=lambda p: C_3_MIXED * osc(p.by_x) * osc(p.by_A) * osc(p.b),
    magnitude=lambda p: _largest(p.by_x) * _largest(p.by_A) * _largest(p.b),
)

FOURTH = _sharp(
    "fourth-cumulant",
    "κ₄(k, k, k, v)",
    "⅛ osc(k)³ osc(v)",
    left=lambda p: fourth_cumulant(_f(p), p.by_x, p.by_A).abs(),
    right=lambda p: C_4 * osc(p.by_x) ** 3 * osc(p.by_A),
    magnitude=lambda p: _largest(p.by_x) ** 3 * _largest(p.by_A),
)

INEQUALITIES = [THIRD, THIRD_MIXED, FOURTH]

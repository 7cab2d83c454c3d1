"""Cumulants of a softmax average: every derivative of f(z + tk) is one of them.

f (..., n) is a distribution, v, w, k (..., n) are vectors on the words; results have shape (...).
"""

import math

from torch import Tensor

from icl_lib.bounds.inequality import Inequality, Setting
from icl_lib.bounds.spread import osc

PAGE = "bounds/sharp-bounds"

#: Constant of the third cumulant, 1/(6√3): attained by two words.
C_3 = 1 / (6 * math.sqrt(3))

#: Constant proved for the fourth cumulant.
C_4 = 1 / 8 + 3 * C_3 * 4 / 27 + C_3 / 2

#: What the search suggests instead of C_4: a conjecture.
C_4_CONJECTURED = 1 / 8


def centred(f: Tensor, v: Tensor) -> Tensor:
    """v − E_f v, shape (..., n). See `eq-cumulants`."""
    return v - (f * v).sum(-1, keepdim=True)


def covariance(f: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Cov_f(v, w) = vᵀ J w, the first derivative of E[w] along v. See `eq-cumulants`."""
    return (f * centred(f, v) * centred(f, w)).sum(-1)


def third_cumulant(f: Tensor, v: Tensor, w: Tensor, k: Tensor) -> Tensor:
    """κ₃(v, w, k) = E_f[ṽ w̃ k̃]. See `eq-cumulants`."""
    return (f * centred(f, v) * centred(f, w) * centred(f, k)).sum(-1)


def fourth_cumulant(f: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """κ₄(k, k, k, v) = E_f[k̃³ ṽ] − 3 E_f[k̃²] E_f[k̃ ṽ]. See `lem-cumulants`."""
    k, v = centred(f, k), centred(f, v)
    return (f * k**3 * v).sum(-1) - 3 * (f * k.square()).sum(-1) * (f * k * v).sum(-1)


def _f(p: Setting) -> Tensor:
    return p.z.softmax(-1)


def _fourth_over(p: Setting, constant: float) -> Tensor:
    return constant * osc(p.by_x) ** 3 * osc(p.by_A)


THIRD = Inequality(
    key="third-cumulant",
    statement="κ₃(k, k, v)",
    bound="sharp",
    constant="osc(k)² osc(v)/6√3",
    label="lem-cumulants",
    page=PAGE,
    left=lambda p: third_cumulant(_f(p), p.by_x, p.by_x, p.by_A).abs(),
    right=lambda p: C_3 * osc(p.by_x).square() * osc(p.by_A),
    fails_at=0.98,
    magnitude=lambda p: p.by_x.abs().amax(-1).square() * p.by_A.abs().amax(-1),
)

FOURTH = Inequality(
    key="fourth-cumulant",
    statement="κ₄(k, k, k, v)",
    bound="proved",
    constant="C₄ osc(k)³ osc(v), C₄ = 0.2159",
    label="lem-cumulants",
    page=PAGE,
    left=lambda p: fourth_cumulant(_f(p), p.by_x, p.by_A).abs(),
    right=lambda p: _fourth_over(p, C_4),
    fails_at=0.575,
    magnitude=lambda p: p.by_x.abs().amax(-1) ** 3 * p.by_A.abs().amax(-1),
)

FOURTH_CONJECTURE = Inequality(
    key="fourth-cumulant-conjecture",
    statement="κ₄(k, k, k, v)",
    bound="conjecture",
    constant="⅛ osc(k)³ osc(v)",
    label="conj-fourth-cumulant",
    page=PAGE,
    left=FOURTH.left,
    right=lambda p: _fourth_over(p, C_4_CONJECTURED),
    fails_at=0.98,
    proved=False,
    magnitude=FOURTH.magnitude,
)

INEQUALITIES = [THIRD, FOURTH, FOURTH_CONJECTURE]

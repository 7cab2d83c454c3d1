"""The softmax's Jacobian changes by a factor, and what follows for Newton's method on cross-entropy.

z, u and delta have shape (..., n), results (...).
"""

import math

import torch
from torch import Tensor

from icl_lib.bounds.inequality import Inequality, Setting, Side
from icl_lib.bounds.shifts import exp_remainder, log_mean_exp
from icl_lib.bounds.spread import osc
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number

PAGE = "bounds/sharp-bounds"


@checked("z: ... n, u: ... n", result="log")
def log_variance(z: Tensor, u: Tensor) -> Tensor:
    """log Var_f(u) = log uᵀJ(z)u, shape (...), from pairs of words, so that nothing underflows; −∞ for constant u.

    See `thm-self-concordance`.
    """
    f = z.log_softmax(-1)
    i, j = torch.triu_indices(z.shape[-1], z.shape[-1], offset=1)
    tiny = torch.finfo(u.dtype).tiny
    return torch.logsumexp(f[..., i] + f[..., j] + 2 * (u[..., i] - u[..., j]).abs().clamp_min(tiny).log(), -1)


@checked()
def newton_factor(r: float) -> float:
    """(e^r − 1 − r)/r, by which a Newton step on cross-entropy shrinks an error of oscillation r > 0 at least.

    See `cor-newton-rate`.
    """
    check_number("r", r, above=0)
    return float(exp_remainder(torch.tensor(r, dtype=torch.float64))) / r


@checked("z: ... n, delta: ... n")
def newton_error(z: Tensor, delta: Tensor) -> Tensor:
    """What Newton's step on cross-entropy leaves of the error δ, in logits and up to a constant, shape (..., n).

    From z towards the target softmax(z − δ); e^t − 1 − t at t = −δ − log E_f[e^−δ]. See `cor-newton-rate`.
    """
    return exp_remainder(-delta - log_mean_exp(z, -delta).unsqueeze(-1))


def _flat(u: Tensor) -> Tensor:
    """Where u is constant but for its last digits, whose variance is rounding."""
    return osc(u) <= 1e-3 * u.abs().amax(-1)


def _change_of_variance(p: Setting) -> Tensor:
    """|log Var(u) after the shift − before|, u = (B − A)x, or 0 where u is constant."""
    u = p.by_A
    change = log_variance(p.z + p.by_x, u) - log_variance(p.z, u)
    return torch.where(_flat(u), 0.0, change).abs()


def _error(p: Setting) -> Tensor:
    """A(y − x), cut to an oscillation of 4, so that e^osc stays a number."""
    return p.by_x * (4 / osc(p.by_x).clamp_min(4)).unsqueeze(-1)


def _log_deviation_after(p: Setting) -> Tensor:
    delta = _error(p)
    return torch.where(_flat(delta), -torch.inf, 0.5 * log_variance(p.z, newton_error(p.z, delta)))


def _log_newton_bound(p: Setting) -> Tensor:
    r = osc(_error(p)).clamp_min(torch.finfo(p.z.dtype).tiny)
    # (e^r − 1 − r)/r from its series where r is small: there it is r/2, whatever rounding does to e^r − 1 − r.
    factor = torch.where(r < 1e-6, 0.5 * r, exp_remainder(r.clamp_min(1e-6)) / r)
    return factor.log() + 0.5 * log_variance(p.z, _error(p))


def _log_oscillation(p: Setting) -> Tensor:
    delta = _error(p)
    size = osc(delta).clamp_min(torch.finfo(delta.dtype).tiny).log()
    least = p.z.log_softmax(-1).amin(-1)
    return torch.where(_flat(delta), -torch.inf, size + 0.5 * (least - math.log(2)))


def _sharp(key: str, statement: str, constant: str, label: str, left: Side, right: Side, log: bool) -> Inequality:
    magnitude = None if log else lambda p: torch.ones_like(p.R)
    return Inequality(
        key, statement, "sharp", constant, label, PAGE, left, right, 0.98, log, least_n=2, magnitude=magnitude
    )


INEQUALITIES = [
    _sharp(
        "self-concordance",
        "|log uᵀJ(z + δ)u − log uᵀJ(z)u|",
        "osc(δ)",
        "thm-self-concordance",
        _change_of_variance,
        lambda p: osc(p.by_x),
        log=False,
    ),
    _sharp(
        "newton-rate",
        "Newton on cross-entropy, error after",
        "‖e⁺‖ ≤ (e^r − 1 − r)/r ‖e‖",
        "cor-newton-rate",
        _log_deviation_after,
        _log_newton_bound,
        log=True,
    ),
    _sharp(
        "newton-radius",
        "r = osc(Ae) by the error",
        "r √(min f/2) ≤ ‖e‖",
        "cor-newton-rate",
        _log_oscillation,
        lambda p: 0.5 * log_variance(p.z, _error(p)),
        log=True,
    ),
]

"""Differences of exponentials and of softmax outputs, without cancellation and without overflow.

z (..., n) are logits, delta (..., n) is added to them. Writing f(z + δ) − f(z) as a subtraction loses every digit
of a small shift, and exp(z) overflows from z = 89 on in float32. Here small shifts keep their relative accuracy,
and what may be as large as exp(‖z‖) is returned as its natural logarithm.
"""

import torch
from torch import Tensor

from icl_lib.bounds.spread import osc
from icl_lib.running.checked import checked


@checked("z: ... n, delta: ... n")
def log_mean_exp(z: Tensor, delta: Tensor) -> Tensor:
    """κ = log E_f[e^δ] with f = softmax(z), shape (...): by how much log α grows when z moves by δ.

    For osc δ ≤ 1 from the centred shift, E_f δ + log(1 + E_f[e^(δ − E_f δ) − 1]); beyond, from two logarithms
    of sums. Absolute error of the order of ε osc δ, respectively ε (1 + max|z| + max|δ|).
    """
    f = torch.softmax(z, -1)
    mean = (f * delta).sum(-1)
    small = osc(delta) <= 1
    centred = torch.where(small.unsqueeze(-1), delta - mean.unsqueeze(-1), 0.0)
    near = mean + torch.log1p((f * torch.expm1(centred)).sum(-1))
    far = torch.logsumexp(torch.log_softmax(z, -1) + delta, -1)
    return torch.where(small, near, far)


@checked("z: ... n, delta: ... n")
def prediction_shift(z: Tensor, delta: Tensor) -> Tensor:
    """f(z + δ) − f(z), shape (..., n), accurate relative to the shift itself.

    Entry i is f_i (e^t − 1) with t = δ_i − κ where t ≤ 0, and f'_i (1 − e^(−t)) where t > 0: no exponent is
    positive, so nothing overflows. See `thm-tanh`.
    """
    t = delta - log_mean_exp(z, delta).unsqueeze(-1)
    before, after = torch.softmax(z, -1), torch.softmax(z + delta, -1)
    return torch.where(t > 0, after * -torch.expm1(-t.abs()), before * torch.expm1(-t.abs()))


def _log_expm1(t: Tensor) -> Tensor:
    """log|e^t − 1|: −∞ at t = 0, and t itself for large t."""
    tiny = torch.finfo(t.dtype).tiny
    size = t.clamp_min(0) + torch.log(-torch.expm1(-t.abs().clamp_min(tiny)))
    return torch.where(t == 0, -torch.inf, size)


@checked("z: ... n, delta: ... n", result="log")
def log_exponential_shift(z: Tensor, delta: Tensor) -> Tensor:
    """log ‖exp(z + δ) − exp(z)‖₂, shape (...). See `lem-exponential-shift`."""
    return 0.5 * torch.logsumexp(2 * (z + _log_expm1(delta)), -1)


@checked("z: ... n, delta: ... n", result="log")
def log_normaliser_shift(z: Tensor, delta: Tensor) -> Tensor:
    """log |α(z + δ) − α(z)| with α = Σ e^z, shape (...). See `lem-normaliser-shift`."""
    return torch.logsumexp(z, -1) + _log_expm1(log_mean_exp(z, delta))


@checked("z: ... n, delta: ... n", result="log")
def log_inverse_normaliser_shift(z: Tensor, delta: Tensor) -> Tensor:
    """log |1/α(z + δ) − 1/α(z)|, shape (...). See `lem-inverse`."""
    kappa = log_mean_exp(z, delta)
    return _log_expm1(kappa) - kappa - torch.logsumexp(z, -1)


@checked("t: ...")
def exp_remainder(t: Tensor) -> Tensor:
    """e^t − 1 − t ≥ 0 without cancellation: ten terms of the series for |t| < 0.1, `expm1` beyond."""
    small = t.abs() < 0.1
    s = torch.where(small, t, 0.0)
    series = torch.ones_like(s)
    for k in range(11, 2, -1):
        series = 1 + s / k * series
    return torch.where(small, 0.5 * s.square() * series, torch.expm1(t) - t)


@checked("z: ... n, delta: ... n")
def prediction_remainder(z: Tensor, delta: Tensor) -> Tensor:
    """f(z + δ) − f(z) − J(z)δ, what is left of a shift after its linear part, shape (..., n).

    For osc δ ≤ 1 as f_i (ρ(t_i) − κ), ρ = `exp_remainder`, accurate relative to δ²; by subtraction beyond.
    """
    f = torch.softmax(z, -1)
    centred = delta - (f * delta).sum(-1, keepdim=True)
    small = (osc(delta) <= 1).unsqueeze(-1)
    near = torch.where(small, centred, 0.0)
    kappa = torch.log1p((f * exp_remainder(near)).sum(-1, keepdim=True))
    return torch.where(small, f * (exp_remainder(near - kappa) - kappa), prediction_shift(z, delta) - f * centred)


@checked("z: ... n, delta: ... n")
def divergence(z: Tensor, delta: Tensor) -> Tensor:
    """KL(f(z) ‖ f(z + δ)) = log E_f e^δ − E_f δ ≥ 0, shape (...). See `cor-norms`."""
    f = torch.softmax(z, -1)
    mean = (f * delta).sum(-1, keepdim=True)
    small = osc(delta) <= 1
    near = torch.log1p((f * exp_remainder(torch.where(small.unsqueeze(-1), delta - mean, 0.0))).sum(-1))
    far = torch.logsumexp(torch.log_softmax(z, -1) + delta, -1) - mean.squeeze(-1)
    return torch.where(small, near, far)

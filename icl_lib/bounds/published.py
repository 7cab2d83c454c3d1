"""The published chain of lemmas (section 1 of the part on bounds), in logarithms: nothing overflows.

Standing hypothesis: ‖A‖, ‖B‖, ‖x‖, ‖y‖ ≤ R, so ‖Ax‖₂ ≤ ρ = R². Every function returns a natural logarithm of
shape (...); R is a tensor (...) > 0, n ≥ 1 an integer.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from icl_lib.bounds.inequality import Inequality, Setting, Side
from icl_lib.bounds.shifts import (
    log_exponential_shift,
    log_inverse_normaliser_shift,
    log_normaliser_shift,
    prediction_shift,
)
from icl_lib.bounds.spread import norm, spectral_norm
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_number

PAGE = "bounds/published-chain"


@checked("z: ... n")
def log_normaliser(z: Tensor) -> Tensor:
    """log α = log Σ e^z. See `def-softmax-regression`."""
    return torch.logsumexp(z, -1)


@checked("R: ...", counts=("n",))
def log_normaliser_floor(n: int, R: Tensor) -> Tensor:
    """log(n e^(−ρ/√n)): the smallest log α there is. See `lem-normaliser`."""
    return math.log(n) - R.square() / math.sqrt(n)


@checked("z: ... n")
def log_exponential_norm(z: Tensor) -> Tensor:
    """log ‖exp z‖₂. See `lem-exponential`."""
    return 0.5 * torch.logsumexp(2 * z, -1)


@checked("R: ...", counts=("n",))
def log_S(n: int, R: Tensor) -> Tensor:
    """log S, S² = n − 1 + e^(2ρ) + 2(√n − 1)ρ: bound on ‖exp(Ax)‖₂. See `lem-exponential`."""
    rho = R.square()
    return 0.5 * torch.logaddexp(2 * rho, torch.log(n - 1 + 2 * (math.sqrt(n) - 1) * rho))


@checked("R: ...", counts=("n",))
def log_chain(n: int, R: Tensor, c: float = 1.0) -> Tensor:
    """log(c√n R e^(2ρ) + c n^1.5 R e^(4ρ)): what `prop-chain` gives with c√n in `lem-exponential-shift`."""
    check_number("c", c, above=0)
    rho = R.square()
    return math.log(c) + R.log() + torch.logaddexp(0.5 * math.log(n) + 2 * rho, 1.5 * math.log(n) + 4 * rho)


@checked("R: ...", counts=("n",))
def log_repaired_chain(n: int, R: Tensor) -> Tensor:
    """log((1 + √n)/n · R e^(ρ(1 + 1/√n))): the same proof with ‖f‖ ≤ 1 and the sharp normaliser; falls with n.

    See `prop-repaired-chain`.
    """
    root = math.sqrt(n)
    return math.log((1 + root) / n) + R.log() + R.square() * (1 + 1 / root)


@checked("R: ...", counts=("n",))
def log_R_f(n: int, R: Tensor) -> Tensor:
    """log R_f, R_f = β⁻² n^1.5 e^(3ρ) = n^1.5 e^(5ρ) with β = e^(−ρ). See `prop-chain`."""
    return 1.5 * math.log(n) + 5 * R.square()


@checked("R: ...", counts=("n",))
def log_M(n: int, R: Tensor) -> Tensor:
    """log M, M = n^1.5 e^(10 R²): the constant of both parts of the published theorem. See `thm-bounded-shift`."""
    return 1.5 * math.log(n) + 10 * R.square()


@checked()
def log10_M(n: int, R: float) -> float:
    """log₁₀ M, for tables and for radii at which M does not fit in a float. See `thm-bounded-shift`."""
    check_count("n", n)
    check_number("R", R, above=0)
    return (1.5 * math.log(n) + 10 * R * R) / math.log(10)


def _log_step_x(p: Setting) -> Tensor:
    return norm(p.y - p.x).log()


def _log_step_A(p: Setting) -> Tensor:
    return spectral_norm(p.B - p.A).log()


def _by_x(p: Setting) -> Tensor:
    return p.by_x


def _by_A(p: Setting) -> Tensor:
    return p.by_A


@checked("z: ... n, delta: ... n", result="log")
def log_shift(z: Tensor, delta: Tensor) -> Tensor:
    """log ‖f(z + δ) − f(z)‖₂. See `prop-chain`."""
    return norm(prediction_shift(z, delta)).log()


Moved = Callable[[Tensor, Tensor], Tensor]
Constant = Callable[[int, Tensor], Tensor]


def _lipschitz(
    statement: str,
    bound: str,
    text: str,
    label: str,
    change: Moved,
    constant: Constant,
    fails_at: float,
    name: str | None = None,
) -> list[Inequality]:
    """change ≤ constant(n, R) · size of the step, for a step of x and for a step of A."""

    def one(moved: str, left: Side, step: Side) -> Inequality:
        return Inequality(
            key=f"{name or label.split('-', 1)[1]}-{moved}-{bound}",
            statement=f"{statement}, moving {moved}",
            bound=bound,
            constant=text,
            label=label,
            page=PAGE,
            left=left,
            right=lambda p: constant(p.n, p.R) + step(p),
            fails_at=fails_at,
            log=True,
        )

    return [
        one("x", lambda p: change(p.z, p.by_x), _log_step_x),
        one("A", lambda p: change(p.z, p.by_A), _log_step_A),
    ]


def _normaliser(bound: str, text: str, floor: Constant, fails_at: float) -> Inequality:
    return Inequality(
        key=f"normaliser-{bound}",
        statement="1/α from above",
        bound=bound,
        constant=text,
        label="lem-normaliser",
        page=PAGE,
        left=lambda p: -log_normaliser(p.z),
        right=lambda p: -floor(p.n, p.R),
        fails_at=fails_at,
        log=True,
    )


def _exponential(bound: str, text: str, constant: Constant, fails_at: float) -> Inequality:
    return Inequality(
        key=f"exponential-{bound}",
        statement="‖exp(Ax)‖",
        bound=bound,
        constant=text,
        label="lem-exponential",
        page=PAGE,
        left=lambda p: log_exponential_norm(p.z),
        right=lambda p: constant(p.n, p.R),
        fails_at=fails_at,
        log=True,
    )


def _inverse(bound: str, text: str, floor: Constant, fails_at: float) -> list[Inequality]:
    """|1/α − 1/α'| ≤ |α − α'| / floor², for a step of x and for a step of A."""

    def one(moved: str, by: Side) -> Inequality:
        return Inequality(
            key=f"inverse-{moved}-{bound}",
            statement=f"change of 1/α against α, moving {moved}",
            bound=bound,
            constant=text,
            label="lem-inverse",
            page=PAGE,
            left=lambda p: log_inverse_normaliser_shift(p.z, by(p)),
            right=lambda p: log_normaliser_shift(p.z, by(p)) - 2 * floor(p.n, p.R),
            fails_at=fails_at,
            log=True,
        )

    return [one("x", _by_x), one("A", _by_A)]


def _cauchy_schwarz(moved: str, by: Side) -> Inequality:
    return Inequality(
        key=f"cauchy-schwarz-{moved}",
        statement=f"change of α against u, moving {moved}",
        bound="published",
        constant="√n",
        label="lem-normaliser-shift",
        page=PAGE,
        left=lambda p: log_normaliser_shift(p.z, by(p)),
        right=lambda p: 0.5 * math.log(p.n) + log_exponential_shift(p.z, by(p)),
        fails_at=0.98,
        log=True,
    )


INEQUALITIES: list[Inequality] = [
    _normaliser("published", "e^(R²)", lambda n, R: -R.square(), 0.49),
    _normaliser("sharp", "e^(R²/√n)/n", log_normaliser_floor, 0.98),
    _exponential("published", "√n e^(R²)", lambda n, R: 0.5 * math.log(n) + R.square(), 0.98),
    _exponential("sharp", "S(n, R²)", log_S, 0.98),
    *_lipschitz(
        "change of u = exp(Ax)",
        "published",
        "√n R e^(R²)",
        "lem-exponential-shift",
        log_exponential_shift,
        lambda n, R: 0.5 * math.log(n) + R.log() + R.square(),
        0.69,
    ),
    *_lipschitz(
        "change of u = exp(Ax)",
        "sharp",
        r"R e^(R²)",
        "lem-exponential-shift",
        log_exponential_shift,
        lambda n, R: R.log() + R.square(),
        0.98,
    ),
    _cauchy_schwarz("x", _by_x),
    _cauchy_schwarz("A", _by_A),
    *_lipschitz(
        "change of α",
        "published",
        "n R e^(R²)",
        "lem-normaliser-shift",
        log_normaliser_shift,
        lambda n, R: math.log(n) + R.log() + R.square(),
        0.69,
    ),
    *_lipschitz(
        "change of α",
        "sharp",
        "R S(n, R²)",
        "lem-normaliser-shift",
        log_normaliser_shift,
        lambda n, R: R.log() + log_S(n, R),
        0.97,
    ),
    *_inverse("published", "e^(2R²)", lambda n, R: -R.square(), 0.245),
    *_inverse("sharp", "e^(2R²/√n)/n²", log_normaliser_floor, 0.98),
    *_lipschitz(
        "change of f",
        "chain",
        "√n R e^(2R²) + n^1.5 R e^(4R²)",
        "prop-chain",
        log_shift,
        log_chain,
        0.115,
        name="lemmas",
    ),
    *_lipschitz("change of f", "published", "n^1.5 e^(5R²)", "prop-chain", log_shift, log_R_f, 0.033),
    *_lipschitz(
        "change of f",
        "repaired",
        "(1 + √n)/n · R e^(R²(1 + 1/√n))",
        "prop-repaired-chain",
        log_shift,
        log_repaired_chain,
        0.40,
        name="chain",
    ),
    *_lipschitz("bounded shift", "published", "n^1.5 e^(10R²)", "thm-bounded-shift", log_shift, log_M, 0.0235),
]

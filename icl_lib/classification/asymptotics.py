"""Where one step in a kernel is ahead of the linear step, in the limits where this can be proved.

Inputs are uniform on the sphere S^{d−1}, classes as in `def-sphere-classification`. A kernel k is a function of the
cosine s = ⟨x, x'⟩. With two classes the label is the sign of ⟨u, x⟩ for a uniform u.
"""

import functools
import math
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, roots_gegenbauer
from torch import Generator, Tensor

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import cross_entropy, fit_rate
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_count, check_integer, check_number

KERNELS = ("linear", "exponential", "sinh")
POINTS = ("linear", "softmax", "masked")

#: Widths beyond this are not integrated: the nodes needed grow with the width.
LARGEST_WIDTH = 1000.0

Array = NDArray[numpy.float64]


@checked()
def mean_coordinate(d: int) -> float:
    """c_d = E|x₁| = Γ(d/2)/(√π Γ((d+1)/2)) on the sphere S^{d−1}, d ≥ 1. See `thm-two-classes`."""
    check_count("d", d)
    return math.exp(gammaln(d / 2) - gammaln((d + 1) / 2)) / math.sqrt(math.pi)


@checked()
def density_at_zero(d: int) -> float:
    """f_d(0) = Γ(d/2)/(√π Γ((d−1)/2)), the density of a coordinate of the sphere at 0, d ≥ 2. See `thm-two-classes`."""
    check_count("d", d, 2)
    return math.exp(gammaln(d / 2) - gammaln((d - 1) / 2)) / math.sqrt(math.pi)


@checked()
def noise_ratio(kernel: str, d: int, beta: float = 1.0) -> float:
    """R_k = E[k(s)²]/(E[k'(s)|x_u|])² for linear s, exponential e^{βs} or sinh(βs), d ≥ 2, 0 < β ≤ 1000.

    s and x_u are two orthogonal coordinates of a uniform point. Gauss–Gegenbauer quadrature. See `thm-two-classes`.
    """
    check_choice("kernel", kernel, KERNELS)
    check_count("d", d, 2)
    check_number("beta", beta, above=0, maximum=LARGEST_WIDTH)
    # e^{βs} gathers near s = 1 on a length 1/β, where the nodes lie 1/nodes² apart.
    nodes = 64 + int(12 * math.sqrt(beta))
    s, weights = _sphere_average(d, nodes)
    square = float(weights @ _kernel(kernel, s, beta) ** 2)
    # E|x_u| given s is c_{d−1}√(1 − s²), and √(1 − s²) belongs to the weight of two dimensions more, less one.
    s, weights = roots_gegenbauer(nodes, (d - 1) / 2)
    weights = weights * density_at_zero(d)
    slope = mean_coordinate(d - 1) * float(weights @ _derivative(kernel, s, beta))
    return square / slope**2


def _sphere_average(d: int, nodes: int) -> tuple[Array, Array]:
    """Nodes and weights of E over a coordinate of S^{d−1}, whose density is f_d(0)(1 − s²)^((d−3)/2)."""
    s, weights = roots_gegenbauer(nodes, (d - 2) / 2)
    return s, weights / weights.sum()


# Both kernels of width β are divided by e^β, which cancels in R.
def _kernel(kernel: str, s: Array, beta: float) -> Array:
    if kernel == "linear":
        return s
    rising, falling = numpy.exp(beta * (s - 1)), numpy.exp(-beta * (s + 1))
    return rising if kernel == "exponential" else 0.5 * (rising - falling)


def _derivative(kernel: str, s: Array, beta: float) -> Array:
    if kernel == "linear":
        return numpy.ones_like(s)
    rising, falling = numpy.exp(beta * (s - 1)), numpy.exp(-beta * (s + 1))
    return beta * (rising if kernel == "exponential" else 0.5 * (rising + falling))


@checked()
def boundary_integral(S: float, a: float) -> float:
    """π²/(6S) + S a²/2 = ∫₀^∞ log(1 + e^{−S(t+a)}) dt + ∫_{−∞}^0 log(1 + e^{S(t+a)}) dt, S > 0. See `lem-boundary`."""
    check_number("S", S, above=0)
    check_number("a", a)
    return math.pi**2 / (6 * S) + S * a * a / 2


@checked()
def asymptotic_loss(ratio: float, d: int, n: float) -> float:
    """(π/√3) f_d(0) √(R/n), R = `ratio` ≥ 0: the least loss of two classes, to leading order. See `thm-two-classes`."""
    check_number("ratio", ratio, minimum=0)
    check_number("n", n, above=0)
    return math.pi / math.sqrt(3) * density_at_zero(d) * math.sqrt(ratio / n)


class Width(NamedTuple):
    """The width β of the exponential kernel with the least R, and that R; β = ∞ where R falls for ever."""

    beta: float
    ratio: float


@checked(result="any")
def best_width(d: int) -> Width:
    """The exponential kernel with the least `noise_ratio`, 2 ≤ d ≤ 500.

    For d = 2 and 3, β = ∞ with the limit of R, 0 and π/2. See `cor-title-false`.
    """
    check_integer("d", d, 2, 500)
    if d <= 3:
        return Width(math.inf, 0.0 if d == 2 else math.pi / 2)
    found = minimize_scalar(
        lambda log_beta: math.log(noise_ratio("exponential", d, math.exp(log_beta))),
        # The best width is 4.65 for d = 4 and grows like √d.
        bounds=(0.0, math.log(4 * math.sqrt(d) + 4)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Width(math.exp(found.x), math.exp(found.fun))


@checked()
def limiting_ratio(d: int) -> float:
    """√(R_exponential/R_linear) at the best width: loss of the softmax step over the linear one's, two classes, n → ∞.

    See `cor-title-false`.
    """
    check_integer("d", d, 2, 500)
    return math.sqrt(best_width(d).ratio / noise_ratio("linear", d))


@functools.cache
def _angles() -> tuple[Array, Array]:
    """Nodes and weights of the mean over an angle uniform on [0, π]."""
    nodes, weights = numpy.polynomial.legendre.leggauss(200)
    return 0.5 * math.pi * (nodes + 1), 0.5 * weights


@checked()
def single_point_loss(step: str, beta: float, eta: float) -> float:
    """Expected loss for n = 1, C = 2, d = 2 of the step `"linear"`, `"softmax"` (with the own token) or `"masked"`.

    η is the gain of the logit difference. Both labels agree with chance 1 − θ/π at the angle θ. See `prop-smallest`.
    """
    check_choice("step", step, POINTS)
    check_number("beta", beta)
    check_number("eta", eta)
    theta, weights = _angles()
    s = numpy.cos(theta)
    if step == "linear":
        logit = eta * s
    elif step == "masked":
        logit = numpy.full_like(s, eta)
    else:
        # e^{βs}/(e^{βs} + e^β), without overflow.
        logit = eta * 0.5 * (1 - numpy.tanh(0.5 * beta * (1 - s)))
    same = 1 - theta / math.pi
    losses = same * numpy.logaddexp(0, -logit) + (1 - same) * numpy.logaddexp(0, logit)
    return float(weights @ losses)


class SinglePoint(NamedTuple):
    """The least loss of a step for n = 1, C = 2, d = 2, and where it lies."""

    loss: float
    beta: float
    eta: float


@checked()
def best_single_point(step: str) -> SinglePoint:
    """The least `single_point_loss` over all real (β, η); β = 0 where it does not matter. See `prop-smallest`.

    The loss is convex in η. Over β in [−200, 200] it is scanned, then searched between the neighbours of the best.
    """
    check_choice("step", step, POINTS)

    def at(beta: float) -> SinglePoint:
        found = minimize_scalar(lambda eta: single_point_loss(step, beta, eta), bracket=(-1.0, 1.0), tol=1e-10)
        return SinglePoint(float(found.fun), beta, float(found.x))

    if step != "softmax":
        return at(0.0)
    half = numpy.geomspace(0.01, 200.0, 40)
    widths = [float(beta) for beta in (*-half[::-1], 0.0, *half)]
    best = min(range(1, len(widths) - 1), key=lambda k: at(widths[k]).loss)
    found = minimize_scalar(
        lambda beta: at(beta).loss,
        bounds=(widths[best - 1], widths[best + 1]),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return at(float(found.x))


class LinearLimit(NamedTuple):
    """The linear step as n → ∞: its best gain, and the loss (T,) and the share of errors (T,) of each task."""

    eta: float
    loss: Tensor
    error: Tensor


@checked()
def linear_limit(
    classes: int, d: int, tasks: int, points: int, queries: int, generator: Generator, *, balanced: bool = False
) -> LinearLimit:
    """The loss of logits η W̄ x, W̄_c = E[(y_c − 1/C) x], on `queries` points of each of `tasks` tasks, at the best η.

    W̄ is a mean over `points` points of the task; points and queries are uniform on the sphere, or of all classes
    equally often together where `balanced`, which takes a sum of both that C divides. See `prop-many-classes`.
    """
    check_count("classes", classes, 2)
    check_count("d", d, 2)
    check_count("tasks", tasks, 2)
    check_count("points", points)
    check_count("queries", queries)
    task = SphereClassification(points + queries, d, classes, balance="context" if balanced else "none")
    drawn = task.sample(tasks, generator, dtype=torch.float64)
    x, y = drawn.x[:, queries:], drawn.y[:, queries:]
    W = (y - 1 / classes).mT @ x / points
    logits = drawn.x[:, :queries] @ W.mT
    labels = drawn.y[:, :queries]
    (eta,), _ = fit_rate(logits.flatten(0, 1).unsqueeze(-1), labels.flatten(0, 1))
    wrong = logits.argmax(-1) != labels.argmax(-1)
    return LinearLimit(eta, cross_entropy(eta * logits, labels).mean(-1), wrong.double().mean(-1))

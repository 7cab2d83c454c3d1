"""Gradient descent as a classifier in context: one step in closed form, several steps, and the fits of rate and width.

Context x (..., n, d), one-hot y (..., n, C), query x_query (..., d); leading dimensions are batch. A step starts
from 0 (no prior knowledge of the classes) on the mean cross-entropy of the context and returns logits (..., C).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from icl_lib.classification.kernels import KernelStep, Scores, sphere_tolerance
from icl_lib.running.checked import check_tensors, checked
from icl_lib.running.validation import check_count, check_finite, check_last_dimensions, check_number

# Sizes of a width β between which a search looks, and the signs that it tries.
WIDTHS = (1e-4, 5000.0)
SIGNS = (1, -1)
RIDGE = 1e-7
# Above every loss of a fitted step, which is at most log C, and of a size that a parabola can be put through.
NO_LOSS = 1e6
# Widths that a search looks at before it goes to the best of them, and the contexts that this look takes.
WALK = 9
CONTEXTS_OF_A_WALK = 1000


@checked("x: ... n d, y: ... n C, x_query: ... d")
def check_context(x: Tensor, y: Tensor, x_query: Tensor) -> None:
    """Raise `TypeError` or `ValueError` unless shapes fit, vectors are finite, and labels are `check_labels`'s."""
    check_last_dimensions("x", x, n=None, d=None)
    check_last_dimensions("y", y, n=x.shape[-2], C=None)
    check_last_dimensions("x_query", x_query, d=x.shape[-1])
    for name, vectors in (("x", x), ("x_query", x_query)):
        check_finite(name, vectors)
    check_labels(y)


@checked("y: ... n C")
def check_labels(y: Tensor) -> None:
    """Raise `ValueError` unless there are two classes or more and the labels y (..., n, C) are one-hot."""
    if y.shape[-1] < 2:
        raise ValueError(f"y must have at least C = 2 classes, got shape {tuple(y.shape)}")
    one_hot = ((y == 0) | (y == 1)).all() & (y.sum(-1) == 1).all()
    if not bool(one_hot):
        raise ValueError("y must be one-hot: a single 1 in each row and 0 elsewhere, got other values")


@checked("x: ... d")
def check_on_sphere(name: str, x: Tensor) -> None:
    """Raise `ValueError` unless every vector of `x` (..., d) has norm 1, to the rounding of its dtype."""
    if not x.numel():
        raise ValueError(f"{name} must hold at least one vector, got shape {tuple(x.shape)}")
    largest = float((torch.linalg.vector_norm(x, dim=-1) - 1).abs().max())
    if not largest <= sphere_tolerance(x.dtype):
        raise ValueError(f"{name} must lie on the unit sphere for this kernel, got |norm - 1| up to {largest:.3g}")


@checked("x: ... n d, y: ... n C, x_query: ... d")
def linear_classifier_step(x: Tensor, y: Tensor, x_query: Tensor, rate: float) -> Tensor:
    """Logits W₁ x_query = (rate/n) Σ (y_i − 1/C)⟨x_i, x_query⟩ of one step from W₀ = 0, (..., C).

    Raises `TypeError` or `ValueError` for shapes that do not fit, labels not one-hot, a rate that is not finite.
    See `prop-linear-step`.
    """
    check_context(x, y, x_query)
    check_number("rate", rate)
    return rate * KernelStep("linear", "n").features(Scores.of(x, y, x_query), 1.0).squeeze(-1)


@checked("x: ... n d, y: ... n C, x_query: ... d")
def kernel_classifier_step(
    x: Tensor, y: Tensor, x_query: Tensor, beta: float, rate: float, *, adaptive: bool, include_query: bool
) -> Tensor:
    """Logits of one functional step from 0 in the kernel e^{β⟨x, x'⟩}, (..., C).

    `adaptive`: (rate/Z) Σ (y_i − 1/C) e^{β⟨x_i, x_query⟩}, Z = Σ e^{β⟨x_j, x_query⟩} + m e^{β‖x_query‖²}, with
    m = 1 if `include_query`, else 0: the rate depends on context and query as in softmax attention.
    Otherwise the rate is fixed: (rate/n) Σ (y_i − 1/C) e^{β(⟨x_i, x_query⟩ − 1)}, the Gaussian kernel on the unit
    sphere, where all vectors must lie; `include_query` has no effect, as the query carries no label.
    Raises `TypeError` or `ValueError` for shapes that do not fit, labels not one-hot, β or rate not finite.
    See `prop-kernel-step`.
    """
    check_context(x, y, x_query)
    check_number("beta", beta)
    check_number("rate", rate)
    if not adaptive:
        check_on_sphere("x", x)
        check_on_sphere("x_query", x_query)
    divisor = ("context and query" if include_query else "context") if adaptive else "n"
    return rate * KernelStep("exponential", divisor).features(Scores.of(x, y, x_query), beta).squeeze(-1)


@checked("x: ... n d, y: ... n C")
def linear_classifier_steps(x: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    """The weights W (..., C, d) after `steps` steps of `rate` on the mean cross-entropy, from W = 0.

    See `prop-linear-step`.
    """
    check_number("rate", rate)
    check_count("steps", steps)
    return linear_classifier_descent(x, y, torch.full((steps,), float(rate), dtype=x.dtype, device=x.device))


@checked("x: ... n d, y: ... n C, rates: K")
def linear_classifier_descent(x: Tensor, y: Tensor, rates: Tensor) -> Tensor:
    """The same after steps with `rates` (K,) of their own; differentiable in them. See `prop-linear-step`."""
    check_context(x, y, x[..., 0, :])
    n = x.shape[-2]
    W = (rates[0] / n) * (y - 1 / y.shape[-1]).mT @ x
    for rate in rates[1:]:
        W = W + (rate / n) * (y - torch.softmax(x @ W.mT, dim=-1)).mT @ x
    return W


@checked("gram: ... n n_, y: ... n C")
def kernel_classifier_steps(
    gram: Tensor, y: Tensor, rate: float, steps: int, *, ridge: float = 0.0, momentum: float = 0.0
) -> Tensor:
    """Coefficients α (..., n, C) after `steps` functional steps from 0: F = Σ α_i k(x_i, ·).

    `gram` (..., n, n) holds k(x_i, x_j). The objective is the mean cross-entropy plus (ridge/2)‖F‖² in the
    kernel's space; its functional gradient has coefficients (softmax F(x_i) − y_i)/n + ridge · α_i. `momentum`
    adds that share of the last move (0 is plain gradient descent). See `lem-functional-gradient`.
    """
    check_last_dimensions("gram", gram, n=None, n_=gram.shape[-1])
    check_last_dimensions("y", y, n=gram.shape[-1], C=None)
    check_labels(y)
    check_number("rate", rate)
    check_number("ridge", ridge, minimum=0)
    check_number("momentum", momentum, minimum=0, maximum=1)
    check_count("steps", steps)
    alpha = before = torch.zeros_like(y)
    for _ in range(steps):
        ahead = alpha + momentum * (alpha - before)
        slope = (torch.softmax(gram @ ahead, dim=-1) - y) / y.shape[-2] + ridge * ahead
        before, alpha = alpha, ahead - rate * slope
    return alpha


@dataclass(frozen=True)
class Fit:
    """A step with its free numbers: width β, one rate η a head, and the mean cross-entropy they reach in tuning.

    `at_bound`: the search for β ended at the smallest or largest size allowed, so that β is the bound's and not the
    loss's.
    """

    step: KernelStep
    beta: float
    eta: tuple[float, ...]
    loss: float
    at_bound: bool = False

    def logits(self, scores: Scores) -> Tensor:
        """The step's logits, (..., C)."""
        features = self.step.features(scores, self.beta)
        return features @ torch.tensor(self.eta, dtype=features.dtype, device=features.device)


@checked("logits: ... C, y: ... C", lowest=("logits",), result="any")
def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log of the probability that softmax(logits) gives to the class of the one-hot y, shape (...).

    See `def-sphere-classification`.
    """
    # A class that is not the label may have a logit of −∞, and 0 times ∞ is no number.
    return -torch.where(y == 0, 0.0, torch.log_softmax(logits, dim=-1) * y).sum(-1)


@checked("features: B C heads, y: B C")
def fit_rate(features: Tensor, y: Tensor, iterations: int = 100) -> tuple[tuple[float, ...], float]:
    """The rates η (one a head) with the least mean cross-entropy of softmax(features @ η), and that loss.

    `features` (B, C, heads), one-hot `y` (B, C). The problem is convex: Newton's method with step halving, in
    float64, until a step gains less than 1e-13. A ridge of `RIDGE` on the rates, in units of the largest feature,
    keeps them finite where a head separates all tuning contexts; elsewhere it moves nothing that is printed.
    Raises `ArithmeticError` if `iterations` do not suffice.
    """
    check_count("iterations", iterations)
    # Far from a width that fits, features are all tiny: their scale is taken out and put back.
    scale = float(features.abs().max().clamp_min(torch.finfo(features.dtype).tiny))
    M, y = features.double() / scale, y.double()
    eta = torch.zeros(M.shape[-1], dtype=M.dtype, device=M.device)
    identity = torch.eye(len(eta), dtype=M.dtype, device=M.device)

    def objective(rates: Tensor) -> float:
        return float(cross_entropy(M @ rates, y).mean() + RIDGE / 2 * rates.square().sum())

    value = objective(eta)
    for _ in range(iterations):
        p = torch.softmax(M @ eta, dim=-1)
        gradient = torch.einsum("bc,bch->h", p - y, M) / len(M) + RIDGE * eta
        mean = torch.einsum("bc,bch->bh", p, M)
        hessian = (torch.einsum("bc,bch,bcg->hg", p, M, M) - mean.mT @ mean) / len(M) + RIDGE * identity
        move = torch.linalg.solve(hessian, gradient)
        size = 1.0
        while not (trial := objective(eta - size * move)) <= value and size > 1e-6:
            size /= 2
        if not value - trial > 1e-13:
            return tuple((eta / scale).tolist()), float(cross_entropy(M @ eta, y).mean())
        eta, value = eta - size * move, trial
    raise ArithmeticError(f"the rate has not settled after {iterations} iterations: loss {value:.3g} at {eta.tolist()}")


@checked()
def minimise_over_widths(
    loss: Callable[[float], float],
    lowest: float = WIDTHS[0],
    highest: float = WIDTHS[1],
    rough: Callable[[float], float] | None = None,
) -> float:
    """The width in [lowest, highest] with the least loss: a walk through all of it, then Brent's search at its best.

    The loss may have several minima in log β, as that of a compact kernel has in class-balanced contexts, where a wide
    kernel is as good as a linear one. `rough` takes its place in the walk, where it costs less.
    """
    check_number("lowest", lowest, above=0)
    check_number("highest", highest, above=lowest)
    spacing = math.log(highest / lowest) / (WALK - 1)
    walk = [(rough or loss)(lowest * math.exp(k * spacing)) for k in range(WALK)]
    best = math.log(lowest) + spacing * walk.index(min(walk))
    bounds = (max(math.log(lowest), best - spacing), min(math.log(highest), best + spacing))
    found = minimize_scalar(lambda t: loss(math.exp(t)), bounds=bounds, method="bounded", options={"xatol": 2e-3})
    return math.exp(found.x)


@checked("y: B C")
def fit(
    step: KernelStep,
    scores: Sequence[Scores],
    y: Tensor,
    widths: tuple[float, float] = WIDTHS,
    signs: Sequence[int] = SIGNS,
) -> Fit:
    """Rate and width of `step` with the least mean cross-entropy on tuning contexts.

    `scores`: one entry for each number of context points, pooled; `y` (B, C) the queries' labels in that order.
    `widths`: the sizes of β allowed, or one number twice; `signs` those that it may have: of one exponential head
    either is an attention head (see `thm-bandwidth`), of all other kernels only the positive is looked at. The search
    is in float64 whatever the scores are: near its flat minimum the loss in float32 is rounding, and the width would
    differ between processors in its third digit.
    """
    if not scores:
        raise ValueError("scores must hold at least one batch of contexts, got none")
    if not signs or any(sign not in SIGNS for sign in signs):
        raise ValueError(f"signs must hold 1, -1 or both, got {tuple(signs)}")
    for batch in scores:
        check_tensors("scores.s: B n, scores.s_query: B, scores.y: B n C", scores=batch)
        step.check(batch)
    check_last_dimensions("y", y, B=sum(len(batch.s) for batch in scores), C=scores[0].y.shape[-1])
    _check_widths(widths)
    exact = [Scores(*(part.double() for part in batch)) for batch in scores]

    def at(beta: float) -> tuple[tuple[float, ...], float]:
        return fit_rate(_features(step, exact, beta), y)

    if not step.has_width:
        return Fit(step, 1.0, *at(1.0))
    if step.family != "exponential" or step.heads == "two":
        signs = (1,)
    low, high = widths
    few = _parts(exact, y, CONTEXTS_OF_A_WALK)

    def best(sign: int) -> Fit:
        def loss(width: float) -> float:
            return _loss_at(step, exact, y, sign * width)

        def rough(width: float) -> float:
            return _loss_at(step, *few, sign * width)

        size = low if low == high else minimise_over_widths(loss, low, high, rough)
        return Fit(step, sign * size, *at(sign * size), _binds(size, low, high))

    return min(map(best, signs), key=lambda one: one.loss)


def _check_widths(widths: tuple[float, float]) -> None:
    if len(widths) != 2:
        raise ValueError(f"widths must be the least and the largest, got {widths}")
    check_number("widths", widths[0], above=0)
    check_number("widths", widths[1], minimum=widths[0])


def _features(step: KernelStep, scores: Sequence[Scores], beta: float) -> Tensor:
    """The logits at η = 1 of the contexts of all batches, (B, C, heads)."""
    return torch.cat([step.checked_features(batch, beta) for batch in scores])


def _loss_at(step: KernelStep, scores: Sequence[Scores], y: Tensor, beta: float) -> float:
    """The loss at a width with the rate that fits; `NO_LOSS` where the kernel at a fixed rate leaves the numbers."""
    features = _features(step, scores, beta)
    return fit_rate(features, y)[1] if bool(torch.isfinite(features).all()) else NO_LOSS


def _parts(scores: Sequence[Scores], y: Tensor, count: int) -> tuple[list[Scores], Tensor]:
    """The first contexts of every batch, in equal shares `count` of them or somewhat more."""
    share = count / max(count, len(y))
    sizes = [len(batch.s) for batch in scores]
    kept = [math.ceil(share * size) for size in sizes]
    labels = [part[:few] for part, few in zip(y.split(sizes), kept, strict=True)]
    parts = [Scores(*(part[:few] for part in batch)) for batch, few in zip(scores, kept, strict=True)]
    return parts, torch.cat(labels)


def _binds(width: float, low: float, high: float) -> bool:
    return low < high and not low * 1.02 < width < high / 1.02

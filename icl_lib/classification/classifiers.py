"""What a classifier can reach on the same contexts: neighbours, regressions run to their end, and the posterior.

Every function takes contexts x (B, n, d), one-hot y (B, n, C), x_query (B, d) and returns probabilities (B, C).
"""

import math
import warnings

import numpy
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor

from icl_lib.classification.descent import check_context, check_on_sphere, kernel_classifier_steps
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_integer, check_last_dimensions, check_number, check_size

# What the entries of a Markov chain's unit vectors are rounded to. No power of two: a start in float32 would lie
# half-way between two of its multiples again and again.
GRID = 1e-6
# Where scikit-learn squares its inputs, larger ones leave the numbers.
LARGEST_INPUT = 1e100


@checked("x: B n d, y: B n C, x_query: B d")
def nearest_neighbours(x: Tensor, y: Tensor, x_query: Tensor, neighbours: int, smoothing: float) -> Tensor:
    """(votes + smoothing) / (k + C · smoothing) over the k points with the largest ⟨x_i, x_query⟩.

    Raises `ValueError` for k outside [1, n] and smoothing ≤ 0.
    """
    check_context(x, y, x_query)
    check_integer("neighbours", neighbours, 1, x.shape[-2])
    check_number("smoothing", smoothing, above=0)
    nearest = (x @ x_query.unsqueeze(-1)).squeeze(-1).topk(neighbours, dim=-1).indices
    votes = y.gather(-2, nearest.unsqueeze(-1).expand(*nearest.shape, y.shape[-1])).sum(-2)
    return (votes + smoothing) / (neighbours + y.shape[-1] * smoothing)


@checked("x: B n d, y: B n C, x_query: B d")
def distances_to_means(x: Tensor, y: Tensor, x_query: Tensor) -> Tensor:
    """‖x_query − m_c‖² for the mean m_c of every class, (B, C); a class without a point is as far as the origin's."""
    check_context(x, y, x_query)
    means = y.mT @ x / y.sum(-2).clamp_min(1).unsqueeze(-1)
    return (x_query.unsqueeze(-2) - means).square().sum(-1)


@checked("x: B n d, y: B n C, x_query: B d")
def logistic_regression(x: Tensor, y: Tensor, x_query: Tensor, inverse_penalty: float) -> Tensor:
    """Multinomial logistic regression without intercept by scikit-learn, one fit a context.

    `inverse_penalty` is scikit-learn's C. A class that a context lacks gets the probability 10⁻⁶ before the rest
    is scaled down: the regression does not know of it.
    """
    check_context(x, y, x_query)
    check_number("inverse_penalty", inverse_penalty, above=0)
    rare = 1e-6
    p = torch.full((len(x), y.shape[-1]), rare, dtype=torch.float64)
    check_size("x", x, LARGEST_INPUT)
    check_size("x_query", x_query, LARGEST_INPUT)
    labels = y.argmax(-1)
    for k in range(len(x)):
        present = labels[k].unique()
        if len(present) == 1:
            p[k, present] = 1 - rare * (y.shape[-1] - 1)
            continue
        model = LogisticRegression(C=inverse_penalty, fit_intercept=False, solver="newton-cholesky", max_iter=200)
        with warnings.catch_warnings():
            # Data that a plane separates push the weights far out; the loss has settled long before they have.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[k].double().numpy(), labels[k].numpy())
        found = torch.from_numpy(numpy.asarray(model.predict_proba(x_query[k : k + 1].double().numpy())))
        p[k, present] = found.squeeze(0).clamp_min(rare)
    return p / p.sum(-1, keepdim=True)


@checked("x: B n d, y: B n C, x_query: B d")
def kernel_logistic_regression(
    x: Tensor, y: Tensor, x_query: Tensor, beta: float, ridge: float, iterations: int = 300
) -> Tensor:
    """Logistic regression in the Gaussian kernel e^{β(⟨x, x'⟩ − 1)} with penalty (ridge/2)‖F‖², by accelerated descent.

    The functional gradient has Lipschitz constant at most 1/2 + ridge, as k(x, x) = 1. Raises `ValueError` for
    vectors off the unit sphere.
    """
    check_context(x, y, x_query)
    check_on_sphere("x", x)
    check_on_sphere("x_query", x_query)
    check_number("beta", beta, above=0)
    check_number("ridge", ridge, above=0)
    gram = torch.exp(beta * (x @ x.mT - 1))
    check_count("iterations", iterations)
    bound = 0.5 + ridge
    root = math.sqrt(ridge / bound)
    alpha = kernel_classifier_steps(gram, y, 1 / bound, iterations, ridge=ridge, momentum=(1 - root) / (1 + root))
    k_query = torch.exp(beta * ((x @ x_query.unsqueeze(-1)).squeeze(-1) - 1))
    return torch.softmax((k_query.unsqueeze(-2) @ alpha).squeeze(-2), dim=-1)


@checked("x: B n d, y: B n C, x_query: B d, w: B C d")
def posterior(
    x: Tensor, y: Tensor, x_query: Tensor, w: Tensor, sweeps: int, generator: Generator, smoothing: float = 0.05
) -> tuple[Tensor, Tensor]:
    """The Bayes-optimal prediction by Markov chains: class shares at the query, and those of each half (2, B, C).

    That of the plain `SphereClassification`: one class vector a class, uniform on the sphere, and labels without noise.
    The posterior over class vectors is uniform on {w: every label of the context is its nearest class}. Each
    update moves one w_c along a random great circle to a uniform point of the allowed arc (hit and run). Counted
    is not the class at that point but the share of the arc on which each class wins: the same mean, less noise. `w`
    (B, C, d) are the class vectors behind the contexts: a draw from the posterior, so the chains start in
    equilibrium, but near the truth: short chains flatter. The second half errs to the other side, as a rate taken
    from few independent draws does; the two halves bracket what a long chain gives. Predictions are
    (shares + smoothing) / (sweeps + C · smoothing).
    """
    check_context(x, y, x_query)
    check_last_dimensions("w", w, B=len(x), C=y.shape[-1], d=x.shape[-1])
    check_count("sweeps", sweeps, 2)
    check_number("smoothing", smoothing, above=0)
    chain = _Chain(x, y, x_query, w, generator)
    counts = torch.zeros(2, len(x), y.shape[-1], dtype=x.dtype, device=x.device)
    for sweep in range(sweeps):
        counts[2 * sweep // sweeps] += chain.sweep()
    total = counts.sum(0)
    halves = (counts + smoothing) / (counts.sum(-1, keepdim=True) + y.shape[-1] * smoothing)
    return (total + smoothing) / (sweeps + y.shape[-1] * smoothing), halves


class _Chain:
    """One Markov chain a context over class vectors that agree with all its labels."""

    def __init__(self, x: Tensor, y: Tensor, x_query: Tensor, w: Tensor, generator: Generator) -> None:
        self.x, self.w, self.generator = x, w.clone(), generator
        self.own = y.mT > 0
        self.label = y.argmax(-1).unsqueeze(1)
        self.scores = w @ x.mT
        self.x_query = x_query.unsqueeze(-1)

    def sweep(self) -> Tensor:
        """Update every class vector once; return the mean share of the query's classes on the arcs walked, (B, C)."""
        self._settle()
        classes = self.w.shape[1]
        return torch.stack([self._update(c) for c in range(classes)]).mean(0)

    def _settle(self) -> None:
        """Round the class vectors to `GRID` where their labels allow it, and compute the scores afresh.

        A chain multiplies differences: one in the last digit, which depends on the processor, grows millionfold in 300
        sweeps and leads it elsewhere. So it is lost after each. The grid is far finer than anything that is measured.
        """
        rounded = (self.w / GRID).round() * GRID
        allowed = ((rounded @ self.x.mT).argmax(1) == self.label.squeeze(1)).all(-1)
        self.w = torch.where(allowed[:, None, None], rounded, self.w)
        self.scores = self.w @ self.x.mT

    def _update(self, c: int) -> Tensor:
        own = self.own[:, c]
        others = self.scores.clone()
        others[:, c] = -torch.inf
        # A point of class c needs ⟨w_c, x⟩ above the best other score; any other point needs it below its own.
        label_score = self.scores.gather(1, self.label).squeeze(1)
        limit = torch.where(own, others.amax(1), label_score)
        sign = torch.where(own, 1.0, -1.0).to(limit.dtype)
        w, score = self.w[:, c], self.scores[:, c]
        direction = self._tangent(w)
        side = (self.x @ direction.unsqueeze(-1)).squeeze(-1)
        low, high = self._arc(score, side, limit, sign)
        shares = self._shares(c, direction, low, high)
        angle = low + (high - low) * self._uniform(len(score))
        self.w[:, c] = angle.cos() * w + angle.sin() * direction
        self.scores[:, c] = angle.cos() * score + angle.sin() * side
        return shares

    def _shares(self, c: int, direction: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The shares of the arc [low, high] on which the query belongs to each class, (B, C): c or the best other."""
        scores = (self.w @ self.x_query).squeeze(-1)
        here, side = scores[:, c : c + 1], (direction.unsqueeze(1) @ self.x_query).squeeze(-1)
        others = scores.clone()
        others[:, c] = -torch.inf
        best, other = others.max(-1, keepdim=True)
        phase, reach = _polar(here, side, best)
        # The winning arc repeats every 2π; the allowed one lies between −2π and 2π.
        turns = phase + 2 * math.pi * torch.arange(-2, 3, dtype=phase.dtype, device=phase.device)
        overlap = (torch.minimum(high, turns + reach) - torch.maximum(low, turns - reach)).clamp_min(0).sum(-1, True)
        won = (overlap / (high - low).clamp_min(torch.finfo(low.dtype).tiny)).clamp(0, 1)
        shares = torch.zeros_like(scores).scatter_(-1, other, 1 - won)
        shares[:, c : c + 1] = won
        return shares

    def _tangent(self, w: Tensor) -> Tensor:
        g = torch.randn(w.shape, generator=self.generator, dtype=w.dtype, device=w.device)
        g = g - (g * w).sum(-1, keepdim=True) * w
        return g / g.norm(dim=-1, keepdim=True)

    def _arc(self, score: Tensor, side: Tensor, limit: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
        """The ends (B, 1) of the allowed arc round 0.

        Point i allows |θ − φ_i| < arccos(limit/r_i), with r_i, φ_i the polar form of its (score, side).
        """
        phase, reach = _polar(sign * score, sign * side, sign * limit)
        # A point that holds all the way round ends no arc. The arc must be the same from wherever on it the chain
        # stands, or the chain would favour some places: it may reach beyond ±π.
        reach = torch.where(reach < math.pi, reach, torch.inf)
        # 0 is allowed, so every arc holds it; rounding may put an end a hair on the wrong side.
        high = (phase + reach).amin(-1, keepdim=True).clamp_min(0)
        low = (phase - reach).amax(-1, keepdim=True).clamp_max(0)
        free = high.isinf()
        return torch.where(free, -math.pi, low), torch.where(free, math.pi, high)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, 1, generator=self.generator, dtype=self.x.dtype, device=self.x.device)


def _polar(score: Tensor, side: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """(φ, ρ) such that cos θ · score + sin θ · side > limit where |θ − φ| < ρ."""
    return torch.atan2(side, score), torch.acos((limit / torch.hypot(score, side)).clamp(-1, 1))

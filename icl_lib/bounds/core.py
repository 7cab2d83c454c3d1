"""The five statements that all else leans on, by second proofs: sums of squares, and a covering in exact arithmetic.

The squares are written with +, −, × and / only. So one text serves for floats, tensors, fractions and the symbols of a
computer algebra system, with which the tests prove each identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy
from numpy.typing import NDArray

from icl_lib.running.validation import check_integer

#: A float, a tensor, a fraction, a symbol: whatever adds and multiplies.
Scalar = Any

#: Coefficient of x^i y^j at [i, j], exact.
Polynomial = NDArray[numpy.object_]


def half_gap(f: Sequence[Scalar], v: Sequence[Scalar]) -> Scalar:
    """2 Σ (f_i − ½)² v_i² + Σ_{i<j} f_i f_j (v_i + v_j)², which is ½‖v‖² − vᵀJv for Σ f_i = 1.

    See `lem-half-squares`.
    """
    total = sum((1 - 2 * p) ** 2 * x**2 / 2 for p, x in zip(f, v, strict=True))
    pairs = ((i, j) for j in range(len(f)) for i in range(j))
    return total + sum(f[i] * f[j] * (v[i] + v[j]) ** 2 for i, j in pairs)


def odds_gap(q: Scalar, p: Scalar) -> Scalar:
    """(q − 1)(1 − (q + 1)p)² / ((q + 1)(1 + (q² − 1)p)): tanh(¼ osc δ) less the growth of p, q = e^(osc δ/2).

    p grows to q²p/(1 + (q² − 1)p), the most that odds q² times as large allow. See `lem-odds-square`.
    """
    return (q - 1) * (1 - (q + 1) * p) ** 2 / ((q + 1) * (1 + (q**2 - 1) * p))


def _cubic_gap(w: Scalar, root: Scalar) -> Scalar:
    """1/(6√3) − w(1 − w)(1 − 2w) as a square times what is positive for w ≤ ½, with root = √3."""
    t = 1 - 2 * w
    return (t - root / 3) ** 2 * (t + 2 * root / 3) / 4


def _end_gap(share: Scalar, mean: Scalar, root: Scalar) -> Scalar:
    """1/(6√3) − π(1 − π) m (1 − 2πm): the case in which the other part's mean is at an end."""
    w = share * mean
    return _cubic_gap(w, root) + w * (1 - 2 * w) * share * (1 - mean)


def third_gap(share: Scalar, means: tuple[Scalar, Scalar], variances: tuple[Scalar, Scalar], root: Scalar) -> Scalar:
    """1/(6√3) − κ₃(k, k, 1_S) as a sum of terms that are ≥ 0, for a share π = f(S) ≤ ½ and k in [0, 1].

    `means` and `variances` are those of k on S and off S; root = √3. See `lem-third-squares`.
    """
    (on, off), (within, outside) = means, variances
    spread = share * (1 - share)
    slack = spread * (on * (1 - on) - within + outside)
    ends = (1 - off) * _end_gap(share, on, root) + off * _end_gap(share, 1 - on, root)
    return slack + ends + spread * (1 - 2 * share) * off * (1 - off)


def likely_gap(share: Scalar, means: tuple[Scalar, Scalar], variances: tuple[Scalar, Scalar]) -> Scalar:
    """1/16 − κ₃(k, k, 1_S) as a sum of terms that are ≥ 0, for a share π = f(S) ≥ ½. See `lem-third-squares`."""
    (on, off), (within, outside) = means, variances
    spread = share * (1 - share)
    slack = spread * (on * (1 - on) - within + outside + (2 * share - 1) * (on - off) ** 2)
    return slack + (1 - 2 * share) ** 2 * on * (1 - on) / 4 + (1 - 2 * on) ** 2 / 16


def plateau_gap(variance: Scalar, square: Scalar) -> Scalar:
    """(4σ − t)(t − σ)², which is 4σ³ − t(t − 3σ)²: ≥ 0 for squares t ≤ 4σ. See `lem-fourth-cover`."""
    return (4 * variance - square) * (square - variance) ** 2


@dataclass(frozen=True)
class Covering:
    """Whether every box of the covering was decided, and how many boxes were looked at."""

    proved: bool
    boxes: int


def cover(positive: Polynomial, where: Polynomial, most: int = 100_000) -> Covering:
    """Whether `positive` > 0 at each point of the unit square at which `where` ≥ 0, by halving boxes, exactly.

    On a box a polynomial lies between its least and its largest Bernstein coefficient. A box is done where the first
    polynomial is positive or the second negative throughout. `proved=False` after `most` boxes. See `lem-fourth-cover`.
    """
    check_integer("most", most, 1)
    open_, boxes = [(bernstein(positive), bernstein(where), 0)], 0
    while open_:
        g, h, axis = open_.pop()
        boxes += 1
        if boxes > most:
            return Covering(False, boxes)
        if min(g.ravel().tolist()) > 0 or max(h.ravel().tolist()) < 0:
            continue
        parts = zip(_halves(g, axis), _halves(h, axis), strict=True)
        open_ += [(first, second, 1 - axis) for first, second in parts]
    return Covering(True, boxes)


def bernstein(polynomial: Polynomial) -> Polynomial:
    """Bernstein coefficients on the unit square, of the same degrees. See `lem-fourth-cover`."""
    return _along_first(_along_first(polynomial).T).T


def _along_first(coefficients: Polynomial) -> Polynomial:
    degree = len(coefficients) - 1
    matrix = [[Fraction(comb(k, i), comb(degree, i)) for i in range(degree + 1)] for k in range(degree + 1)]
    return numpy.array(matrix, dtype=object) @ coefficients


def _halves(coefficients: Polynomial, axis: int) -> tuple[Polynomial, Polynomial]:
    """Coefficients on both halves of the box, by de Casteljau's rule."""
    row = numpy.moveaxis(coefficients, axis, 0)
    first, last = [row[0]], [row[-1]]
    while len(row) > 1:
        row = (row[:-1] + row[1:]) * Fraction(1, 2)
        first.append(row[0])
        last.append(row[-1])
    return tuple(numpy.moveaxis(numpy.array(part), 0, axis) for part in (first, last[::-1]))  # type: ignore[return-value]


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    product = numpy.full([a + b - 1 for a, b in zip(left.shape, right.shape, strict=True)], Fraction(0), dtype=object)
    for (i, j), value in numpy.ndenumerate(left):
        product[i : i + right.shape[0], j : j + right.shape[1]] += value * right
    return product


def _plus(left: Polynomial, right: Polynomial) -> Polynomial:
    total = numpy.full([max(pair) for pair in zip(left.shape, right.shape, strict=True)], Fraction(0), dtype=object)
    total[: left.shape[0], : left.shape[1]] += left
    total[: right.shape[0], : right.shape[1]] += right
    return total


def _exact(rows: list[list[int | Fraction]]) -> Polynomial:
    return numpy.array([[Fraction(value) for value in row] for row in rows], dtype=object)


def fourth_cases(limit: Fraction) -> dict[str, tuple[Polynomial, Polynomial]]:
    """The two polynomials to be positive, and where, for E g² < `limit` beyond the plateau, in (x, y) in [0, 1]².

    m = x/2 is the mean, σ = y m(1 − m) the variance and μ = (1 − m)² the largest square; where μ ≥ 4σ, that is
    1 − m ≥ 4ym, limit − 9σ³ and limit − σ(μ − 3σ)² have to be positive. See `lem-fourth-cover`.
    """
    half = Fraction(1, 2)
    m, rest = _exact([[0], [half]]), _exact([[1], [-half]])
    sigma = _times(_times(m, rest), _exact([[0, 1]]))
    over = _plus(_times(rest, rest), -3 * sigma)
    where = _plus(rest, -4 * _times(m, _exact([[0, 1]])))
    nine = 9 * _times(sigma, _times(sigma, sigma))
    top = _exact([[limit]])
    return {
        "9σ³": (_plus(top, -nine), where),
        "σ(μ − 3σ)²": (_plus(top, -_times(sigma, _times(over, over))), where),
    }

"""A rigorous proof by computer that λ(B) lies in [−0.24041, 0.30812], for every n and every sub-stochastic target.

The theorem's proof leaves twelve polynomials in (p, t, τ), to be bounded on the simplex p, t, τ ≥ 0, p + t + τ ≤ 1.
Each is written in Bernstein form on a tetrahedron: its values lie below its largest coefficient. Where that is not
small enough, the longest edge is halved (de Casteljau) and both halves are examined. All coefficients are
integers over one power of two per generation, held as Python integers: the arithmetic is exact, so there is no
rounding to bound.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from math import factorial

import numpy
from numpy.typing import NDArray

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count

#: A polynomial in the barycentric coordinates (1 − p − t − τ, p, t, τ): integer coefficient of each monomial.
Polynomial = dict[tuple[int, int, int, int], int]

DEGREE = 4
EDGES = tuple(itertools.combinations(range(4), 2))


@dataclass(frozen=True)
class Case:
    """One polynomial: the side it bounds (`"above"` or `"below"`), where the target sits, and which end of Q."""

    side: str
    name: str
    polynomial: Polynomial


@dataclass(frozen=True)
class Outcome:
    """What the subdivision found: whether polynomial ≤ limit on the whole simplex, and at what expense.

    `attained` is the largest value met at a vertex, so the true maximum lies between it and the limit.
    """

    proved: bool
    simplices: int
    generations: int
    attained: Fraction


def _sum(*terms: Polynomial) -> Polynomial:
    total: Counter[tuple[int, int, int, int]] = Counter()
    for term in terms:
        for exponents, coefficient in term.items():
            total[exponents] += coefficient
    return dict(total)


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    product: Counter[tuple[int, int, int, int]] = Counter()
    for (a, b, c, d), u in left.items():
        for (e, f, g, h), v in right.items():
            product[a + e, b + f, c + g, d + h] += u * v
    return dict(product)


def _scaled(k: int, polynomial: Polynomial) -> Polynomial:
    return {exponents: k * coefficient for exponents, coefficient in polynomial.items()}


REST: Polynomial = {(1, 0, 0, 0): 1}
P: Polynomial = {(0, 1, 0, 0): 1}
T: Polynomial = {(0, 0, 1, 0): 1}
TAU: Polynomial = {(0, 0, 0, 1): 1}
#: 1 in barycentric coordinates: multiplying by it raises the degree and leaves the values.
ONE = _sum(REST, P, T, TAU)


def _linear(constant: int, p: int, t: int = 0) -> Polynomial:
    """constant + p·p + t·t as a form of degree 1."""
    return _sum(_scaled(constant, ONE), _scaled(p, P), _scaled(t, T))


def cases() -> list[Case]:
    """The twelve polynomials in the proof of `thm-curvature`, six for each side."""
    found = []
    for q in (0, 1):
        Q = _scaled(q, _times(TAU, TAU))
        end = f"Q = {'τ²' if q else '0'}"
        for kept in (0, 1):
            name = f"target elsewhere, edge {'kept' if kept else 'dropped'}, {end}"
            found += [Case("above", name, _elsewhere(+1, kept, Q)), Case("below", name, _elsewhere(-1, kept, Q))]
        name = f"target here, {end}"
        found += [Case("above", name, _here(+1, Q)), Case("below", name, _here(-1, Q))]
    return sorted(found, key=lambda case: case.side)


def _squares(sign: int, Q: Polynomial, here: bool) -> Polynomial:
    """The bound on N = ‖f‖² that makes the bracket largest: the least for +, the greatest for −."""
    known = [_times(P, P), Q] if here else [_times(P, P), _times(T, T), Q]
    rest = _sum(REST, T) if here else REST
    return _sum(*known) if sign > 0 else _sum(*known, _times(rest, rest))


def _elsewhere(sign: int, kept: int, Q: Polynomial) -> Polynomial:
    """±2p[εt(2p + 4t − 1 − 3N) + τ(2p + 2t − 3N) + 2Q], the target on another word (mass t) or nowhere."""
    N = _scaled(-3, _squares(sign, Q, here=False))
    edge = _times(_scaled(kept, T), _sum(_times(ONE, _linear(-1, 2, 4)), N))
    others = _times(TAU, _sum(_times(ONE, _linear(0, 2, 2)), N))
    return _times(_scaled(2 * sign, P), _sum(edge, others, _times(ONE, _scaled(2, Q))))


def _here(sign: int, Q: Polynomial) -> Polynomial:
    """±2p[τ(4p − 1 − 3N) + 2Q], the target on the word itself."""
    N = _scaled(-3, _squares(sign, Q, here=True))
    others = _times(TAU, _sum(_times(ONE, _linear(-1, 4)), N))
    return _times(_scaled(2 * sign, P), _sum(others, _times(ONE, _scaled(2, Q))))


@checked()
def bernstein(polynomial: Polynomial) -> NDArray[numpy.object_]:
    """24 times the Bernstein coefficients, as a symmetric tensor (4, 4, 4, 4) of integers; entry iiii is vertex i."""
    tensor = numpy.zeros((4,) * DEGREE, dtype=object)
    for index in itertools.product(range(4), repeat=DEGREE):
        exponents = (index.count(0), index.count(1), index.count(2), index.count(3))
        multiplicity = factorial(DEGREE)
        for k in exponents:
            multiplicity //= factorial(k)
        tensor[index] = 24 * polynomial.get(exponents, 0) // multiplicity
    return tensor


@checked()
def prove(polynomial: Polynomial, limit: Fraction, most: int = 200_000) -> Outcome:
    """Whether polynomial ≤ limit on the simplex, by subdivision in exact arithmetic.

    Stops with `proved=False` at a vertex above the limit, or after `most` tetrahedra. See `thm-curvature`.
    """
    check_count("most", most)
    corners = numpy.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], dtype=object)
    tensors, scale, examined, attained = bernstein(polynomial)[None], 24, 0, Fraction(-(10**9))
    for generation in itertools.count(1):
        examined += len(tensors)
        vertices = numpy.stack([tensors[:, i, i, i, i] for i in range(4)])
        attained = max(attained, Fraction(int(vertices.max()), scale))
        if attained > limit or examined > most:
            return Outcome(False, examined, generation, attained)
        open_ = tensors.reshape(len(tensors), -1).max(1) * limit.denominator > limit.numerator * scale
        if not open_.any():
            return Outcome(True, examined, generation, attained)
        corners, tensors = _halve(corners[open_], tensors[open_])
        scale *= 2**DEGREE
    raise AssertionError("unreachable: the loop ends by returning")


def _halve(
    corners: NDArray[numpy.object_], tensors: NDArray[numpy.object_]
) -> tuple[NDArray[numpy.object_], NDArray[numpy.object_]]:
    """Both halves of each tetrahedron at the middle of its longest edge, in units half as large as before."""
    lengths = numpy.stack([((corners[:, i] - corners[:, j]) ** 2).sum(-1) for i, j in EDGES])
    longest = lengths.argmax(0)
    halves = []
    for edge, (i, j) in enumerate(EDGES):
        chosen = longest == edge
        if chosen.any():
            halves += [_replace(corners[chosen], tensors[chosen], *ends) for ends in ((i, j), (j, i))]
    return numpy.concatenate([c for c, _ in halves]), numpy.concatenate([t for _, t in halves])


def _replace(
    corners: NDArray[numpy.object_], tensors: NDArray[numpy.object_], i: int, j: int
) -> tuple[NDArray[numpy.object_], NDArray[numpy.object_]]:
    """Vertex i moved to the middle of edge ij: averages along each axis, every number doubled to stay an integer."""
    corners, tensors = 2 * corners, tensors.copy()
    corners[:, i] = (corners[:, i] + corners[:, j]) // 2
    for axis in range(1, DEGREE + 1):
        view = numpy.moveaxis(tensors, axis, 0)
        middle = view[i] + view[j]
        view *= 2
        view[i] = middle
    return corners, tensors

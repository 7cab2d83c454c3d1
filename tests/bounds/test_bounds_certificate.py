"""The curvature certificate: exact, complete, and able to fail."""

from fractions import Fraction

import numpy
import pytest
import torch

from icl_lib.bounds import certificate, curvature, intervals

LIMITS = {"above": Fraction(str(curvature.UPPER)), "below": Fraction(str(curvature.LOWER))}
cases = pytest.mark.parametrize("case", certificate.cases(), ids=lambda c: f"{c.side}: {c.name}")


def _value(case: certificate.Case, point: tuple[Fraction, ...]) -> Fraction:
    """The polynomial at barycentric coordinates (1 − p − t − τ, p, t, τ)."""
    total = Fraction(0)
    for exponents, coefficient in case.polynomial.items():
        term = Fraction(coefficient)
        for base, power in zip(point, exponents, strict=True):
            term *= base**power
        total += term
    return total


@cases
def test_the_curvature_bound_is_proved(case: certificate.Case) -> None:
    outcome = certificate.prove(case.polynomial, LIMITS[case.side])
    assert outcome.proved
    assert outcome.attained <= LIMITS[case.side]


@cases
def test_ten_millionths_closer_to_what_two_words_attain(case: certificate.Case) -> None:
    reached = curvature.ATTAINED_ABOVE if case.side == "above" else curvature.ATTAINED_BELOW
    assert certificate.prove(case.polynomial, Fraction(reached) + Fraction(1, 10**7)).proved


@pytest.mark.parametrize(("side", "reached"), [("above", "0.30811"), ("below", "0.24040")])
def test_a_constant_a_little_too_small_is_refuted(side: str, reached: str) -> None:
    outcomes = [certificate.prove(c.polynomial, Fraction(reached)) for c in certificate.cases() if c.side == side]
    assert any(not o.proved and o.attained > Fraction(reached) for o in outcomes)


def test_there_are_twelve_cases() -> None:
    assert len(certificate.cases()) == 12
    assert len({(c.side, c.name) for c in certificate.cases()}) == 12


@cases
def test_the_bernstein_form_is_the_polynomial(case: certificate.Case) -> None:
    point = (Fraction(1, 7), Fraction(2, 7), Fraction(3, 7), Fraction(1, 7))
    value = certificate.bernstein(case.polynomial)
    weights = numpy.array(point, dtype=object)
    for _ in range(certificate.DEGREE):
        value = (value * weights).sum(-1)
    assert Fraction(value) == 24 * _value(case, point)


def test_every_gershgorin_sum_lies_below_one_of_the_polynomials() -> None:
    """What the certificate bounds is what the proof needs: the polynomials dominate 2 Σ (±ω_kl)_+ for all f, b."""
    generator = torch.Generator().manual_seed(0)
    for n in (2, 3, 5):
        f = torch.softmax(3 * torch.randn(200, n, generator=generator, dtype=torch.float64), -1)
        for j in range(n + 1):
            b = torch.zeros_like(f) if j == n else torch.nn.functional.one_hot(torch.tensor(j), n).to(f).expand_as(f)
            omega = curvature.laplacian_weights(f, b)
            for sign, side in ((1, "above"), (-1, "below")):
                for k in range(n):
                    _check_domination(f, omega * sign, j, k, side)


def _check_domination(f: torch.Tensor, omega: torch.Tensor, j: int, k: int, side: str) -> None:
    n = f.shape[-1]
    for row, edges in zip(f[:5], omega[:5, k].clamp_min(0), strict=True):
        kept = [i for i in range(n) if edges[i] > 0 and i != j]
        p, tau = float(row[k]), float(row[kept].sum())
        t = float(row[j]) if j < n and j != k else 0.0
        here = j == k
        edge = "kept" if not here and j < n and edges[j] > 0 else "dropped"
        names = [f"target here, Q = {q}" if here else f"target elsewhere, edge {edge}, Q = {q}" for q in ("0", "τ²")]
        points = tuple(Fraction(v) for v in (1 - p - t - tau, p, t, tau))
        best = max(float(_value(c, points)) for c in certificate.cases() if c.side == side and c.name in names)
        assert 2 * float(edges.sum()) <= best + 1e-12


@cases
def test_outward_rounded_intervals_prove_the_same_bound(case: certificate.Case) -> None:
    outcome = intervals.prove(case.polynomial, LIMITS[case.side])
    assert outcome.proved


@pytest.mark.parametrize(("side", "reached"), [("above", "0.30811"), ("below", "0.24040")])
def test_intervals_do_not_prove_what_is_false(side: str, reached: str) -> None:
    """Two words exceed `reached`; twice the boxes that prove the true bound do not prove this one."""
    case = next(c for c in certificate.cases() if c.side == side and c.name == "target elsewhere, edge kept, Q = 0")
    enough = intervals.prove(case.polynomial, LIMITS[side])
    assert enough.proved
    assert not intervals.prove(case.polynomial, Fraction(reached), most=2 * enough.boxes).proved


@cases
def test_interval_bounds_lie_above_exact_values(case: certificate.Case) -> None:
    """On points, boxes of width 0: the bound exceeds the exact value, and by rounding only."""
    generator = numpy.random.default_rng(0)
    weights = generator.integers(1, 2**20, (20, 3))
    points = weights / 2**22
    plain = intervals.in_three_variables(case.polynomial)
    above = intervals.upper_bound(plain, points.T, points.T)
    for (p, t, tau), bound in zip(points, above, strict=True):
        exact = _value(case, tuple(map(Fraction, (1 - p - t - tau, p, t, tau))))
        assert exact < Fraction(bound) < exact + Fraction(1, 10**13)


def test_interval_bounds_hold_on_boxes() -> None:
    generator = numpy.random.default_rng(1)
    for case in certificate.cases():
        plain = intervals.in_three_variables(case.polynomial)
        low = generator.integers(0, 64, (3, 50)) / 256
        high = low + generator.integers(0, 32, (3, 50)) / 256
        above = intervals.upper_bound(plain, low, high)
        for _ in range(20):
            p, t, tau = low + (high - low) * generator.integers(0, 9, (3, 50)) / 8
            for k in range(0, 50, 7):
                point = tuple(map(Fraction, (1 - p[k] - t[k] - tau[k], p[k], t[k], tau[k])))
                assert _value(case, point) <= Fraction(above[k])

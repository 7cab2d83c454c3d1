"""The five statements that the part leans on, proved a second time: by identities of polynomials, and by a covering.

Symbols stand for all real numbers, so an identity that sympy finds to be 0 is proved. Where it is about sums over any
number of words, each of its monomials touches as many words as are given here at most: setting the others to 0 shows
that its coefficient is the one checked.
"""

from fractions import Fraction

import numpy
import pytest
import sympy
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from icl_lib import constructions
from icl_lib.bounds import core

few = hypothesis_settings(max_examples=50)
shares = st.fractions(0, 1, max_denominator=60)
Expression = sympy.Expr


def _zero(expression: Expression) -> bool:
    return sympy.expand(sympy.fraction(sympy.together(expression))[0]) == 0


def _mean(f: list[Expression], v: list[Expression]) -> Expression:
    return sum(p * x for p, x in zip(f, v, strict=True))


def _words(n: int, name: str) -> list[Expression]:
    return list(sympy.symbols(f"{name}1:{n + 1}"))


def _distribution(n: int) -> list[Expression]:
    f = _words(n, "f")
    return [*f[:-1], 1 - sum(f[:-1])]


# ‖J‖ ≤ ½


def test_half_less_the_jacobian_is_a_sum_of_squares_for_any_number_of_words() -> None:
    """Both sides times (Σ f)²: monomials f_a f_b v_c v_d, with three different words at most."""
    f, v = _words(3, "f"), _words(3, "v")
    total = sum(f)
    left = total**2 * sum(x**2 for x in v) / 2 - total * _mean(f, [x**2 for x in v]) + _mean(f, v) ** 2
    assert _zero(left - total**2 * core.half_gap([p / total for p in f], v))
    assert not _zero(left - total**2 * core.half_gap([p / total for p in f], [*v[:2], v[2] + 1]))


def test_the_squares_are_positive_and_a_smaller_constant_is_not() -> None:
    half = [Fraction(1, 2)] * 2
    assert core.half_gap(half, [1, -1]) == 0
    assert Fraction(49, 100) * 2 < Fraction(1, 2) * 2 == sum(p * x * x for p, x in zip(half, [1, -1], strict=True))


# The tanh law


def test_odds_grow_by_the_ratio_of_the_weights_at_most() -> None:
    """q²p(1 − p') − p'(1 − p) ≥ 0 for the new weights f_i u_i, m ≤ u_i ≤ q²m: two words in S, two outside."""
    f, u, q = _words(4, "f"), _words(4, "u"), sympy.Symbol("q")
    inside, outside = (0, 1), (2, 3)
    p, p_new = (sum(w[i] for i in inside) / sum(w) for w in (f, [a * b for a, b in zip(f, u, strict=True)]))
    left = (q**2 * p * (1 - p_new) - p_new * (1 - p)) * sum(f) * _mean(f, u)
    assert _zero(left - sum(f[i] * f[j] * (q**2 * u[j] - u[i]) for i in inside for j in outside))
    m, x, y = sympy.symbols("m x y")
    assert _zero((q**2 * (m + y) - (m + x)) - (((q**2 - 1) * m - x) + q**2 * y))


def test_the_growth_of_a_probability_lies_below_the_tanh_by_a_square() -> None:
    q, p = sympy.symbols("q p", positive=True)
    grown = q**2 * p / (1 + (q**2 - 1) * p) - p
    assert _zero((q - 1) / (q + 1) - grown - core.odds_gap(q, p))
    s = sympy.Symbol("s", real=True)
    assert sympy.simplify(sympy.tanh(s / 4).rewrite(sympy.exp) - (sympy.exp(s / 2) - 1) / (sympy.exp(s / 2) + 1)) == 0
    assert core.odds_gap(Fraction(3), Fraction(1, 4)) == 0
    assert core.odds_gap(Fraction(3), Fraction(1, 3)) > 0
    at = {q: 3, p: sympy.Rational(1, 4)}
    assert grown.subs(at) == sympy.Rational(1, 2) > sympy.Rational(98, 100) * ((q - 1) / (q + 1)).subs(at)


def test_from_total_variation_to_the_euclidean_norm() -> None:
    """2 TV² − ‖h‖² for a vector of sum zero, and 2‖v‖² − (v₁ − v₂)²: products and squares with a positive sign."""
    a, b, c = sympy.symbols("a b c", positive=True)
    h = [a, b, -c, c - a - b]
    tv = a + b
    assert _zero(2 * tv**2 - sum(x**2 for x in h) - 2 * (a * b + c * (a + b - c)))
    v = _words(3, "v")
    assert _zero(2 * sum(x**2 for x in v) - (v[0] - v[1]) ** 2 - (v[0] + v[1]) ** 2 - 2 * v[2] ** 2)


# The third cumulant


def test_the_third_cumulant_of_an_indicator_by_shares_means_and_variances() -> None:
    share, a, b = sympy.symbols("pi a b")
    k = _words(4, "k")
    f = [share * a, share * (1 - a), (1 - share) * b, (1 - share) * (1 - b)]
    middle = _mean(f, k)
    cumulant = _mean(f, [(x - middle) ** 2 * (s - share) for x, s in zip(k, (1, 1, 0, 0), strict=True)])
    on, off = a * k[0] + (1 - a) * k[1], b * k[2] + (1 - b) * k[3]
    within, outside = a * (1 - a) * (k[0] - k[1]) ** 2, b * (1 - b) * (k[2] - k[3]) ** 2
    assert _zero(cumulant - _third(share, (on, off), (within, outside)))


def _third(share: Expression, means: tuple, variances: tuple) -> Expression:
    change = (means[0] - means[1]) ** 2
    return share * (1 - share) * (variances[0] - variances[1] + (1 - 2 * share) * change)


def test_what_the_third_cumulant_leaves_is_a_sum_of_positive_terms() -> None:
    share, on, off, within, outside = sympy.symbols("pi m1 m0 s1 s0")
    given_ = share, (on, off), (within, outside)
    root = sympy.sqrt(3)
    assert _zero(1 / (6 * root) - _third(*given_) - core.third_gap(*given_, root))
    assert _zero(sympy.Rational(1, 16) - _third(*given_) - core.likely_gap(*given_))
    assert 6 * root < 16


@given(shares, shares, shares, shares, shares)
@few
def test_the_terms_are_positive_where_the_lemma_needs_them(
    share: Fraction, on: Fraction, off: Fraction, within: Fraction, outside: Fraction
) -> None:
    variances = within * on * (1 - on), outside * off * (1 - off)
    if share <= Fraction(1, 2):
        root = Fraction(173205080756887729, 10**17)
        assert core.third_gap(share, (on, off), variances, root) > -Fraction(1, 10**16)
    else:
        assert core.likely_gap(share, (on, off), variances) >= 0


def test_the_third_cumulant_is_attained_and_a_smaller_constant_is_false() -> None:
    root = sympy.sqrt(3)
    share = sympy.Rational(1, 2) - 1 / (2 * root)
    assert _zero(core.third_gap(share, (sympy.Integer(1), sympy.Integer(0)), (0, 0), root))
    assert sympy.Rational(98, 100) / (6 * root) < sympy.nsimplify(_third(share, (1, 0), (0, 0)))


# The fourth cumulant


def test_the_fourth_cumulant_is_a_covariance_and_at_most_half_a_deviation() -> None:
    f, k, v = _distribution(3), _words(3, "k"), _words(3, "v")
    middle = _mean(f, k)
    y = [x - middle for x in k]
    variance = _mean(f, [x**2 for x in y])
    g = [x**3 - 3 * variance * x for x in y]
    centred = [x - _mean(f, v) for x in v]
    third, first = (_mean(f, [a**power * b for a, b in zip(y, centred, strict=True)]) for power in (3, 1))
    covariance = _mean(f, [a * b for a, b in zip(g, v, strict=True)]) - _mean(f, g) * _mean(f, v)
    assert _zero(third - 3 * variance * first - covariance)
    assert not _zero(third - 2 * variance * first - covariance)
    # Cauchy–Schwarz by Lagrange's identity, for any g and w = v − ½, whose square is ¼ − v(1 − v).
    g, w = _words(3, "g"), [x - sympy.Rational(1, 2) for x in v]
    product = _mean(f, [x**2 for x in g]) * _mean(f, [x**2 for x in w])
    product -= _mean(f, [a * b for a, b in zip(g, w, strict=True)]) ** 2
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert _zero(product - sum(f[i] * f[j] * (g[i] * w[j] - g[j] * w[i]) ** 2 for i, j in pairs))
    assert _zero(sympy.Rational(1, 4) - w[0] ** 2 - v[0] * (1 - v[0]))
    assert _zero(middle * (1 - middle) - variance - _mean(f, [x * (1 - x) for x in k]))


def test_the_fourth_cumulant_is_attained_and_a_smaller_constant_is_false() -> None:
    y = [Fraction(1, 2), Fraction(-1, 2)]
    moments = [sum(x**power for x in y) / 2 for power in (2, 4)]
    assert abs(moments[1] - 3 * moments[0] ** 2) == Fraction(1, 8) > Fraction(98, 100) * Fraction(1, 8)


def test_the_second_moment_on_the_plateau_and_beyond() -> None:
    sigma, t, mu = sympy.symbols("sigma t mu")
    assert _zero(4 * sigma**3 - t * (t - 3 * sigma) ** 2 - core.plateau_gap(sigma, t))
    quarter = sympy.Rational(1, 4)
    assert _zero(sympy.Rational(1, 16) - 4 * sigma**3 - 4 * (quarter - sigma) * (sigma**2 + sigma / 4 + quarter**2))
    # A convex function lies below its chord: t(μ − t) ≥ 0 on [0, μ].
    chord = t / mu * (mu - 3 * sigma) ** 2 + (1 - t / mu) * 9 * sigma**2
    assert _zero(chord - (t - 3 * sigma) ** 2 - t * (mu - t))


@pytest.mark.parametrize("name", ["9σ³", "σ(μ − 3σ)²"])
def test_beyond_the_plateau_the_moment_is_covered_exactly(name: str) -> None:
    positive, where = core.fourth_cases(Fraction(1, 16))[name]
    assert core.cover(positive, where).proved
    # The control: what one point of the region exceeds is not proved.
    m = {"9σ³": Fraction(1, 5), "σ(μ − 3σ)²": Fraction(1, 8)}[name]
    reached = _beyond(m, Fraction(1))[name]
    assert not core.cover(*core.fourth_cases(Fraction(98, 100) * reached)[name], most=2000).proved


def _beyond(m: Fraction, y: Fraction) -> dict[str, Fraction]:
    sigma, mu = y * m * (1 - m), (1 - m) ** 2
    return {"9σ³": 9 * sigma**3, "σ(μ − 3σ)²": sigma * (mu - 3 * sigma) ** 2}


@given(shares, shares)
@few
def test_the_polynomials_of_the_covering_are_those_of_the_lemma(x: Fraction, y: Fraction) -> None:
    m = x / 2
    expected = _beyond(m, y)
    for name, (positive, where) in core.fourth_cases(Fraction(1, 16)).items():
        assert _value(positive, x, y) == Fraction(1, 16) - expected[name]
        assert _value(where, x, y) == (1 - m) - 4 * y * m
        assert (_value(where, x, y) >= 0) == ((1 - m) ** 2 >= 4 * y * m * (1 - m))
        coefficients = core.bernstein(positive)
        assert min(coefficients.flat) <= _value(positive, x, y) <= max(coefficients.flat)


def _value(polynomial: numpy.ndarray, x: Fraction, y: Fraction) -> Fraction:
    return sum((c * x**i * y**j for (i, j), c in numpy.ndenumerate(polynomial)), Fraction(0))


def test_a_covering_proves_what_is_true_and_not_what_is_false() -> None:
    everywhere = numpy.array([[Fraction(1)]], dtype=object)
    for least, true in ((Fraction(26, 100), True), (Fraction(25, 100), False), (Fraction(24, 100), False)):
        # least − x(1 − x), and −(x(1 − x) − least) only where it is asked for.
        polynomial = numpy.array([[least], [Fraction(-1)], [Fraction(1)]], dtype=object)
        assert core.cover(polynomial, everywhere, most=500).proved is true
        assert core.cover(-everywhere, polynomial, most=500).proved is False
        assert core.cover(-everywhere, -everywhere, most=500).proved


# Layer = step


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_layer_is_the_step_that_a_computer_algebra_system_finds(n: int) -> None:
    """∇L(0) from the definition of the loss, by symbolic differentiation; the layer from its weight matrices."""
    d, rate = 2, 3 * n * n
    A, A_query = sympy.Matrix(n, d, _words(n * d, "a")), sympy.Matrix(n, d, _words(n * d, "q"))
    x, b = sympy.Matrix(_words(d, "x")), sympy.Matrix([*_words(n - 1, "b"), 1 - sum(_words(n - 1, "b"))])
    weights = [(A[i, :] * x)[0] for i in range(n)]
    total = sum(sympy.exp(z) for z in weights)
    loss = sum((sympy.exp(z) / total - b[i]) ** 2 for i, z in enumerate(weights)) / 2
    step = sympy.Matrix([-rate * sympy.diff(loss, w).subs(dict.fromkeys(x, 0)) for w in x])
    W_Q, W_K, W_V = (
        sympy.Matrix(W.tolist()).applyfunc(sympy.nsimplify) for W in constructions.softmax_regression_step(n, d, rate)
    )
    keys, queries = A.row_join(b).row_join(sympy.ones(n, 1)), A_query.row_join(sympy.zeros(n, 2))
    tokens = keys.col_join(queries)
    update = (tokens * W_Q.T) * (tokens * W_K.T).T * (tokens * W_V.T)
    for i in range(n):
        assert _zero(update[n + i, d] - (A_query[i, :] * step)[0])


def test_the_step_for_any_number_of_words() -> None:
    """∇L(0) is affine in b and treats words alike, so two words beside N equal ones show all of its coefficients."""
    N, x, rate = sympy.symbols("N x eta")
    a, b = _words(3, "a"), _words(3, "b")
    counts = (1, 1, N)
    total = sum(c * sympy.exp(w * x) for c, w in zip(counts, a, strict=True))
    loss = sum(c * (sympy.exp(w * x) / total - t) ** 2 for c, w, t in zip(counts, a, b, strict=True)) / 2
    step = -rate * sympy.diff(loss, x).subs(x, 0)
    n = N + 2
    mean = sum(c * t for c, t in zip(counts, b, strict=True)) / n
    assert _zero(step - rate / n * sum(c * w * (t - mean) for c, w, t in zip(counts, a, b, strict=True)))

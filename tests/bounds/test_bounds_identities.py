"""The equalities of the part on bounds, and the counterexamples to literal readings, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import hessian as torch_hessian
from torch.func import jvp

from icl_lib import constructions
from icl_lib.attention import self_attention, softmax_regression_tokens
from icl_lib.bounds import (
    closeness,
    cumulants,
    curvature,
    landscape,
    newton,
    published,
    self_concordance,
    sharp,
    shifts,
    spread,
)
from icl_lib.bounds.best_constant import best_constant, best_constant_ceiling, best_constant_floor
from icl_lib.softmax_regression import problem as softmax_regression
from tests.random_documents import normal, seeds

few = hypothesis_settings(max_examples=25)
sizes = st.tuples(st.integers(2, 7), st.integers(1, 5), seeds)


def _logits_and_target(n: int, seed: int) -> tuple[Tensor, Tensor]:
    return 2 * normal(seed, n), torch.softmax(2 * normal(seed + 1, n), -1)


def _close(left: Tensor, right: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


@given(sizes)
@few
def test_derivatives_of_a_softmax_average_are_cumulants(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, k, v = normal(seed, n), normal(seed + 1, n), normal(seed + 2, n)
    f = z.softmax(-1)

    def average(z: Tensor) -> Tensor:
        return (z.softmax(-1) * v).sum(-1)

    def along(function, z: Tensor) -> Tensor:
        return jvp(function, (z,), (k,))[1]

    def second(z: Tensor) -> Tensor:
        return along(lambda z: along(average, z), z)

    _close(along(average, z), cumulants.covariance(f, k, v))
    _close(second(z), cumulants.third_cumulant(f, k, k, v))
    _close(along(second, z), cumulants.fourth_cumulant(f, k, v))


@given(st.integers(2, 7), st.floats(0.1, 8.0), seeds)
@few
def test_the_second_moment_behind_the_fourth_cumulant_is_at_most_a_sixteenth(n: int, scale: float, seed: int) -> None:
    f, k = (scale * normal(seed, 200, n)).softmax(-1), normal(seed + 1, 200, n) ** 3
    assert float(cumulants.largest_second_moment(f, k).max()) <= 1 / 16 + 1e-12
    half, two = torch.full((2,), 0.5, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    _close(cumulants.largest_second_moment(half, two), torch.tensor(1 / 16, dtype=torch.float64))


def test_three_signs_with_product_one_attain_the_mixed_third_cumulant() -> None:
    f = torch.full((4,), 0.25, dtype=torch.float64)
    x, y = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]], dtype=torch.float64) / 2
    _close(cumulants.third_cumulant(f, x, y, 2 * x * y), torch.tensor(1 / 8, dtype=torch.float64))


@given(sizes)
@few
def test_shifts_are_accurate_relative_to_themselves(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, direction = normal(seed, n), normal(seed + 1, n)
    J = sharp.jacobian(z.softmax(-1))
    for scale in (1e-12, 1e-6):
        shift = shifts.prediction_shift(z, scale * direction)
        assert float(spread.norm(shift / scale - J @ direction)) <= 10 * scale + 1e-13
    for scale in (0.3, 3.0, 300.0):
        plain = (z + scale * direction).softmax(-1) - z.softmax(-1)
        _close(shifts.prediction_shift(z, scale * direction), plain, 1e-13)
        remainder = plain - J @ (scale * direction)
        _close(shifts.prediction_remainder(z, scale * direction), remainder, 1e-12)
        _close(sharp.jacobian_difference(z, scale * direction), sharp.jacobian(z.softmax(-1) + plain) - J, 1e-12)


@pytest.mark.parametrize("gap", [1.0, 30.0, 60.0, 300.0])
def test_the_jacobian_of_two_words_is_exact_where_one_has_nearly_all(gap: float) -> None:
    """‖J‖ = 2 f₁ f₂ = 1/(2 cosh²(gap/2)); 1 − f₁ is lost in rounding from a gap of 37 on."""
    z = torch.tensor([gap, 0.0], dtype=torch.float64)
    exact = torch.tensor(0.5 / math.cosh(gap / 2) ** 2, dtype=torch.float64)
    for value in (sharp.jacobian_norm(z.softmax(-1)), sharp.jacobian_norm_ceiling(z)):
        torch.testing.assert_close(value, exact, rtol=1e-12, atol=0)


@given(sizes)
@few
def test_logarithms_are_logarithms(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, delta = normal(seed, n), normal(seed + 1, n)
    u, moved = z.exp(), (z + delta).exp()
    _close(shifts.log_exponential_shift(z, delta).exp(), spread.norm(moved - u), 1e-10)
    _close(shifts.log_normaliser_shift(z, delta).exp(), (moved.sum() - u.sum()).abs(), 1e-10)
    _close(shifts.log_inverse_normaliser_shift(z, delta).exp(), (1 / moved.sum() - 1 / u.sum()).abs(), 1e-10)
    f, g = z.softmax(-1), (z + delta).softmax(-1)
    _close(shifts.divergence(z, delta), (f * (f / g).log()).sum(), 1e-10)


@pytest.mark.parametrize("t", [1e-9, -1e-3, 0.0999, 0.1001, -0.1001, 5.0])
def test_the_remainder_of_the_exponential(t: float) -> None:
    exact = math.fsum(t**k / math.factorial(k) for k in range(2, 60))
    assert float(shifts.exp_remainder(torch.tensor(t, dtype=torch.float64))) == pytest.approx(exact, rel=2e-14)


@given(sizes)
@few
def test_curvature_matrix_is_the_hessian_and_the_laplacian(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, b = _logits_and_target(n, seed)
    f, v = z.softmax(-1), normal(seed + 2, n)
    B = curvature.curvature_matrix(f, b)
    _close(B, torch_hessian(lambda z: 0.5 * (z.softmax(-1) - b).square().sum())(z))
    omega = curvature.laplacian_weights(f, b)
    _close(v @ B @ v, 0.5 * (omega * (v.unsqueeze(-1) - v).square()).sum())
    c = f - b
    cumulant_form = (sharp.jacobian(f) @ v).square().sum() + cumulants.third_cumulant(f, c, v, v)
    _close(v @ B @ v, cumulant_form)


@given(sizes)
@few
def test_third_derivative_is_the_derivative_of_the_curvature(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, b = _logits_and_target(n, seed)
    v = normal(seed + 2, n)

    def curvature_along(z: Tensor) -> Tensor:
        return v @ curvature.curvature_matrix(z.softmax(-1), b) @ v

    _close(jvp(curvature_along, (z,), (v,))[1], curvature.third_derivative(z.softmax(-1), b, v))


def test_two_words_attain_the_curvatures_and_the_third_derivative() -> None:
    p = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    by_hand = 4 * p.square() * (1 - p) * (2 - 3 * p) / 2
    assert float(2 * by_hand.max()) == pytest.approx(curvature.ATTAINED_ABOVE, abs=1e-9)
    assert float(2 * by_hand.min()) == pytest.approx(-curvature.ATTAINED_BELOW, abs=1e-9)
    third = (4 * math.sqrt(2) * p.square() * (1 - p) * (4 - 15 * p + 12 * p.square())).abs().max()
    assert float(third) == pytest.approx(curvature.TWO_WORDS_THIRD, abs=1e-8)
    f = torch.stack([p, 1 - p], -1)
    b = torch.tensor([0.0, 1.0], dtype=torch.float64).expand_as(f)
    v = torch.tensor([1.0, -1.0], dtype=torch.float64) / math.sqrt(2)
    _close((curvature.curvature_matrix(f, b) @ v @ v).max(), p.new_tensor(curvature.ATTAINED_ABOVE), 1e-8)
    attained = curvature.third_derivative(f, b, v.expand_as(f)).abs().max()
    _close(attained, p.new_tensor(curvature.TWO_WORDS_THIRD), 1e-8)


@given(sizes, st.floats(-30, 30), st.sampled_from((torch.float32, torch.float64)))
@few
def test_spectral_norm_at_any_scale(size: tuple[int, int, int], exponent: float, dtype: torch.dtype) -> None:
    n, d, seed = size
    A = normal(seed, n, d).to(dtype)
    A[:, 0] = 1.0
    exact = float(torch.linalg.matrix_norm(A.double(), 2))
    found = spread.spectral_norm(A * 10.0**exponent)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(exact * 10.0**exponent, rel=8 * (n + d) * torch.finfo(dtype).eps)


def test_spectral_norm_of_a_tiny_matrix_of_rank_one_in_single_precision() -> None:
    rows = 1e-10 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0)).round()
    A = rows * torch.randn(20, generator=torch.Generator().manual_seed(1))
    assert float(spread.spectral_norm(A)) == pytest.approx(float(torch.linalg.matrix_norm(A.double(), 2)), rel=1e-4)


def test_constants_of_the_part() -> None:
    bound = curvature.third_derivative_bound(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert float(bound) == pytest.approx(1 / math.sqrt(6) + math.sqrt(0.5), abs=1e-12)
    assert curvature.ATTAINED_ABOVE < curvature.UPPER < curvature.ATTAINED_ABOVE + 3e-6
    assert curvature.ATTAINED_BELOW < curvature.LOWER < curvature.ATTAINED_BELOW + 2e-6


@given(st.floats(-30, 30), st.floats(-10, 10))
@few
def test_tanh_law_is_an_equality_for_two_words_and_symmetric_ends(size: float, other: float) -> None:
    half = torch.tensor([size / 2, 0.0], dtype=torch.float64)
    z, delta = -half + other, 2 * half
    _close(sharp.total_variation(z, delta), torch.tanh(spread.osc(delta) / 4))
    _close(spread.norm(shifts.prediction_shift(z, delta)), sharp.tanh_law(delta))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, math.inf])
@pytest.mark.parametrize("q", [1, 1.5, 2, 3, math.inf])
def test_every_pair_of_norms_is_attained_by_two_words(p: float, q: float) -> None:
    for t in (1e-3, 0.7, 5.0):
        delta = torch.tensor([t, -t], dtype=torch.float64)
        moved = torch.linalg.vector_norm(shifts.prediction_shift(-0.5 * delta, delta), ord=q)
        _close(moved, sharp.norm_law(delta, p, q))


def test_norms_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"p must be at least 1 \(or infinity\), got 0.5"):
        sharp.norm_law(torch.zeros(2), 0.5, 1)


@given(st.integers(2, 8), seeds, st.floats(0.05, 2.0))
@few
def test_newton_on_cross_entropy_squares_its_error(n: int, seed: int, size: float) -> None:
    d = min(n - 1, 3)
    A, target = normal(seed, n, d), normal(seed + 1, d)
    b, x = (A @ target).softmax(-1), target + size * normal(seed + 2, d)
    f, e = (A @ x).softmax(-1), x - target
    H = A.mT @ sharp.jacobian(f) @ A
    after = e - torch.linalg.solve(H, A.mT @ (f - b))
    r, before = spread.osc(A @ e), (e @ H @ e).sqrt()
    assert (
        float((after @ H @ after).sqrt())
        <= self_concordance.newton_factor(float(r)) * float(before) * (1 + 1e-6) + 1e-12
    )
    assert float(r) <= float((2 / f.min()).sqrt() * before) * (1 + 1e-9)


@given(st.integers(2, 8), seeds, st.floats(1e-3, 3.0))
@few
def test_a_newton_step_in_the_logits_leaves_the_stated_error(n: int, seed: int, size: float) -> None:
    z, delta = normal(seed, n), size * normal(seed + 1, n)
    f, b = z.softmax(-1), (z - delta).softmax(-1)
    # J w = f − b for w = (f − b)/f, and for no other vector but for a constant.
    _close(sharp.jacobian(f) @ ((f - b) / f), f - b)
    left = delta - (f - b) / f
    _close(spread.centre(left), spread.centre(self_concordance.newton_error(z, delta)), 1e-10)


@pytest.mark.parametrize("r", [1e-3, 0.5, 3.0])
def test_a_rare_word_attains_the_factor_of_newtons_step(r: float) -> None:
    z, delta = torch.tensor([[-30.0, 0.0], [-r, 0.0]], dtype=torch.float64).unbind(0)
    ratio = self_concordance.log_variance(z, self_concordance.newton_error(z, delta))
    ratio = 0.5 * (ratio - self_concordance.log_variance(z, delta))
    assert float(ratio.exp()) == pytest.approx(self_concordance.newton_factor(r), rel=1e-6)


@given(st.one_of(st.integers(2, 8), st.sampled_from((25, 200))), st.floats(0.02, 100.0))
@few
def test_best_constant_lies_between_its_bounds(n: int, radius: float) -> None:
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        R = torch.tensor([radius], dtype=dtype)
        best, floor, ceiling = (
            function(n, R) for function in (best_constant, best_constant_floor, best_constant_ceiling)
        )
        assert best.dtype == floor.dtype == ceiling.dtype == dtype
        assert float(floor) <= float(best) * (1 + tolerance)
        assert float(best) <= float(ceiling) * (1 + tolerance)


def test_bounds_of_the_best_constant_a_little_nearer_are_false() -> None:
    """For two words both sides are R/2; for many words and a small radius both are R/n."""
    R = torch.tensor([0.02, 0.5, 2.0], dtype=torch.float64)
    assert bool((1.001 * best_constant_floor(2, R) > best_constant(2, R)).all())
    assert bool((0.999 * best_constant_ceiling(2, R) < best_constant(2, R)).all())
    assert float(1.001 * best_constant_floor(200, R[:1])) > float(best_constant(200, R[:1]))


def test_the_ceiling_is_off_by_up_to_a_factor_of_two_at_a_given_length() -> None:
    """No radius attains the ceiling for three words or more: at the worst one little more than half of it is left."""
    R = torch.linspace(0.5, 3.5, 400, dtype=torch.float64)
    least = [float((best_constant(n, R) / best_constant_ceiling(n, R)).min()) for n in (3, 25, 1000)]
    assert least == pytest.approx([0.800, 0.521, 0.5005], abs=2e-3)


def test_one_peak_or_two_equal_ones_are_not_always_the_best_of_long_documents() -> None:
    R = torch.linspace(0.05, 4, 300, dtype=torch.float64)
    over = {n: best_constant(n, R) / best_constant_floor(n, R) for n in (3, 6, 25, 1000)}
    assert float((over[3] - 1).abs().max()) < 1e-9 > float((over[6] - 1).abs().max())
    assert 1.015 < float(over[25].max()) < 1.04 > float(over[1000].max()) > 1.015


@pytest.mark.parametrize(("n", "R"), [(3, 1.2), (5, 1.0), (12, 1.5), (25, 1.7)])
def test_free_ascents_end_at_the_best_constant(n: int, R: float) -> None:
    """The form of the optimum, by a search that does not know it: n free logits, from starts with up to three peaks."""
    radius = torch.tensor(R * R, dtype=torch.float64)
    u = normal(n, 40, n)
    u[:, :3] += 3 * normal(n + 1, 40, 3).abs()
    u.requires_grad_()
    adam = torch.optim.Adam([u], lr=0.1)
    for step in range(300):
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        z = spread.centre(u)
        values = sharp.jacobian_norm((z * (radius / spread.norm(z)).clamp_max(1).unsqueeze(-1)).softmax(-1))
        adam.zero_grad()
        (-values.sum()).backward()
        adam.step()
    best = float(best_constant(n, torch.tensor([R], dtype=torch.float64))) / R
    assert 1 - 1e-4 < float(values.detach().max()) / best <= 1 + 1e-9


@given(st.integers(2, 6), st.floats(0.1, 3.0), seeds)
@few
def test_no_logits_exceed_the_best_constant(n: int, R: float, seed: int) -> None:
    z = normal(seed, 200, n)
    z = R * R * z / spread.norm(z).unsqueeze(-1)
    radius = torch.tensor([R], dtype=torch.float64)
    assert float(R * sharp.jacobian_norm(z.softmax(-1)).max()) <= float(best_constant(n, radius)) * (1 + 1e-6)


def test_the_exponential_of_the_best_constant_comes_with_one_over_n() -> None:
    R = torch.tensor([1.0], dtype=torch.float64)
    scaled = [10**k * float(best_constant(10**k, R)) for k in (3, 5, 7)]
    assert abs(scaled[-1] - math.e) < 1e-3
    assert abs(scaled[0] - math.e) > abs(scaled[1] - math.e) > abs(scaled[2] - math.e)


@given(sizes)
@few
def test_shifted_target_is_the_one_that_solves_the_equation(size: tuple[int, int, int]) -> None:
    n, d, seed = size
    A, B, x, y = normal(seed, n, d), normal(seed + 1, n, d), normal(seed + 2, d), normal(seed + 3, d)
    b = torch.softmax(normal(seed + 4, n), -1)
    target = sharp.shifted_target(A, b, x, B, y)
    _close(softmax_regression.predict(A, x) - target, softmax_regression.predict(B, y) - b)
    _close(target.sum(), b.sum())


@given(sizes)
@few
def test_every_weight_shift_is_a_data_shift(size: tuple[int, int, int]) -> None:
    n, d, seed = size
    A, x, dx = normal(seed, n, d), normal(seed + 1, d), normal(seed + 2, d)
    dA = closeness.matching_shift(A, x, dx)
    _close(softmax_regression.predict(A + dA, x), softmax_regression.predict(A, x + dx))
    least = spread.norm(spread.centre(A @ dx)) / spread.norm(x)
    _close(spread.spectral_norm(dA), least, 1e-10)
    _close(torch.linalg.matrix_norm(dA), least, 1e-10)
    assert float(spread.norm(closeness.mismatch(A, dA, x, dx))) < 1e-12


@given(sizes)
@few
def test_no_matching_shift_is_smaller(size: tuple[int, int, int]) -> None:
    """Other steps of the document that match: the least one plus what does not act on x, or acts along 1."""
    n, d, seed = size
    A, x, dx = normal(seed, n, d), normal(seed + 1, d), normal(seed + 2, d)
    least = closeness.matching_shift(A, x, dx)
    other, level = normal(seed + 3, 20, n, d), normal(seed + 4, 20, 1, 1)
    silent = other - (other @ x).unsqueeze(-1) * x / x.square().sum()
    shift = least + silent + level * x / x.square().sum()
    _close(softmax_regression.predict(A + shift, x.expand(20, d)), softmax_regression.predict(A, x + dx).expand(20, n))
    limit = spread.norm(spread.centre(A @ dx)) / spread.norm(x)
    assert bool((spread.spectral_norm(shift) >= limit * (1 - 1e-9)).all())
    assert bool((torch.linalg.matrix_norm(shift) >= limit * (1 - 1e-9)).all())


@given(sizes)
@few
def test_gradient_is_the_derivative_of_a_readout(size: tuple[int, int, int]) -> None:
    n, d, seed = size
    A, x, b = normal(seed, n, d), normal(seed + 1, d), normal(seed + 2, n)
    values = softmax_regression.predict(A, x) - b

    def readout(query: Tensor) -> Tensor:
        return (A @ query).softmax(-1) @ values

    _close(torch.func.grad(readout)(x), softmax_regression.gradient(A, x, b))


@given(sizes, st.floats(0.1, 50.0))
@few
def test_from_zero_the_step_is_the_cross_entropy_step(size: tuple[int, int, int], rate: float) -> None:
    n, d, seed = size
    A, b, zero = normal(seed, n, d), torch.softmax(normal(seed + 1, n), -1), torch.zeros(d, dtype=torch.float64)

    def cross_entropy(x: Tensor) -> Tensor:
        return -(b * (A @ x).log_softmax(-1)).sum()

    step = -rate * softmax_regression.gradient(A, zero, b)
    _close(step, -rate / n * torch.func.grad(cross_entropy)(zero))
    for A_query in (A, normal(seed + 2, n + 1, d)):
        uncentred = rate / n * A_query @ (A.mT @ b)
        _close(uncentred - A_query @ step, rate / n * A_query @ A.mean(0))


@given(st.tuples(*[st.floats(0.05, 3.0)] * 4))
@few
def test_mirror_images_attain_the_bound_from_the_four_norms(norms: tuple[float, float, float, float]) -> None:
    x_norm, dA_norm, A_norm, dx_norm = norms
    # Steps at most twice as long as what they change: both products then lie in [0, 2‖A‖‖x‖].
    dA_norm, dx_norm = min(dA_norm, 2 * A_norm), min(dx_norm, 2 * x_norm)
    x, dA, A, dx = closeness.mirror_images(x_norm, dA_norm, A_norm, dx_norm)
    got = torch.stack([spread.norm(x), spread.spectral_norm(dA), spread.spectral_norm(A), spread.norm(dx)])
    _close(got, torch.tensor([x_norm, dA_norm, A_norm, dx_norm], dtype=torch.float64), 1e-10)
    gap = shifts.prediction_shift(A @ (x + dx), dA @ x - A @ dx)
    _close(spread.norm(gap), closeness.triangle_bound(*got), 1e-10)


def test_knowing_the_norms_improves_the_linear_triangle_bound() -> None:
    """The counterexample to "the linear bound cannot be improved": both products 10, the difference at most √2."""
    one, ten = torch.tensor(1.0, dtype=torch.float64), torch.tensor(10.0, dtype=torch.float64)
    assert 1.4 < float(closeness.triangle_bound(one, ten, ten, one)) < math.sqrt(2) < 0.5 * (10 + 10)


def test_too_long_a_step_of_the_document_has_no_mirror_image() -> None:
    with pytest.raises(ValueError, match=r"dA must obey .* got x = 1.0, dA = 10.0, A = 1.0, dx = 0.1"):
        closeness.mirror_images(1.0, 10.0, 1.0, 0.1)


@given(sizes)
@few
def test_mirrored_shift_goes_the_other_way(size: tuple[int, int, int]) -> None:
    n, d, seed = size
    A, x, dx = normal(seed, n, d), normal(seed + 1, d), 1e-6 * normal(seed + 2, d)
    z = A @ x
    by_data = shifts.prediction_shift(z, closeness.mirrored_shift(A, x, dx) @ x)
    by_weight = shifts.prediction_shift(z, A @ dx)
    assert float(torch.nn.functional.cosine_similarity(by_data, by_weight, dim=0)) < -1 + 1e-4


def test_at_zero_no_document_can_be_matched() -> None:
    A, zero = normal(0, 4, 2), torch.zeros(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="x must not be 0"):
        closeness.matching_shift(A, zero, zero + 1)


@given(sizes, st.floats(0.1, 50.0))
@few
def test_from_zero_the_step_is_one_linear_attention_layer(size: tuple[int, int, int], rate: float) -> None:
    n, d, seed = size
    A, b = normal(seed, n, d), torch.softmax(normal(seed + 1, n), -1)
    tokens = softmax_regression_tokens(A, b, A)
    # Only the words of the document are keys: the query rows hold (a, 0, 0).
    mask = torch.arange(2 * n) < n
    update = self_attention(tokens, *constructions.softmax_regression_step(n, d, rate), kind="linear", mask=mask)
    _close(update[n:, d], A @ softmax_regression.step(A, b, rate), 1e-11)


@given(sizes, st.floats(0.01, 2.0))
@few
def test_attention_step_is_a_softmax_attention_layer(size: tuple[int, int, int], s: float) -> None:
    n, d, seed = size
    A, x, b = normal(seed, n, d), normal(seed + 1, d), torch.softmax(normal(seed + 2, n), -1)
    z, eta = A @ x, 3.0
    r = b - z.softmax(-1)
    tokens = torch.cat([A, z[:, None], r[:, None], torch.ones(n, 1, dtype=A.dtype)], -1)
    layer = z + self_attention(tokens, *closeness.attention_weights(d, eta, s), kind="softmax")[:, d]
    step = closeness.attention_step(A, b, z, z.new_tensor(eta), z.new_tensor(s))
    _close(layer, step)
    exact = z - eta * A @ softmax_regression.gradient(A, x, b)
    error = closeness.attention_error(A, b, z, z.new_tensor(eta), z.new_tensor(s))
    _close(step - exact - eta / s * (z.softmax(-1) * r).sum(), error, 1e-9)
    two = closeness.attention_step(A, b, z, z.new_tensor(eta), z.new_tensor(s), heads=2)
    _close(two - exact, closeness.attention_error(A, b, z, z.new_tensor(eta), z.new_tensor(s), heads=2), 1e-9)


@given(sizes, st.floats(0.01, 1.0))
@few
def test_plain_attention_is_the_cross_entropy_step(size: tuple[int, int, int], s: float) -> None:
    n, d, seed = size
    A, x, b = normal(seed, n, d), normal(seed + 1, d), torch.softmax(normal(seed + 2, n), -1)
    z, eta = A @ x, 0.5
    r = b - z.softmax(-1)
    layer = z + eta * n / s * (s * A @ A.mT).softmax(-1) @ r
    exact = z + eta * A @ (A.mT @ r)
    _close(layer - exact, closeness.cross_entropy_error(A, b, z, z.new_tensor(eta), z.new_tensor(s)), 1e-9)


@given(sizes, st.integers(1, 4))
@few
def test_depth_bound_holds(size: tuple[int, int, int], steps: int) -> None:
    n, d, seed = size
    A, x, b = normal(seed, n, d), normal(seed + 1, d), torch.softmax(normal(seed + 2, n), -1)
    eta, s = A.new_tensor(0.3), A.new_tensor(0.05)
    gap = closeness.attention_logits(A, b, A @ x, eta, s, steps) - closeness.descent_logits(A, b, x, eta, steps)
    assert float(spread.norm(spread.centre(gap[-1]))) <= float(closeness.depth_bound(A, b, eta, s, steps))


@given(sizes)
@few
def test_secants_obey_the_lipschitz_constants(size: tuple[int, int, int]) -> None:
    n, d, seed = size
    A, x, y = normal(seed, n, d), normal(seed + 1, d), normal(seed + 2, d)
    b = torch.softmax(normal(seed + 3, n), -1)
    step = spread.norm(x - y)
    change = softmax_regression.gradient(A, x, b) - softmax_regression.gradient(A, y, b)
    assert float(spread.norm(change)) <= float(curvature.gradient_lipschitz(A) * step) + 1e-14
    turned = softmax_regression.hessian(A, x, b) - softmax_regression.hessian(A, y, b)
    limit = curvature.third_derivative_bound(b) * spread.centred_norm(A) ** 3 * step
    assert float(torch.linalg.eigvalsh(turned).abs().max()) <= float(limit) + 1e-14


@given(sizes, st.floats(0.0, 1.0))
@few
def test_up_to_twice_the_safe_rate_no_step_raises_the_loss(size: tuple[int, int, int], share: float) -> None:
    n, d, seed = size
    A, x, b = 3 * normal(seed, n, d), normal(seed + 1, d), torch.softmax(3 * normal(seed + 2, n), -1)
    before, g = softmax_regression.loss(A, x, b), softmax_regression.gradient(A, x, b)
    after = softmax_regression.loss(A, x - 2 * share * curvature.safe_rate(A) * g, b)
    assert float(after) <= float(before) * (1 + 1e-12)


def test_a_longer_step_may_raise_the_loss() -> None:
    A, b = torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    x = torch.tensor([1e-3], dtype=torch.float64)
    losses = [
        float(softmax_regression.loss(A, x - rate * curvature.safe_rate(A) * softmax_regression.gradient(A, x, b), b))
        for rate in (0.0, 2.0, 2.6)
    ]
    assert losses[1] < losses[0] < losses[2]


@given(st.integers(2, 6), seeds, st.floats(0.01, 2.0))
@few
def test_regularised_problem_is_strongly_convex(n: int, seed: int, strength: float) -> None:
    d = min(n, 3)
    A, x, b = normal(seed, n, d), 3 * normal(seed + 1, d), torch.softmax(3 * normal(seed + 2, n), -1)
    regulariser = curvature.convexity_weight(A, strength) * A.mT @ A
    least = torch.linalg.eigvalsh(softmax_regression.hessian(A, x, b) + regulariser)[0]
    assert float(least) >= strength * (1 - 1e-9)


def test_a_weight_a_little_too_small_leaves_a_direction_of_negative_curvature() -> None:
    p = 5 / 8 + math.sqrt(33) / 24
    A, b = torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    x = torch.tensor([math.log(p / (1 - p)), 0.0], dtype=torch.float64)
    for weight, convex in ((curvature.LOWER, True), (0.999 * curvature.ATTAINED_BELOW, False)):
        least = torch.linalg.eigvalsh(softmax_regression.hessian(A, x, b) + weight * A.mT @ A)[0]
        assert (float(least) >= 0) is convex


def test_without_full_rank_no_weight_makes_it_strongly_convex() -> None:
    with pytest.raises(ValueError, match="A must have full column rank"):
        curvature.convexity_weight(torch.ones(3, 2, dtype=torch.float64), 1.0)
    with pytest.raises(ValueError, match="A must have full column rank"):
        curvature.convexity_weight(normal(0, 2, 3), 1.0)


def test_an_extra_factor_R_makes_the_norm_lemma_false() -> None:
    """‖exp(Ax)‖ ≤ √n R e^(R²) fails at x = 0 for R below 0.6530."""
    n = 4
    zero = torch.zeros(n, dtype=torch.float64)
    for R, holds in ((0.6529, False), (0.6530, True)):
        literal = 0.5 * math.log(n) + math.log(R) + R * R
        assert (float(published.log_exponential_norm(zero)) <= literal) is holds


def test_log10_of_M_where_M_does_not_fit() -> None:
    R = torch.tensor(100.0, dtype=torch.float64)
    assert published.log10_M(25, 100.0) == pytest.approx(float(published.log_M(25, R)) / math.log(10), rel=1e-14)
    assert published.log10_M(25, 100.0) == pytest.approx(1.5 * math.log10(25) + 1e5 / math.log(10), rel=1e-14)
    with pytest.raises(ValueError, match="R must be a finite number > 0, got 0"):
        published.log10_M(25, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 25, 200])
def test_chain_of_lemmas_reaches_the_published_constants(n: int) -> None:
    R = torch.linspace(0.01, 6, 2000, dtype=torch.float64)
    assert bool((published.log_chain(n, R, 1.0) <= published.log_R_f(n, R)).all())
    assert bool((published.log_chain(n, R, 2.0) <= published.log_M(n, R)).all())
    gap = R[published.log_chain(n, R, 2.0) > published.log_R_f(n, R)]
    assert (len(gap) > 0) is (n <= 2)
    assert bool((published.log_repaired_chain(n, R) <= published.log_chain(n, R, 1.0)).all())


@given(seeds, st.floats(0.0, 0.3))
@few
def test_descent_converges_at_the_stated_rate(seed: int, size: float) -> None:
    A, met = normal(seed, 4, 5), 0.3 * normal(seed + 1, 5)
    b = (A @ met).softmax(-1)
    start = met + size * normal(seed + 2, 5)
    first, eta = softmax_regression.loss(A, start, b), curvature.safe_rate(A)
    path = newton.gradient_descent(A, b, start, eta, iterations=40)
    shrinks = 1 - eta * landscape.pl_constant(A, b, first)
    t = torch.arange(len(path.losses), dtype=torch.float64)
    assert bool((path.losses <= shrinks**t * first * (1 + 1e-9) + 1e-15).all())


@given(st.integers(2, 7), st.floats(-4, 4), st.floats(-4, 4), seeds)
@few
def test_in_one_dimension_the_slope_points_away_from_the_target(n: int, met: float, x: float, seed: int) -> None:
    A, one = normal(seed, n, 1), torch.ones(1, dtype=torch.float64)
    slope = float(softmax_regression.gradient(A, x * one, (A[:, 0] * met).softmax(-1)))
    assert (x - met) * slope >= -1e-15
    assert abs(x - met) < 1e-2 or abs(slope) > 0


def test_four_words_have_a_minimum_that_is_not_the_target() -> None:
    A, b, met, start = landscape.spurious_minimum()
    x = newton.newton(A, b, start).x
    ends = torch.linalg.eigvalsh(softmax_regression.hessian(A, x, b))
    assert x.tolist() == pytest.approx([-2.7906, -1.0443], abs=1e-4)
    assert float(softmax_regression.loss(A, x, b)) == pytest.approx(0.1462, abs=1e-4)
    assert ends.tolist() == pytest.approx([0.00247, 0.546], rel=5e-3)
    assert float(spread.norm(newton.newton(A, b, met + 0.1).x - met)) < 1e-6
    caught = landscape.caught_from_zero(A[None], b[None])
    assert not bool(caught.caught)
    assert not bool(caught.undecided)


@given(sizes)
@few
def test_the_loss_is_convex_where_the_error_is_small(size: tuple[int, int, int]) -> None:
    n, _, seed = size
    z, b = _logits_and_target(n, seed)
    f = z.softmax(-1)
    near = f + 0.999 * f.min() * (b - f) / spread.osc(b - f)
    assert bool(landscape.convex_here(f, near))
    assert not bool(landscape.convex_here(f, f + 2 * (near - f)))
    assert float(torch.linalg.eigvalsh(curvature.curvature_matrix(f, near))[0]) > -1e-12

"""The limits in which softmax against linear can be decided: constants, laws, inequalities, counterexamples."""

import math

import numpy
import pytest
import torch
from scipy import integrate, special

from icl_lib.classification import asymptotics
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import cross_entropy, fit_rate
from icl_lib.classification.kernels import KernelStep, Scores


@pytest.mark.parametrize("d", [2, 3, 5, 12])
def test_constants_of_the_sphere(d: int) -> None:
    x = torch.randn(200_000, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    x = (x / x.norm(dim=-1, keepdim=True))[:, 0].numpy()
    assert asymptotics.mean_coordinate(d) == pytest.approx(numpy.abs(x).mean(), abs=5e-3)
    assert asymptotics.density_at_zero(d) == pytest.approx((numpy.abs(x) < 0.02).mean() / 0.04, rel=0.05)
    assert asymptotics.noise_ratio("linear", d) == pytest.approx(
        1 / (d * asymptotics.mean_coordinate(d) ** 2), rel=1e-12
    )


@pytest.mark.parametrize(("d", "beta"), [(2, 3.0), (3, 0.4), (5, 4.0), (12, 30.0), (3, 300.0)])
def test_quadrature_agrees_with_bessel_functions(d: int, beta: float) -> None:
    def scaled(order: float, b: float) -> float:
        return special.gamma(d / 2) * (2 / b) ** order * special.ive(order, b)

    slope = scaled((d - 1) / 2, beta) * math.sqrt(math.pi) * asymptotics.density_at_zero(d)
    exact = scaled(d / 2 - 1, 2 * beta) / (beta * asymptotics.mean_coordinate(d - 1) * slope) ** 2
    assert asymptotics.noise_ratio("exponential", d, beta) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("S", "a"), [(1.0, 0.0), (3.0, 0.4), (20.0, -0.3)])
def test_loss_across_a_boundary(S: float, a: float) -> None:
    right = integrate.quad(lambda t: numpy.logaddexp(0, -S * (t + a)), 0, 60)[0]
    left = integrate.quad(lambda t: numpy.logaddexp(0, S * (t + a)), -60, 0)[0]
    assert asymptotics.boundary_integral(S, a) == pytest.approx(left + right, rel=1e-7)


def test_the_table_of_ratios() -> None:
    found = [asymptotics.limiting_ratio(d) for d in (2, 3, 4, 5, 8, 12, 50)]
    assert found == pytest.approx([0.0, 1.0854, 1.2966, 1.3611, 1.4538, 1.5096, 1.6100], abs=1e-4)
    assert asymptotics.limiting_ratio(400) == pytest.approx(math.sqrt(math.e), abs=6e-3)
    assert asymptotics.best_width(5).beta == pytest.approx(4.05, abs=0.01)


def test_no_width_is_better_than_linear_from_three_dimensions_on() -> None:
    widths = numpy.geomspace(0.01, 100, 20)
    for d in (3, 4, 5, 20):
        linear = asymptotics.noise_ratio("linear", d)
        assert min(asymptotics.noise_ratio("exponential", d, float(b)) for b in widths) > 1.1 * linear
    # The control: in two dimensions wide enough is better, and so is an odd kernel in five.
    assert asymptotics.noise_ratio("exponential", 2, 100.0) < 0.3 * asymptotics.noise_ratio("linear", 2)
    assert asymptotics.noise_ratio("sinh", 5, 1.5) < asymptotics.noise_ratio("linear", 5)


def test_long_contexts_obey_the_law_for_linear_and_exponential_steps() -> None:
    """300 contexts of 400 points with 100 queries each; a law a tenth too large or too small would be found."""
    drawn = SphereClassification(500, 5, 2, balance="none").sample(300, torch.Generator().manual_seed(1))
    s = (drawn.x[:, 400:] @ drawn.x[:, :400].mT).flatten(0, 1)
    scores = Scores(s, torch.ones(len(s)), drawn.y[:, :400].repeat_interleave(100, 0))
    labels = drawn.y[:, 400:].flatten(0, 1)
    for kernel, step, beta in (("linear", KernelStep("linear", "n"), 1.0), ("exponential", KernelStep(), 4.05)):
        law = asymptotics.asymptotic_loss(asymptotics.noise_ratio(kernel, 5, beta), 5, 400)
        features = step.features(scores, beta)
        (eta,), loss = fit_rate(features, labels)
        losses = cross_entropy(eta * features.squeeze(-1), labels).unflatten(0, (300, 100)).mean(-1)
        assert float(losses.std()) / math.sqrt(300) / law < 0.033
        assert abs(loss / law - 1) < 0.1


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("beta", [0.2, 3.0, 20.0])
def test_two_heads_are_never_worse_than_one(d: int, beta: float) -> None:
    context = SphereClassification(12, d, 2, balance="none").sample(
        200, torch.Generator().manual_seed(2), dtype=torch.float64
    )
    x_query = torch.cat([context.x_query, -context.x_query])
    scores = Scores.of(context.x.repeat(2, 1, 1), context.y.repeat(2, 1, 1), x_query)
    y = torch.cat([context.y_query, context.y_query.flip(-1)])
    one = KernelStep("exponential", "context").features(scores, beta).squeeze(-1)
    two = KernelStep("exponential", "context", heads="two").features(scores, beta)
    for eta in (-3.0, 0.5, 8.0):
        pair = two @ torch.tensor([eta / 2, -eta / 2], dtype=torch.float64)
        single, double = (cross_entropy(z, y).unflatten(0, (2, 200)).mean(0) for z in (eta * one, pair))
        assert bool((double <= single + 1e-12).all())


def test_an_odd_kernel_is_the_mean_over_flipped_points() -> None:
    n, beta = 5, 2.5
    context = SphereClassification(n, 3, 2, balance="none").sample(
        20, torch.Generator().manual_seed(3), dtype=torch.float64
    )
    flips = torch.cartesian_prod(*[torch.tensor([0, 1])] * n).double()
    x = context.x[:, None] * (1 - 2 * flips)[:, :, None]
    y = context.y[:, None] * (1 - flips)[..., None] + context.y.flip(-1)[:, None] * flips[..., None]
    step = KernelStep("exponential", "n")
    many = step.features(Scores.of(x, y, context.x_query[:, None].expand(-1, len(flips), -1)), beta).squeeze(-1)
    odd = KernelStep("sinh", "n").features(Scores.of_examples(context), beta).squeeze(-1)
    scale = math.sinh(beta) / math.exp(beta)
    difference = many.mean(1)[:, 0] - many.mean(1)[:, 1]
    torch.testing.assert_close(difference, scale * (odd[:, 0] - odd[:, 1]), rtol=1e-12, atol=1e-12)


def test_balanced_contexts_contain_the_linear_step_only_if_the_classes_divide_them() -> None:
    masked, linear = KernelStep("exponential", "context"), KernelStep("linear", "n")
    for n, contained in ((30, True), (31, False)):
        task = SphereClassification(n, 4, 3, balance="context", concentration_of_counts=1e9)
        context = task.sample(200, torch.Generator().manual_seed(4), dtype=torch.float64)
        context = context._replace(x=context.x / context.x.norm(dim=-1, keepdim=True))
        scores = Scores.of_examples(context)
        difference = masked.features(scores, 1e-5) / 1e-5 - linear.features(scores, 1.0)
        assert (float(difference.abs().max()) < 1e-3) is contained


def test_for_two_classes_the_loss_of_a_balanced_head_is_even_in_its_width() -> None:
    context = SphereClassification(10, 3, 2, balance="context").sample(
        100, torch.Generator().manual_seed(5), dtype=torch.float64
    )
    x_query = torch.cat([context.x_query, -context.x_query])
    scores = Scores.of(context.x.repeat(2, 1, 1), context.y.repeat(2, 1, 1), x_query)
    y = torch.cat([context.y_query, context.y_query.flip(-1)])
    step = KernelStep("exponential", "context")
    losses = [float(cross_entropy(step.features(scores, b).squeeze(-1) * 2 / b, y).mean()) for b in (-1.3, 1.3, 0.6)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12) != pytest.approx(losses[2], rel=1e-6)


def test_the_smallest_counterexample() -> None:
    linear, softmax, masked = (asymptotics.best_single_point(step).loss for step in asymptotics.POINTS)
    assert (linear, softmax, masked) == pytest.approx((0.5121, 0.5991, math.log(2)), abs=1e-4)
    task = SphereClassification(1, 2, 2, balance="none")
    context = task.sample(200_000, torch.Generator().manual_seed(6), dtype=torch.float64)
    logits = 2.0 * KernelStep("linear", "n").features(Scores.of_examples(context), 1.0).squeeze(-1)
    drawn = cross_entropy(logits, context.y_query)
    assert asymptotics.single_point_loss("linear", 1.0, 2.0) == pytest.approx(float(drawn.mean()), abs=4e-3)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_linear_step_keeps_a_loss_with_three_classes_and_not_with_two(balanced: bool) -> None:
    three, two = (
        asymptotics.linear_limit(classes, 3, 60, 4000, 20, torch.Generator().manual_seed(7), balanced=balanced)
        for classes in (3, 2)
    )
    assert float(three.error.mean()) > 0.02 > float(two.error.mean())
    assert float(three.loss.mean()) > 0.06 > float(two.loss.mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: asymptotics.noise_ratio("laplace", 3), "kernel must be one of"),
        (lambda: asymptotics.noise_ratio("exponential", 1), "d must be an integer >= 2, got 1"),
        (lambda: asymptotics.noise_ratio("exponential", 3, 0.0), "beta must be a finite number > 0"),
        (lambda: asymptotics.asymptotic_loss(-1.0, 3, 10), "ratio must be a finite number >= 0, got -1.0"),
        (lambda: asymptotics.single_point_loss("none", 1.0, 1.0), "step must be one of"),
    ],
)
def test_bad_arguments_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

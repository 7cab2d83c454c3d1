"""Classification by gradient descent: the closed forms are the steps, constructed attention is the closed forms."""

import math
from decimal import Context, Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from icl_lib import constructions
from icl_lib.alignment import classifier_model_cos
from icl_lib.attention import labelled_tokens, self_attention
from icl_lib.classification import descent
from icl_lib.classification.contexts import Examples, SphereClassification
from icl_lib.classification.descent import cross_entropy, fit, fit_rate, kernel_classifier_step, linear_classifier_step
from icl_lib.classification.head import Row, logits, sensitivity, token_columns, weight_gradient
from icl_lib.classification.kernels import FAMILIES, SPHERE_ONLY, KernelStep, Scores, log_kernel
from icl_lib.running.device import one_thread
from icl_lib.running.streams import stream


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """Small arrays are slower on several threads."""
    with one_thread():
        yield


sizes = {"n": st.integers(1, 40), "d": st.integers(2, 8), "classes": st.integers(2, 8), "seed": st.integers(0, 99)}
rates = st.floats(-50, 200)


def contexts(n, d, classes, seed=0, batch=4, **kwargs):
    return SphereClassification(n, d, classes, **{"balance": "none", **kwargs}).sample(
        batch, stream(seed, "test"), dtype=torch.float64
    )


def largest(difference, scale=1.0):
    return float(difference.detach().abs().max()) / max(1.0, float(scale))


def centred(y):
    return y - 1 / y.shape[-1]


def test_a_class_that_is_ruled_out_costs_nothing_unless_it_is_the_label():
    logits, y = torch.tensor([[0.0, -torch.inf, 1.0], [-torch.inf, 2.0, -torch.inf]]), torch.eye(3)[[0, 1]]
    torch.testing.assert_close(cross_entropy(logits, y), torch.tensor([math.log1p(math.e), 0.0]))
    assert cross_entropy(logits[0], torch.eye(3)[1]) == torch.inf


@given(**sizes, rate=rates)
def test_the_linear_step_is_gradient_descent_on_cross_entropy_from_zero(n, d, classes, seed, rate):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    W = torch.zeros(4, classes, d, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(x @ W.mT, y).mean(-1).sum()
    W1 = -rate * torch.autograd.grad(loss, W)[0]
    expected = (W1 @ x_query.unsqueeze(-1)).squeeze(-1)
    assert largest(linear_classifier_step(x, y, x_query, rate) - expected, abs(rate)) <= 1e-12


@given(**sizes, rate=rates)
def test_linear_attention_with_constructed_weights_is_the_linear_step(n, d, classes, seed, rate):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    weights = constructions.linear_classifier_step(n, d, classes, rate)
    update = self_attention(labelled_tokens(x, y, x_query), *weights, kind="linear")[..., -1, :]
    assert largest(update[..., d:] - linear_classifier_step(x, y, x_query, rate), abs(rate)) <= 1e-12
    assert largest(update[..., :d]) == 0


@given(**sizes, rate=rates, beta=st.floats(-30, 300), include_query=st.booleans())
def test_softmax_attention_with_constructed_weights_is_the_kernel_step(n, d, classes, seed, rate, beta, include_query):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    weights = constructions.kernel_classifier_step(d, classes, beta, rate)
    tokens = labelled_tokens(x, y, x_query)
    mask = torch.ones(n + 1, dtype=torch.bool)
    mask[-1] = include_query
    update = self_attention(tokens, *weights, kind="softmax", mask=mask)[..., -1, d:]
    step = kernel_classifier_step(x, y, x_query, beta, rate, adaptive=True, include_query=include_query)
    # Softmax forgives no rounding in β⟨x, x'⟩, which grows with β.
    assert largest(update - step, abs(rate) * max(1.0, abs(beta) / 20)) <= 1e-12


@given(**sizes, rate=rates, beta=st.floats(0.1, 20), include_query=st.booleans())
def test_the_adaptive_step_is_functional_gradient_descent_at_the_rate_of_its_sum(
    n, d, classes, seed, rate, beta, include_query
):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    gaussian = torch.exp(beta * (torch.einsum("bnd,bd->bn", x, x_query) - 1))
    distance = (x - x_query.unsqueeze(1)).square().sum(-1)
    torch.testing.assert_close(gaussian, torch.exp(-beta * distance / 2), rtol=1e-12, atol=1e-13)
    total = gaussian.sum(-1, keepdim=True) + include_query
    plain = kernel_classifier_step(x, y, x_query, beta, 1.0, adaptive=False, include_query=False)
    torch.testing.assert_close(plain, torch.einsum("bn,bnc->bc", gaussian, centred(y)) / n, rtol=1e-11, atol=1e-13)
    adaptive = kernel_classifier_step(x, y, x_query, beta, rate, adaptive=True, include_query=include_query)
    assert largest(adaptive - plain * rate * n / total, abs(rate)) <= 1e-12
    # Only calibration adapts: the predicted class is that of the fixed rate.
    if rate > 0:
        top = plain.topk(2).values
        clear = top[:, 0] - top[:, 1] > 1e-9
        assert torch.equal(adaptive.argmax(-1)[clear], plain.argmax(-1)[clear])


@pytest.mark.parametrize("beta", [0.3, 2.0, 6.0])
def test_gradient_descent_on_explicit_features_is_the_kernel_step(beta):
    """φ_ν(x) = x^ν √(β^|ν| / ν!) spans the kernel's space; one step on the features' weights, by autograd."""
    x, y, x_query, _ = contexts(20, 2, 3)
    powers = [(a, k - a) for k in range(60) for a in range(k + 1)]

    def phi(point):
        columns = [
            point[..., 0] ** a * point[..., 1] ** b * math.sqrt(beta ** (a + b) / math.factorial(a) / math.factorial(b))
            for a, b in powers
        ]
        return torch.stack(columns, -1)

    W = torch.zeros(4, 3, len(powers), dtype=torch.float64, requires_grad=True)
    W1 = -1.7 * torch.autograd.grad(cross_entropy(phi(x) @ W.mT, y).mean(-1).sum(), W)[0]
    expected = (W1 @ phi(x_query).unsqueeze(-1)).squeeze(-1) * math.exp(-beta)
    step = kernel_classifier_step(x, y, x_query, beta, 1.7, adaptive=False, include_query=False)
    assert largest(step - expected) <= 1e-12


@given(**sizes, rate=st.floats(0, 100), beta=st.floats(0.1, 1e4), include_query=st.booleans())
def test_confidence_is_bounded_by_the_gain(n, d, classes, seed, rate, beta, include_query):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    step = kernel_classifier_step(x, y, x_query, beta, rate, adaptive=True, include_query=include_query)
    bound = 1 / (1 + (classes - 1) * math.exp(-rate))
    assert float(torch.softmax(step, -1).max()) <= bound + 1e-12


@given(**sizes, sigma=st.floats(0.5, 50))
def test_a_wide_kernel_is_the_linear_step_with_centred_keys(n, d, classes, seed, sigma):
    """Theorem "bandwidth interpolates": the error is at most D²/(12√3 σ⁴) in every logit at gain 1."""
    x, y, x_query, _ = contexts(n, d, classes, seed)
    s = torch.einsum("bnd,bd->bn", x, x_query)
    attention = torch.einsum("bn,bnc->bc", torch.softmax(s / sigma**2, -1), y)
    linear = y.mean(1) + torch.einsum("bn,bnc->bc", s - s.mean(-1, keepdim=True), y) / (n * sigma**2)
    bound = (s.amax(-1) - s.amin(-1)) ** 2 / (12 * math.sqrt(3) * sigma**4)
    assert bool(((attention - linear).abs().amax(-1) <= bound + 1e-14).all())


@given(**sizes, sigma=st.floats(0.02, 0.3))
def test_a_narrow_kernel_is_the_nearest_neighbour(n, d, classes, seed, sigma):
    x, y, x_query, _ = contexts(n, d, classes, seed)
    s = torch.einsum("bnd,bd->bn", x, x_query)
    attention = torch.einsum("bn,bnc->bc", torch.softmax(s / sigma**2, -1), y)
    nearest = y[torch.arange(4), s.argmax(-1)]
    top = s.topk(min(2, n), dim=-1).values
    gap = top[:, 0] - top[:, -1] if n > 1 else torch.full_like(top[:, 0], torch.inf)
    bound = (n - 1) * torch.exp(-gap / sigma**2)
    assert bool(((attention - nearest).abs().amax(-1) <= bound + 1e-14).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("include_query", [True, False])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("beta", [1e3, 1e6, 1e30, -1e6])
def test_extreme_widths_give_numbers(beta, adaptive, include_query, dtype):
    x, y, x_query, _ = SphereClassification(6, 3, 3, balance="none").sample(50, stream(0, "test"), dtype=dtype)
    if not adaptive and beta < 0:
        beta = -200.0 if dtype == torch.float64 else -40.0
    step = kernel_classifier_step(x, y, x_query, beta, 5.0, adaptive=adaptive, include_query=include_query)
    assert bool(torch.isfinite(step).all())
    if adaptive and not include_query and beta > 0:
        nearest = torch.einsum("bnd,bd->bn", x, x_query).argmax(-1)
        assert beta < 1e6 or torch.equal(step.argmax(-1), y[torch.arange(50), nearest].argmax(-1))


def test_a_compact_kernel_without_neighbours_predicts_nothing():
    x, y, x_query, _ = contexts(3, 5, 3, batch=50)
    scores = Scores.of(x, y, x_query)
    features = KernelStep("compact", "context").features(scores, 1e6)
    assert torch.equal(features, torch.zeros_like(features))


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_are_one_at_the_point_itself_and_what_they_say(family):
    s = torch.linspace(-0.99, 0.99, 41, dtype=torch.float64)
    formulas = {
        "linear": s,
        "exponential": torch.exp(3 * (s - 1)),
        "laplace": torch.exp(-3 * (2 - 2 * s).sqrt()),
        "polynomial": ((1 + s) / 2) ** 3,
        "cauchy": 1 / (1 + 3 * (1 - s)),
        "compact": (1 - 3 * (1 - s)).clamp_min(0),
        "sinh": torch.sinh(3 * s) / math.sinh(3),
    }
    sign, log_k = log_kernel(family, s, 3.0)
    torch.testing.assert_close(log_k.exp() * (1 if sign is None else sign), formulas[family])
    assert float(log_kernel(family, torch.ones(1, dtype=torch.float64), 3.0)[1]) == pytest.approx(0, abs=1e-12)


def test_two_heads_are_two_attention_heads():
    x, y, x_query, _ = contexts(12, 4, 3)
    features = KernelStep(rate="context and query", heads="two").features(Scores.of(x, y, x_query), 2.0)
    for head, beta in enumerate((2.0, -2.0)):
        single = kernel_classifier_step(x, y, x_query, beta, 1.0, adaptive=True, include_query=True)
        assert largest(features[..., head] - single) <= 1e-13


def test_rates_that_share_a_divisor_agree_with_their_definition():
    x, y, x_query, _ = contexts(12, 4, 3)
    scores = Scores.of(x, y, x_query)
    per_n = KernelStep("linear", "n").features(scores, 1.0)
    torch.testing.assert_close(KernelStep("linear", "sqrt n").features(scores, 1.0), per_n * math.sqrt(12))
    by_sum = KernelStep("linear", "context").features(scores, 1.0)
    torch.testing.assert_close(by_sum, per_n * 12 / scores.s.abs().sum(-1).view(-1, 1, 1))
    own_mean = KernelStep("exponential", "n", centre="context").features(scores, 2.0).squeeze(-1)
    weights = torch.exp(2 * (scores.s - 1)) / 12
    expected = torch.einsum("bn,bnc->bc", weights, y - y.mean(1, keepdim=True))
    torch.testing.assert_close(own_mean, expected)


def test_several_steps_repeat_one_step():
    x, y, x_query, _ = contexts(15, 3, 4)
    W = descent.linear_classifier_steps(x, y, 2.0, 1)
    one = (W @ x_query.unsqueeze(-1)).squeeze(-1)
    assert largest(one - linear_classifier_step(x, y, x_query, 2.0)) <= 1e-13
    W = W.detach().requires_grad_()
    slope = torch.autograd.grad(cross_entropy(x @ W.mT, y).mean(-1).sum(), W)[0]
    assert largest(descent.linear_classifier_steps(x, y, 2.0, 2) - (W - 2.0 * slope)) <= 1e-13
    # A kernel step in the linear kernel is the linear step.
    alpha = descent.kernel_classifier_steps(x @ x.mT, y, 2.0, 5)
    assert largest(alpha.mT @ x - descent.linear_classifier_steps(x, y, 2.0, 5)) <= 1e-13


def test_fitted_rate_is_stationary_and_beats_its_neighbours():
    context = contexts(20, 3, 4, batch=400)
    features = KernelStep("exponential", heads="two").features(Scores.of_examples(context), 3.0)
    eta, value = fit_rate(features, context.y_query)
    best = torch.tensor(eta, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(features @ best, context.y_query).mean()
    assert float(loss.detach()) == pytest.approx(value, rel=1e-12)
    assert largest(torch.autograd.grad(loss, best)[0]) <= 1e-5


def test_fitted_width_is_a_minimum_and_recovers_a_loss_near_the_best_of_a_grid():
    context = SphereClassification(40, 3, 4, balance="none").sample(1500, stream(0, "tune"))
    scores = Scores.of_examples(context)
    found = fit(KernelStep(), [scores], context.y_query)
    at = [
        fit_rate(KernelStep().features(scores, beta), context.y_query)[1] for beta in torch.logspace(-1, 2, 30).tolist()
    ]
    assert found.loss <= min(at) + 1e-6
    assert found.logits(scores).shape == (1500, 4)
    assert float(cross_entropy(found.logits(scores), context.y_query).mean()) == pytest.approx(found.loss, abs=1e-5)


def test_separable_tuning_tasks_get_a_finite_rate_and_a_search_cut_short_says_so():
    y = torch.eye(3).repeat(4, 1)
    assert fit_rate(y.unsqueeze(-1) - 1 / 3, y)[1] < 1e-3
    with pytest.raises(ArithmeticError, match="the rate has not settled after 2 iterations"):
        fit_rate(y.unsqueeze(-1) - 1 / 3, y, iterations=2)


@given(**sizes, kind=st.sampled_from(["linear", "softmax"]))
def test_the_query_row_is_the_layer(n, d, classes, seed, kind):
    context = contexts(n, d, classes, seed)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(d + classes, d + classes, generator=generator, dtype=torch.float64) for _ in range(3)]
    for own in (True, False):
        mask = torch.ones(n + 1, dtype=torch.bool)
        mask[-1] = own
        layer = self_attention(labelled_tokens(*context[:3]), *weights, kind=kind, mask=mask)[..., -1, d:]
        row = logits(kind, token_columns(context, own), context.x_query, Row.of(*weights, d))
        assert largest(layer - row, layer.abs().max()) <= 1e-12


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_gradients_and_sensitivities_match_autograd(kind, own, projected):
    n, d, classes, repetitions, batch, scale = 7, 3, 4, 2, 3, 0.6
    context = contexts(n, d, classes, batch=repetitions * batch)
    generator = torch.Generator().manual_seed(0)
    shape, names = (repetitions, d + classes, d + classes), ("W_Q", "W_K", "W_V", "W_P")[: 3 + projected]
    weights = {n: torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for n in names}
    whole = Row.of(weights["W_Q"], weights["W_K"], weights["W_V"], d, weights.get("W_P"), scale)
    row = Row(*(part.unsqueeze(1) for part in whole))
    x_query = context.x_query.clone().requires_grad_()
    tokens = token_columns(context._replace(x_query=x_query), own).unflatten(0, (repetitions, batch))
    queries = x_query.unflatten(0, (repetitions, batch))
    y_query = context.y_query.view(repetitions, batch, classes)
    out = logits(kind, tokens, queries, row)
    loss = cross_entropy(out, y_query).mean(1).sum()
    expected = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
    detached = {name: value.detach() for name, value in weights.items()}
    shown = (tokens.detach(), queries.detach().unsqueeze(2), y_query.unsqueeze(2))
    found = weight_gradient(kind, *shown, detached, scale)
    assert set(found) == set(names)
    for name, value in zip(names, expected, strict=True):
        assert largest(found[name] - value, value.abs().max()) <= 1e-12
    p, J = sensitivity(kind, tokens.detach(), queries.detach(), Row(row.A.detach(), row.V.detach()), own)
    torch.testing.assert_close(p, torch.softmax(out, -1).detach())
    for c in range(classes):
        slope = torch.autograd.grad(torch.softmax(out, -1)[..., c].sum(), x_query, retain_graph=True)[0]
        assert largest(J[..., c, :].reshape(-1, d) - slope, slope.abs().max()) <= 1e-12


def in_many_digits(kind: str, tokens: Tensor, x_query: Tensor, row: Row) -> Tensor:
    """The sensitivity (C, d) of one context by central differences with 500 digits."""
    columns, A, V = ([[Decimal(v) for v in line] for line in part.tolist()] for part in (tokens.mT, row.A, row.V))

    def probabilities(query: list[Decimal]) -> list[Decimal]:
        weights = [
            sum(q * a * t for q, line in zip(query, A, strict=True) for a, t in zip(line, token, strict=True))
            for token in columns
        ]
        if kind == "softmax":
            powers = [(score - max(weights)).exp() for score in weights]
            weights = [power / sum(powers) for power in powers]
        r = [sum(w * token[k] for w, token in zip(weights, columns, strict=True)) for k in range(len(columns[0]))]
        powers = [sum(v * value for v, value in zip(line, r, strict=True)).exp() for line in V]
        return [power / sum(powers) for power in powers]

    with localcontext(Context(prec=500)):
        query, h, slopes = [Decimal(value) for value in x_query.tolist()], Decimal("1e-150"), []
        for i in range(len(query)):
            moved = [[value + sign * h * (i == k) for k, value in enumerate(query)] for sign in (1, -1)]
            slopes.append([(a - b) / (2 * h) for a, b in zip(*map(probabilities, moved), strict=True)])
        return torch.tensor([[float(value) for value in line] for line in slopes], dtype=torch.float64).mT


@pytest.mark.parametrize(
    ("kind", "beta", "eta"),
    [("softmax", 125.0, 6.0), ("softmax", 900.0, 6.0), ("softmax", 2.0, 60.0), ("linear", 0, 3e2)],
)
def test_where_one_class_takes_nearly_all_the_sensitivity_is_no_rounding(kind, beta, eta):
    """Of 300 contexts the three that a head is surest of: in each a small sensitivity with a direction of its own."""
    context = SphereClassification(20, 2, 4).sample(300, stream(0, "test"), dtype=torch.float64)
    if kind == "linear":
        row = Row.of(*constructions.linear_classifier_step(20, 2, 4, eta, dtype=torch.float64), 2)
    else:
        row = Row.of(*constructions.kernel_classifier_step(2, 4, beta, eta, dtype=torch.float64), 2)
    tokens = token_columns(context)
    _, J = sensitivity(kind, tokens, context.x_query, row)
    surest = J.norm(dim=(-2, -1)).argsort()[:3].tolist()
    for k in surest:
        exact = in_many_digits(kind, tokens[k], context.x_query[k], row)
        assert float(exact.abs().max()) < 1e-12
        assert float((J[k] - exact).abs().max() / exact.abs().max()) <= 1e-6
        assert float(classifier_model_cos(J[k], exact)) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_several_queries_have_the_mean_of_their_gradients(kind):
    context = SphereClassification(8, 3, 4).sample_every_query(6, stream(0, "test"), dtype=torch.float64)
    tokens, generator = token_columns(context).unflatten(0, (2, 3)), torch.Generator().manual_seed(1)
    names = ("W_Q", "W_K", "W_V", "W_P")
    weights = {name: torch.randn(2, 7, 7, generator=generator, dtype=torch.float64) for name in names}
    queries, targets = (part.unflatten(0, (2, 3)) for part in (context.x_query, context.y_query))
    together = weight_gradient(kind, tokens, queries, targets, weights)
    apart = [weight_gradient(kind, tokens, queries[:, :, [c]], targets[:, :, [c]], weights) for c in range(4)]
    for name in names:
        torch.testing.assert_close(together[name], torch.stack([one[name] for one in apart]).mean(0))


def bad(**changes):
    x, y, x_query, _ = contexts(4, 3, 3)
    arguments = {"x": x, "y": y, "x_query": x_query, "beta": 2.0, "rate": 1.0, "adaptive": True, "include_query": True}
    arguments.update({name: change(arguments[name]) for name, change in changes.items()})
    return kernel_classifier_step(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": lambda y: y[..., :1]}, "y must have at least C = 2 classes"),
        ({"y": lambda y: y * 0.5}, "y must be one-hot"),
        ({"y": lambda y: y[:, :3]}, "y must have shape"),
        ({"x_query": lambda q: q[..., :2]}, "x_query must have shape"),
        ({"beta": lambda _: math.inf}, "beta must be a finite number, got inf"),
        ({"rate": lambda _: math.nan}, "rate must be a finite number, got nan"),
        ({"x": lambda x: 2 * x, "adaptive": lambda _: False}, "x must lie on the unit sphere"),
        ({"x_query": lambda q: 0.9 * q, "adaptive": lambda _: False}, "x_query must lie on the unit sphere"),
        ({"x": lambda x: x * math.nan}, "x must hold finite numbers"),
        ({"x_query": lambda q: q / 0}, "x_query must hold finite numbers"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        bad(**changes)


def test_the_adaptive_step_needs_no_sphere():
    assert bool(torch.isfinite(bad(x=lambda x: 3 * x)).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "gauss"}, "family must be one of"),
        ({"rate": "2n"}, "rate must be one of"),
        ({"family": "sinh", "heads": "two"}, "heads must be one of 'one'"),
        ({"centre": "none"}, "centre must be one of"),
    ],
)
def test_bad_steps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        KernelStep(**arguments)


@pytest.mark.parametrize("family", SPHERE_ONLY)
def test_kernels_of_the_distance_are_refused_off_the_sphere(family):
    x, y, x_query, _ = contexts(6, 3, 3)
    step = KernelStep(family, "n")
    step.features(Scores.of(x, y, x_query), 2.0)
    for off in (Scores.of(3 * x, y, x_query), Scores.of(x, y, 0.9 * x_query)):
        with pytest.raises(ValueError, match=f"must lie on the unit sphere for the {family} kernel"):
            step.features(off, 2.0)


@pytest.mark.parametrize("family", SPHERE_ONLY)
def test_a_fit_allows_vectors_the_rounding_of_the_dtype_that_they_come_in(family):
    """It computes in float64, where the rounding of float32 would look like vectors off the sphere."""
    x, y, x_query, y_query = contexts(20, 3, 3, batch=30)
    step = KernelStep(family, "n")
    single, double = Scores.of(x.float(), y.float(), x_query.float()), Scores.of(x, y, x_query)
    assert fit(step, [single], y_query).beta == pytest.approx(fit(step, [double], y_query).beta, rel=0.02)
    off = Scores.of(x, y, (1 + 1e-5) * x_query)
    with pytest.raises(ValueError, match="must lie on the unit sphere"):
        fit(step, [off], y_query)
    step.features(Scores(*(part.float() for part in off)), 2.0)


def test_bad_steps_in_a_row_and_bad_shapes_are_refused():
    x, y, x_query, y_query = contexts(4, 3, 3)
    for steps in (
        lambda labels: descent.linear_classifier_steps(x, labels, 1.0, 2),
        lambda labels: descent.kernel_classifier_steps(x @ x.mT, labels, 1.0, 2),
        lambda labels: linear_classifier_step(x, labels, x_query, 1.0),
    ):
        with pytest.raises(ValueError, match="y must be one-hot"):
            steps(0.5 * y)
        with pytest.raises(ValueError, match="y must have at least C = 2 classes"):
            steps(y[..., :1])
    with pytest.raises(ValueError, match="features must hold finite numbers"):
        fit_rate(torch.full((3, 3, 1), math.nan), torch.eye(3))
    with pytest.raises(ValueError, match="y must have shape"):
        fit_rate(torch.ones(3, 3, 1), torch.eye(4))
    with pytest.raises(ValueError, match="y must have shape"):
        token_columns(Examples(x, y[:, :2], x_query, y_query))
    with pytest.raises(ValueError, match="tokens must have shape"):
        logits("linear", torch.zeros(2, 5, 3), torch.zeros(2, 3), Row(torch.zeros(3, 6), torch.zeros(3, 6)))


@pytest.mark.parametrize("beta", [300.0, 1e6, -1e6])
@pytest.mark.parametrize("n", [1, 2])
def test_a_masked_query_with_few_neighbours_gives_numbers(n, beta):
    """All of e^{β⟨x, x'⟩} underflows or overflows in the dtype; the layer and the step must still agree."""
    context = SphereClassification(n, 3, 3, balance="none").sample(20, stream(0, "test"), dtype=torch.float32)
    x, y, x_query, _ = context
    mask = torch.ones(n + 1, dtype=torch.bool)
    mask[-1] = False
    weights = constructions.kernel_classifier_step(3, 3, beta, 4.0, dtype=torch.float32)
    layer = self_attention(labelled_tokens(x, y, x_query), *weights, kind="softmax", mask=mask)[..., -1, 3:]
    step = kernel_classifier_step(x, y, x_query, beta, 4.0, adaptive=True, include_query=False)
    assert bool(torch.isfinite(layer).all())
    assert bool(torch.isfinite(step).all())
    assert n > 1 or torch.allclose(layer, step, atol=1e-5)
    p, J = sensitivity("softmax", token_columns(context), x_query, Row.of(*weights, 3))
    assert bool(torch.isfinite(p).all() and torch.isfinite(J).all())
    with pytest.raises(ValueError, match="mask must let every token look at one token or more"):
        self_attention(labelled_tokens(x, y, x_query), *weights, kind="softmax", mask=torch.zeros_like(mask))


def test_bad_fits_and_rows_are_refused():
    with pytest.raises(ValueError, match="scores must hold at least one batch"):
        fit(KernelStep(), [], torch.eye(3))
    with pytest.raises(ValueError, match="beta must be a finite number > 0"):
        log_kernel("laplace", torch.zeros(2), -1.0)
    with pytest.raises(ValueError, match="d must be in"):
        Row.of(*(torch.zeros(3, 4, 4),) * 3, d=3)
    with pytest.raises(ValueError, match="kind must be one of"):
        logits("cubic", torch.zeros(2, 5, 3), torch.zeros(2, 3), Row(torch.zeros(3, 5), torch.zeros(2, 5)))


def test_where_a_head_separates_all_contexts_its_rate_is_that_of_the_ridge() -> None:
    """Two classes whose logits differ by η: the loss falls for ever, but for 1/(1 + e^η) = 1e-7 · η."""
    features, y = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[1.0, 0.0]])
    (eta,), _ = fit_rate(features, y)
    assert 1 / (1 + math.exp(eta)) == pytest.approx(1e-7 * eta, rel=5e-3)

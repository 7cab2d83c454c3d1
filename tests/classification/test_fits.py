"""Fits of rate and width: what the ridge does, where a search looks, and which sign it takes."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import brentq

from icl_lib.classification import descent
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import RIDGE, WALK, Fit, cross_entropy, fit, fit_rate, minimise_over_widths
from icl_lib.classification.fitted_steps import collect, compare
from icl_lib.classification.fitted_steps import contexts as drawn_contexts
from icl_lib.classification.kernels import LINEAR, OWN_TOKEN, SOFTMAX, KernelStep, Scores
from icl_lib.running.streams import stream


def test_where_all_contexts_are_separable_the_ridge_decides_the_rate() -> None:
    """Of two classes a margin of 2η: the optimum of log(1 + e^(−2η)) + (ridge/2) η² in closed form."""
    y = torch.eye(2).repeat(5, 1)
    (eta,), loss = fit_rate(2 * y.unsqueeze(-1) - 1, y)
    expected = brentq(lambda rate: RIDGE * rate - 2 / (1 + math.exp(2 * rate)), 1, 50)
    assert eta == pytest.approx(expected, rel=2e-4)
    assert loss == pytest.approx(math.log1p(math.exp(-2 * expected)), rel=5e-3)


def test_the_ridge_goes_with_the_largest_feature() -> None:
    """So the unit of the features changes no logit."""
    y = torch.eye(2).repeat(5, 1)
    margins = (2 * y - 1).unsqueeze(-1)
    (eta,), _ = fit_rate(margins, y)
    (small,), _ = fit_rate(1e-9 * margins, y)
    assert small * 1e-9 == pytest.approx(eta, rel=1e-6)


def test_features_that_are_nothing_get_no_rate() -> None:
    y = torch.eye(3).repeat(4, 1)
    assert fit_rate(torch.zeros(12, 3, 1), y) == ((0.0,), pytest.approx(math.log(3)))


def test_two_heads_share_the_ridge() -> None:
    """Of equal heads each takes half, which only a penalty on their squares says."""
    y = torch.eye(2).repeat(5, 1)
    margins = (2 * y - 1).unsqueeze(-1).expand(-1, -1, 2)
    (first, second), _ = fit_rate(margins, y)
    expected = brentq(lambda rate: RIDGE * rate / 2 - 2 / (1 + math.exp(2 * rate)), 1, 50)
    assert first == pytest.approx(second, rel=1e-6)
    assert first + second == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize("at", [1e-3, 0.02, 1.0, 37.0, 999.0])
def test_a_search_for_a_width_walks_through_all_and_then_looks_beside_the_best(at: float) -> None:
    lowest, highest = 1e-3, 1e3
    seen = []

    def loss(width: float) -> float:
        seen.append(width)
        return (math.log(width) - math.log(at)) ** 2

    found = minimise_over_widths(loss, lowest, highest)
    assert math.log(found / at) == pytest.approx(0, abs=2e-3)
    spacing = math.log(highest / lowest) / (WALK - 1)
    walk, search = seen[:WALK], seen[WALK:]
    assert walk == pytest.approx([lowest * math.exp(k * spacing) for k in range(WALK)])
    best = min(walk, key=lambda width: abs(math.log(width / at)))
    assert all(lowest <= width <= highest for width in search)
    assert all(abs(math.log(width / best)) <= spacing for width in search)


def test_of_two_valleys_the_deeper_is_taken() -> None:
    """The first is wide and the second deep; a search between the ends alone would end in either."""

    def loss(width: float) -> float:
        place = math.log10(width)
        return min(0.1 + (place + 2) ** 2, (place - 1.2) ** 2)

    assert minimise_over_widths(loss, 1e-4, 1e4) == pytest.approx(10**1.2, rel=5e-3)
    assert minimise_over_widths(lambda width: loss(1 / width), 1e-4, 1e4) == pytest.approx(10**-1.2, rel=5e-3)


def test_the_walk_may_be_rough_and_the_search_is_not() -> None:
    exact, rough = [], []

    def loss(width: float) -> float:
        exact.append(width)
        return (math.log(width) - 0.3) ** 2

    def near(width: float) -> float:
        rough.append(width)
        return (math.log(width) - 0.2) ** 2

    assert math.log(minimise_over_widths(loss, 1e-3, 1e3, near)) == pytest.approx(0.3, abs=2e-3)
    assert len(rough) == WALK
    assert not set(exact) & set(rough)


@pytest.fixture
def contexts() -> tuple[list[Scores], torch.Tensor]:
    """Two batches of contexts and the labels of their queries."""
    task = SphereClassification(20, 3, 4)
    parts = [task.sample(150, stream(0, "tune", k), dtype=torch.float64) for k in range(2)]
    return [Scores.of_examples(part) for part in parts], torch.cat([part.y_query for part in parts])


@pytest.mark.parametrize("turned", [False, True])
def test_an_exponential_head_takes_the_sign_with_the_lesser_loss(
    turned: bool, contexts: tuple[list[Scores], torch.Tensor]
) -> None:
    """With all inner products turned round the best width is the opposite one, with the same rate and loss."""
    scores, y = contexts
    if turned:
        scores = [one._replace(s=-one.s) for one in scores]
    sides = {sign: fit(KernelStep(), scores, y, signs=(sign,)) for sign in (1, -1)}
    chosen = fit(KernelStep(), scores, y)
    assert math.copysign(1, chosen.beta) == (-1 if turned else 1)
    assert chosen == min(sides.values(), key=lambda one: one.loss)
    assert all(math.copysign(1, one.beta) == sign for sign, one in sides.items())
    assert chosen.loss < max(one.loss for one in sides.values())


def test_other_kernels_and_two_heads_have_positive_widths_only(contexts: tuple[list[Scores], torch.Tensor]) -> None:
    scores, y = contexts
    for step in (KernelStep("laplace"), KernelStep(heads="two")):
        assert fit(step, scores, y, widths=(2.0, 2.0), signs=(-1,)).beta == 2.0
    assert fit(KernelStep(), scores, y, widths=(2.0, 2.0), signs=(-1,)).beta == -2.0


def test_one_width_is_taken_as_it_is(contexts: tuple[list[Scores], torch.Tensor]) -> None:
    scores, y = contexts
    found = fit(KernelStep(), scores, y, widths=(2.0, 2.0), signs=(1,))
    features = torch.cat([KernelStep().features(one, 2.0) for one in scores])
    eta, loss = fit_rate(features, y)
    assert found == Fit(KernelStep(), 2.0, eta, loss, at_bound=False)


@pytest.mark.parametrize(
    ("width", "binds"), [(1.0, True), (1.019, True), (1.021, False), (97.9, False), (98.1, True), (100.0, True)]
)
def test_a_bound_binds_within_two_hundredths_of_it(width: float, binds: bool) -> None:
    assert descent._binds(width, 1.0, 100.0) == binds
    assert not descent._binds(width, width, width)


def test_a_rough_look_takes_equal_shares_of_every_batch(contexts: tuple[list[Scores], torch.Tensor]) -> None:
    scores, y = contexts
    uneven = [scores[0], Scores(*(part[:50] for part in scores[1]))]
    labels = torch.cat([y[:150], y[150:200]])
    parts, kept = descent._parts(uneven, labels, 20)
    assert [len(part.s) for part in parts] == [15, 5]
    assert torch.equal(kept, torch.cat([labels[:15], labels[150:155]]))
    assert all(torch.equal(part.y, whole.y[: len(part.y)]) for part, whole in zip(parts, uneven, strict=True))
    parts, kept = descent._parts(uneven, labels, 10_000)
    assert [len(part.s) for part in parts] == [150, 50]
    assert len(kept) == 200


def test_where_a_kernel_leaves_the_numbers_the_loss_is_above_all_others(
    contexts: tuple[list[Scores], torch.Tensor],
) -> None:
    scores, y = contexts
    assert descent._loss_at(KernelStep(rate="n"), scores, y, -1e5) == descent.NO_LOSS > math.log(4)
    assert descent._loss_at(KernelStep(rate="n"), scores, y, 2.0) < math.log(4)


def test_steps_are_compared_in_pairs_on_the_same_contexts(contexts: tuple[list[Scores], torch.Tensor]) -> None:
    scores, y = contexts
    one = Fit(KernelStep("linear", "n"), 1.0, (20.0,), 0.0)
    other = Fit(KernelStep(heads="two"), 2.0, (3.0, 1.0), 0.0, at_bound=True)
    found = compare([one, other], iter([(scores[0], y[:150]), (scores[1], y[150:])]))
    logits = [torch.cat([step.logits(part) for part in scores]) for step in (one, other)]
    loss = torch.stack([cross_entropy(each, y) for each in logits])
    right = torch.stack([(each.argmax(-1) == y.argmax(-1)).double() for each in logits])
    root = math.sqrt(len(y))
    expected = {
        "beta": [1.0, 2.0],
        "at_bound": [False, True],
        "eta": [20.0, 3.0],
        "eta_second": [math.nan, 1.0],
        "loss": loss.mean(-1),
        "loss_error": loss.std(-1) / root,
        "loss_deviation": loss.std(-1),
        "accuracy": right.mean(-1),
        "difference": [0.0, float((loss[0] - loss[1]).mean())],
        "standard_error": [0.0, float((loss[0] - loss[1]).std()) / root],
        "accuracy_difference": [0.0, float((right[1] - right[0]).mean())],
        "accuracy_error": [0.0, float((right[1] - right[0]).std()) / root],
    }
    for name, values in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name].values).double(), torch.as_tensor(values).double(), equal_nan=True
        )
    gap = float((loss[0] - loss[1]).mean())
    torch.testing.assert_close(torch.tensor(found.gap.values), torch.tensor([[0.0, gap], [-gap, 0.0]]).double())
    assert found.gap_error.values[0, 1] == pytest.approx(expected["standard_error"][1])


def test_contexts_that_are_drawn_in_single_precision_lie_on_the_sphere_in_double() -> None:
    scores, _ = collect(drawn_contexts(SphereClassification(20, 3, 2), 50, "tune", 0))
    (block,) = scores
    assert (block.s_query - 1).abs().max() < 1e-14
    gaussian = SphereClassification(20, 3, 2, inputs="gaussian", balance="none")
    (block,) = collect(drawn_contexts(gaussian, 50, "tune", 0))[0]
    assert (block.s_query - 1).abs().max() > 0.1


@pytest.mark.parametrize("step", [LINEAR, SOFTMAX, OWN_TOKEN, replace(SOFTMAX, rate="n")])
def test_a_step_takes_contexts_in_any_arrangement(step: KernelStep) -> None:
    drawn = SphereClassification(7, 3, 2, balance="none").sample(6, stream(0, "test")).double()
    flat = Scores.of_examples(drawn)
    arranged = Scores(*(part.unflatten(0, (2, 3)) for part in flat))
    torch.testing.assert_close(step.features(arranged, 1.7), step.features(flat, 1.7).unflatten(0, (2, 3)))

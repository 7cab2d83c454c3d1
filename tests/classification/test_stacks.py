"""Stacks of attention layers: what they can be, what they cannot see, how they are trained, what they are held to."""

from dataclasses import replace

import numpy
import pytest
import torch
from torch import Tensor

from icl_lib import alignment
from icl_lib.classification import ladder
from icl_lib.classification.circle import Arcs
from icl_lib.classification.circle_posterior import posterior_on_circle
from icl_lib.classification.contexts import Examples, SphereClassification
from icl_lib.classification.descent import cross_entropy, fit_rate, linear_classifier_step, linear_classifier_steps
from icl_lib.classification.few_shot import FewShot
from icl_lib.classification.kernels import LINEAR, SOFTMAX
from icl_lib.classification.stack_rivals import (
    StackRivals,
    cross_entropy_steps,
    least_squares,
    newton,
    newton_steps,
    preconditioned,
    preconditioned_steps,
    resemblance,
    smoothing,
)
from icl_lib.classification.stacks import (
    Stack,
    StackWeights,
    least_squares_stack,
    least_squares_steps,
    stacked_logits,
    train_stack,
    unseen_contexts,
)
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run, sweep

CPU = torch.device("cpu")
TASK = SphereClassification(20, 3, 5)
SMALL = Stack(TASK, "softmax", 2, repetitions=2, steps=4, batch=3, test=30, record_every=2)


def context(task: SphereClassification | FewShot = TASK, count: int = 6) -> Examples:
    return task.sample_every_query(count, stream(0, "test"), dtype=torch.float64)


def first_queries(found: Examples) -> Examples:
    return found._replace(x_query=found.x_query[:, 0], y_query=found.y_query[:, 0])


def random_weights(layers: int, e: int = 8, classes: int = 5) -> StackWeights:
    generator = stream(0, "init")
    matrices = [torch.randn(layers, e, e, generator=generator, dtype=torch.float64) for _ in range(4)]
    return StackWeights(*matrices, torch.randn(classes, e, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_a_stack_with_explicit_weights_is_so_many_steps_of_least_squares(kind: str, layers: int) -> None:
    """prop-stack-steps: to 1e-12, step by step from the residuals themselves."""
    rate, gain, beta, found = 0.7, 9.0, 6.0, context()
    scores, of_query = found.x @ found.x.mT, found.x_query @ found.x.mT
    if kind == "linear":
        gram, gram_query = scores / 20, of_query / 20
    else:
        gram, gram_query = torch.softmax(beta * scores, -1), torch.softmax(beta * of_query, -1)
    prediction, left = torch.zeros(6, 5, 5, dtype=torch.float64), found.y.clone()
    for _ in range(layers):
        prediction += rate * gram_query @ left
        left = left - rate * gram @ left
    logits = stacked_logits(kind, found, least_squares_stack(kind, 3, 5, layers, rate, gain, beta))
    torch.testing.assert_close(logits, gain * prediction, rtol=0, atol=1e-12)
    steps = least_squares_steps(gram, gram_query[:, 0], found.y, rate, layers)
    torch.testing.assert_close(steps, prediction[:, 0], rtol=0, atol=1e-12)


def test_one_step_of_least_squares_is_one_step_of_cross_entropy_but_for_what_all_classes_share() -> None:
    found = context()
    one = first_queries(found)
    logits = stacked_logits("linear", found, least_squares_stack("linear", 3, 5, 1, 1.0, 8.0))[:, 0]
    step = linear_classifier_step(one.x, one.y, one.x_query, 8.0)
    torch.testing.assert_close(torch.softmax(logits, -1), torch.softmax(step, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_no_token_looks_at_a_query(kind: str) -> None:
    found, weights = context(), random_weights(3)
    together = stacked_logits(kind, found, weights)
    for k in range(5):
        alone = stacked_logits(kind, found._replace(x_query=found.x_query[:, k : k + 1]), weights)
        torch.testing.assert_close(alone[:, 0], together[:, k])
    # But every token of the context is read, and moves the later layers' view of the others.
    moved = found.x.clone()
    moved[:, 7] = -moved[:, 7]
    assert (stacked_logits(kind, found._replace(x=moved), weights) - together).abs().amin(0).max() > 1e-6


def test_each_repetition_has_its_own_weights() -> None:
    found = context()
    two = [random_weights(2), StackWeights(*(part.roll(1, -1) for part in random_weights(2)))]
    both = StackWeights(*(torch.stack(parts).unsqueeze(1) for parts in zip(*two, strict=True)))
    logits = stacked_logits("softmax", Examples(*(part.expand(2, *part.shape) for part in found)), both)
    for row, one in zip(logits, two, strict=True):
        torch.testing.assert_close(row, stacked_logits("softmax", found, one))


def test_the_gradient_of_a_training_is_that_of_the_mean_loss() -> None:
    """One update by hand: a small step of the loss along every repetition's own gradient."""
    config = replace(SMALL, steps=1, record_every=1, rate=1e-6)
    before, after = (StackWeights(*(part[k] for part in train_stack(config, CPU, [0, 1]))) for k in range(2))
    for r in range(2):
        seen = TASK.sample_every_query(3, stream(0, "train/stack", r), dtype=torch.float64)

        def loss(weights: StackWeights, r: int = r, seen: Examples = seen) -> Tensor:
            own = StackWeights(*(part[r] for part in weights))
            return cross_entropy(stacked_logits("softmax", seen, own), seen.y_query).mean()

        leaves = StackWeights(*(part.clone().requires_grad_() for part in before))
        slopes = torch.autograd.grad(loss(leaves), leaves)
        for start, end, slope in zip(before, after, slopes, strict=True):
            moved = (end - start)[r][slope[r].abs() > 1e-9]
            # Adam's first update is the rate against the sign of the gradient.
            assert torch.equal(moved.sign(), -slope[r][slope[r].abs() > 1e-9].sign())
            assert moved.abs().max() <= 1.001e-6


def test_a_training_gives_its_losses_and_its_last_predictions() -> None:
    result = SMALL.compute(CPU)
    assert result.loss.shape == (2, 3)
    assert list(result.step) == [0, 2, 4]
    asked = [unseen_contexts(TASK, 30, 0, r) for r in range(2)]
    p = torch.from_numpy(result.p.values)
    assert torch.allclose(p.sum(-1), torch.ones(2, 30, dtype=torch.float64))
    for r in range(2):
        found = -(p[r].log() * asked[r].y_query).sum(-1).mean()
        assert float(found) == pytest.approx(float(result.loss[r, -1]))
    again = SMALL.compute(CPU)
    assert again.equals(result)
    assert not replace(SMALL, seed=1).compute(CPU).equals(result)


def test_real_data_are_tested_on_the_other_side_and_as_they_are() -> None:
    task = FewShot("digits", 10, 5, 5, rotated=True)
    for repetition in range(2):
        there = replace(task, split=repetition, side="test")
        expected = replace(there, rotated=False).sample(20, stream(3, "test/stack", repetition), dtype=torch.float64)
        found = unseen_contexts(task, 20, 3, repetition)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        points = {tuple(row) for row in there.pool.x[there.pool.rows[there.pool.rows >= 0]].float().tolist()}
        assert {tuple(row) for row in found.x.float().reshape(-1, 5).tolist()} <= points


def test_newtons_steps_are_those_of_autograd() -> None:
    found = first_queries(context())
    for k in range(2):

        def loss(flat: Tensor, k: int = k) -> Tensor:
            W = flat.view(5, 3)
            return cross_entropy(found.x[k] @ W.mT, found.y[k]).mean() + 0.005 * flat.square().sum()

        flat = torch.zeros(15, dtype=torch.float64)
        for steps in (1, 2, 3):
            slope = torch.autograd.functional.jacobian(loss, flat)
            curvature = torch.autograd.functional.hessian(loss, flat)
            flat = flat - torch.linalg.solve(curvature, slope)
            W = newton_steps(found.x, found.y, 0.01, steps)[k]
            torch.testing.assert_close(W.flatten(), flat, rtol=0, atol=1e-11)


def test_a_preconditioned_step_multiplies_the_gradient_by_the_inverse_of_the_moments() -> None:
    found = first_queries(context())
    W = linear_classifier_steps(found.x, found.y, 1.0, 1)
    moments = found.x.mT @ found.x / 20 + 0.1 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(preconditioned_steps(found.x, found.y, 4.0, 0.1, 1), 4 * W @ torch.linalg.inv(moments))
    # With a ridge that drowns the moments it is the plain step, also the second one.
    plain = linear_classifier_steps(found.x, found.y, 4.0, 2)
    torch.testing.assert_close(preconditioned_steps(found.x, found.y, 4e9, 1e9, 2), plain, rtol=1e-6, atol=1e-8)


def test_rivals_are_tuned_to_no_worse_than_what_they_contain() -> None:
    """One step of least squares is the fitted linear step; more steps, more widths and a ridge can only gain."""
    tune = TASK.sample(200, stream(0, "tune"), dtype=torch.float64)

    def loss(predict: ladder.Predictor) -> float:
        return float(cross_entropy(predict(tune), tune.y_query).mean())

    linear = loss(ladder.one_step(LINEAR, tune))
    assert loss(least_squares(tune, 1)) == pytest.approx(linear, abs=1e-9)
    assert loss(least_squares(tune, 2)) < linear - 0.002
    assert loss(smoothing(tune, 1)) == pytest.approx(loss(ladder.one_step(SOFTMAX, tune)), abs=1e-4)
    assert loss(smoothing(tune, 2)) < loss(smoothing(tune, 1)) - 0.005
    assert loss(preconditioned(tune, 2)) < linear - 0.002
    assert loss(newton(tune, 4)) < loss(newton(tune, 1)) - 0.005
    # The rate is searched too: at a rate of 1 two steps are hardly more than one.
    of_query = (tune.x @ tune.x_query.unsqueeze(-1)).squeeze(-1)
    fixed = least_squares_steps(tune.x @ tune.x.mT / 20, of_query / 20, tune.y, 1.0, 2).unsqueeze(-1)
    assert loss(least_squares(tune, 2)) < fit_rate(fixed, tune.y_query)[1] - 0.001
    own = [loss(predict) for predict in cross_entropy_steps(tune, 3)]
    assert own[0] == pytest.approx(linear, abs=1e-5)
    assert own[2] < own[1] + 1e-6 < own[0] - 0.002
    assert own[1] < loss(ladder.linear_steps(tune, 2)) - 0.002


def weighed_by_hand(x: Tensor, y: Tensor, x_query: Tensor, draws: int = 300_000) -> Tensor:
    """The posterior of one balanced context, by class vectors from their prior weighted with the likelihood."""
    generator = stream(0, "test/prior")
    angle = 2 * torch.pi * torch.rand(draws, y.shape[-1], generator=generator, dtype=torch.float64)
    w = torch.stack([angle.cos(), angle.sin()], dim=-1)
    fits = ((w @ x.mT).argmax(1) == y.argmax(-1)).all(-1)
    w = w[fits]
    width = Arcs.of(w).width
    weight = (width ** -y.sum(0)).prod(-1)
    won = (w @ x_query).argmax(-1)
    weight = weight / width.gather(1, won.unsqueeze(1)).squeeze(1)
    return torch.stack([weight[won == c].sum() for c in range(y.shape[-1])]) / weight.sum()


def test_the_posterior_of_balanced_contexts_is_that_of_weighted_class_vectors() -> None:
    # Of two classes each has half of the circle, whatever their vectors are: three can tell.
    found = SphereClassification(6, 2, 3).sample(12, stream(0, "test/posterior"), dtype=torch.float64)
    sampled = posterior_on_circle(*found[:3], 20_000, stream(0, "test/draws"), smoothing=1e-9)
    exact = torch.stack([weighed_by_hand(*(part[k] for part in found[:3])) for k in range(12)])
    assert float((sampled - exact).abs().max()) < 0.02
    assert float(exact.amax(-1).min()) < 0.8
    torch.testing.assert_close(sampled.sum(-1), torch.ones(12, dtype=torch.float64))


def test_the_posterior_expects_the_loss_that_it_has() -> None:
    """Of a right posterior the mean loss is its mean entropy."""
    context = SphereClassification(50, 2, 5).sample(4000, stream(0, "test/posterior"), dtype=torch.float64)
    p = posterior_on_circle(*context[:3], 2000, stream(0, "test/draws"))
    surprise = cross_entropy(p.log(), context.y_query) - alignment.entropy(p)
    error = float(surprise.std()) / 4000**0.5
    assert abs(float(surprise.mean())) < 3 * error
    assert error < 0.01


def test_rivals_predict_the_contexts_of_the_test_and_have_names() -> None:
    task = SphereClassification(15, 2, 3)
    config = StackRivals(task, (1, 2), repetitions=1, tuning=60, test=40, draws=200)
    result = config.compute(CPU)
    assert result.p.shape == (1, 15, 40, 3)
    assert list(result.rival.values)[-1] == "posterior"
    assert torch.allclose(torch.from_numpy(result.p.sum("class").values), torch.ones(1, 15, 40, dtype=torch.float64))
    asked = unseen_contexts(task, 40, 0, 0)
    loss = {
        str(name): float(-(torch.from_numpy(result.p.sel(rival=name).values[0]).log() * asked.y_query).sum(-1).mean())
        for name in result.rival.values
    }
    assert min(loss, key=lambda name: loss[name]) == "posterior"
    assert all(value < 1.0 for value in loss.values())


def test_resemblance_compares_the_same_contexts() -> None:
    rivals = StackRivals(TASK, (1,), repetitions=2, tuning=30, test=30).compute(CPU)
    stack = SMALL.compute(CPU)
    found = resemblance(stack, rivals)
    assert found.preds_diff.shape == (2, 8)
    p, other = stack.p.values, rivals.p.sel(rival="1 kernel").values
    label = rivals.label.values
    losses = [-numpy.log(numpy.take_along_axis(one, label[..., None], -1))[..., 0] for one in (p, other)]
    at = found.sel(rival="1 kernel")
    for r in range(2):
        assert float(at.preds_diff[r]) == pytest.approx(numpy.linalg.norm(p[r] - other[r], axis=-1).mean())
        assert float(at.correlation[r]) == pytest.approx(numpy.corrcoef(losses[0][r], losses[1][r])[0, 1])
        assert float(at.ahead[r]) == pytest.approx((losses[1][r] - losses[0][r]).mean())
        assert float(found.loss[r]) == pytest.approx(losses[0][r].mean())
    # A rival is nothing but itself.
    itself = resemblance(rivals[["p"]].sel(rival="1 kernel", drop=True), rivals).sel(rival="1 kernel")
    assert float(itself.preds_diff.max()) == 0
    assert float(itself.correlation.min()) == pytest.approx(1)
    with pytest.raises(ValueError, match="rivals must have the contexts of the stack"):
        resemblance(stack, rivals.isel(context=slice(3)))


def test_a_stack_is_the_same_from_the_store() -> None:
    assert run(SMALL).equals(sweep([SMALL], jobs=1)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers must be an integer"),
        ({"attention": "cubic"}, "attention must be one of"),
        ({"init": 0.0}, "init must be a finite number > 0"),
        ({"clip": -1.0}, "clip must be a finite number > 0"),
        ({"task": 3}, "task must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_a_wrong_stack_is_refused(change: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        replace(SMALL, **change)


def test_wrong_rivals_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="draws must be 0 but for an odd number of plain classes on the circle"):
        StackRivals(TASK, draws=10)
    with pytest.raises(ValueError, match="layers"):
        StackRivals(TASK, layers=(0,))
    found = context()
    with pytest.raises(ValueError, match=r"weights\.W_Q must"):
        stacked_logits("linear", found, random_weights(1, e=9))
    with pytest.raises(ValueError, match="ridge must be a finite number > 0"):
        newton_steps(found.x, found.y, 0.0, 1)
    with pytest.raises(ValueError, match="gram must"):
        least_squares_steps(found.x, found.x[:, :, 0], found.y, 1.0, 1)
    two, three = (SphereClassification(6, 2, C).sample(2, stream(0, "test"), dtype=torch.float64) for C in (2, 3))
    with pytest.raises(ValueError, match="y must have an odd number of classes, got 2"):
        posterior_on_circle(*two[:3], 10, stream(0, "test"))
    with pytest.raises(ValueError, match="draws must"):
        posterior_on_circle(*three[:3], 0, stream(0, "test"))
    with pytest.raises(ValueError, match="those of a class next to each other"):
        posterior_on_circle(three.x, three.y.roll(1, 1), three.x_query, 10, stream(0, "test"))
    off = torch.nn.functional.pad(three.x, (0, 1)), three.y, torch.nn.functional.pad(three.x_query, (0, 1))
    with pytest.raises(ValueError, match="x must"):
        posterior_on_circle(*off, 10, stream(0, "test"))

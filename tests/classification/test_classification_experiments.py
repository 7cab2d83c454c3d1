"""Paper 2's experiments at a toy scale: what they promise about streams, controls, references and verdict numbers."""

import math
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch
import xarray
from sklearn.linear_model import LogisticRegression

from icl_lib.alignment import classifier_model_cos, classifier_model_diff, entropy
from icl_lib.classification import classifiers as references
from icl_lib.classification import closeness
from icl_lib.classification.classifiers import GRID
from icl_lib.classification.closeness import ClassifierCloseness, paper_scale, train_weights
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import cross_entropy, kernel_classifier_step
from icl_lib.classification.fitted_steps import NEAR_ZERO, AdaptiveRates, FittedSteps, Landscape, MixedLengths, contexts
from icl_lib.classification.head import Row, logits, token_columns
from icl_lib.classification.kernels import LINEAR, OWN_TOKEN, SOFTMAX, KernelStep
from icl_lib.classification.ladder import ReferenceLadder
from icl_lib.classification.parts import excess_parts, learned_widths, mean_parts, with_own_step
from icl_lib.classification.summaries import (
    classification_table,
    context_agreement,
    correlations,
    crossing,
    excess,
    excess_by_training,
    layer_blocks,
    learned_gain,
    learned_width,
    off_structure,
    paired,
    scatter_table,
    summary,
    width_by_training,
    wrong_basin,
)
from icl_lib.running import training
from icl_lib.running.device import one_thread
from icl_lib.running.streams import stream
from icl_lib.running.sweep import run, sweep
from icl_lib.statistics import Measurement, rounded, wilson

TASK = SphereClassification(21, 3, 3)
UNIFORM = SphereClassification(20, 3, 3, balance="none")
# A larger start and no clipping, so that few steps suffice to leave it.
SMALL = {
    "repetitions": 2, "steps": 40, "batch": 8, "tuning": 300, "test": 60, "record_every": 20, "init": 0.3, "clip": None,
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """As experiments run: small arrays are slower on several threads."""
    with one_thread():
        yield


@pytest.fixture(scope="module", params=["linear", "softmax"])
def small(request):
    config = paper_scale(TASK, request.param, **SMALL)
    return config, config.compute(CPU)


def test_result_names_its_axes_and_ends_nearer_than_it_began(small):
    _, result = small
    assert result.step.values.tolist() == [0, 20, 40]
    assert result.loss_sa.dims == ("repetition", "step")
    assert result.context_loss_sa.sizes == {"repetition": 2, "context": 60}
    ends = result.mean("repetition")
    assert ends.loss_sa[-1] < ends.loss_sa[0]
    assert float(ends.loss_gd[0]) == float(ends.loss_gd[-1]) < math.log(3)
    assert ends.loss_sa[0] == pytest.approx(math.log(3), abs=0.1)
    assert float(ends.context_loss_sa.mean()) == pytest.approx(float(ends.loss_sa[-1]), rel=1e-5)


def test_repetitions_and_steps_leave_each_other_alone(small):
    config, result = small
    one = paper_scale(TASK, config.attention, **{**SMALL, "repetitions": 1}).compute(CPU)
    numpy.testing.assert_allclose(one.loss_sa[0], result.loss_sa[0], rtol=1e-5)
    assert not numpy.allclose(result.loss_gd[0, 0], result.loss_gd[1, 0])


def test_blocks_apart_stay_empty():
    config = paper_scale(TASK, "softmax", **SMALL, blocks="apart")
    weights = train_weights(config, CPU, [40])
    for name in ("W_Q", "W_K"):
        assert not weights[name][..., 3:, :].any()
        assert not weights[name][..., :, 3:].any()
    for name in ("W_V", "W_P"):
        assert not weights[name][..., :3, :].any()
        assert not weights[name][..., :, :3].any()
        assert weights[name][..., 3:, 3:].abs().min() > 0


def test_a_gradient_is_cut_to_its_norm_for_each_repetition_alone():
    slopes = {"a": torch.tensor([[[3.0]], [[0.3]]]), "b": torch.tensor([[[4.0]], [[0.4]]])}
    cut = training.clipped(slopes, 1.0)
    assert cut["a"].flatten().tolist() == pytest.approx([0.6, 0.3])
    assert cut["b"].flatten().tolist() == pytest.approx([0.8, 0.4])


def test_a_head_that_attends_to_its_query_trains_and_is_compared_with_its_own_step():
    config = paper_scale(UNIFORM, "softmax", **SMALL, own_token=True, projected=False)
    result = config.compute(CPU)
    assert config.step.rate == "context and query"
    assert "W_P" not in config.names
    assert float(result.loss_sa.isel(step=-1).mean()) < float(result.loss_sa.isel(step=0).mean())


def test_tables_and_numbers_of_a_result(small):
    config, result = small
    table = classification_table(result)
    assert list(table) == ["repetition", "step", "loss_sa", "loss_gd", "preds_diff", "model_diff", "model_cos"]
    assert len(table) == 6
    scatter = scatter_table(result, 50)
    assert list(scatter) == ["context", "model", "loss", "probability", "entropy"]
    assert len(scatter) == 100
    torch.testing.assert_close(
        torch.tensor(-numpy.log(scatter.probability.to_numpy())), torch.tensor(scatter.loss.to_numpy())
    )
    assert set(correlations(scatter)) == {"loss", "probability", "entropy"}
    shuffled = scatter_table(result, 50, ("gd", "shuffled"))
    assert correlations(shuffled, "gd", "gd")["loss"] == pytest.approx(1)
    assert correlations(shuffled, "gd", "shuffled")["loss"] < 0.9
    # What varies by rounding alone agrees with nothing; a thousandth of it more does.
    silent = scatter.assign(loss=scatter.loss.where(scatter.model == "gd", 1.6 + 1e-14 * scatter.loss))
    assert correlations(silent)["loss"] == 0
    said = scatter.assign(loss=scatter.loss.where(scatter.model == "gd", 1.6 + 1e-6 * scatter.loss))
    assert correlations(said)["loss"] == pytest.approx(correlations(scatter)["loss"], abs=1e-6)
    agreement = context_agreement(result)["entropy"]
    each = [correlations(scatter_table(result, 60, repetition=r))["entropy"] for r in range(2)]
    assert agreement.value == pytest.approx(numpy.mean(each))
    assert agreement.standard_error == pytest.approx(abs(each[0] - each[1]) / 2)
    numpy.testing.assert_allclose(result.width[:, -1], learned_width(result), rtol=1e-5)
    blocks = layer_blocks(result)
    assert {name: tuple(block.shape) for name, block in blocks.items()} == {
        "A_xx": (2, 3, 3),
        "A_xy": (2, 3, 3),
        "V_yx": (2, 3, 3),
        "V_yy": (2, 3, 3),
    }
    assert learned_width(result).shape == (2,)
    assert blocks["V_yy"].sum(-2).abs().max() < 1e-4
    assert summary(result)["L_GD"].value == pytest.approx(float(result.loss_gd.mean()))
    assert paired(result, result).value == 0
    assert config.optimiser.schedule == "cosine"


def test_the_excess_of_trainings_is_known_over_contexts_and_over_trainings(small):
    _, result = small
    each, mean = excess_by_training(result), excess(result)
    ends = result.isel(step=-1)
    numpy.testing.assert_allclose([one.value for one in each], ends.loss_sa - ends.loss_gd, atol=1e-6)
    assert mean.value == pytest.approx(numpy.mean([one.value for one in each]), abs=1e-6)
    assert mean.standard_error == pytest.approx(abs(each[0].value - each[1].value) / 2, rel=1e-3)
    contexts = (result.context_loss_sa - result.context_loss_gd).isel(repetition=0)
    assert each[0].standard_error == pytest.approx(float(contexts.std(ddof=1)) / math.sqrt(60))
    assert excess(result, "loss_gd").value == 0
    assert summary(result)["L_SA − L_GD"].standard_error == pytest.approx(mean.standard_error)


def test_a_single_training_is_read_against_the_loss_and_its_cosine_against_1(small):
    _, result = small
    one = result.isel(repetition=[0])
    loss = float(one.loss_gd.mean())
    ends = summary(one)
    assert excess(one).scale == ends["L_SA − L_GD"].scale == pytest.approx(loss)
    assert ends["Model Cos, end"].scale == context_agreement(one)["loss"].scale == 1
    assert ends["L_GD"] == rounded(ends["L_GD"].value)


def rows_of(A, V):
    """A result that holds the last rows alone."""
    return xarray.Dataset({"A": (("repetition", "input", "token"), A), "V": (("repetition", "class", "token"), V)})


def test_a_constructed_layer_has_no_entries_off_structure():
    d, C = 3, 4
    A, V = numpy.zeros((2, d, d + C), dtype="float32"), numpy.zeros((2, C, d + C), dtype="float32")
    A[:, :, :d] = numpy.eye(d)
    V[:, :, d:] = 5 * numpy.eye(C) + numpy.arange(C)
    result = rows_of(A, V)
    assert off_structure(result).tolist() == pytest.approx([0, 0], abs=1e-6)
    spoilt = result.copy(deep=True)
    spoilt.A[1, 0, 5] = 0.25
    assert off_structure(spoilt).tolist() == pytest.approx([0, 0.25], abs=1e-6)
    assert learned_width(result).tolist() == [1, 1]
    assert learned_gain(result).tolist() == pytest.approx([5, 5])
    assert width_by_training(result.assign(A=0.01 * result.A))[0] == Measurement(float(numpy.float32(0.01)), 0, 10)
    assert str(width_by_training(result.assign(A=-7 * result.A))[1]) == "≈ -7.00"


@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_a_start_at_the_step_is_the_step(kind):
    """Almost no random part, almost no rate: the head must still be the step after training."""
    config = paper_scale(TASK, kind, **SMALL, start="step")
    result = ClassifierCloseness(**{**vars(config), "init": 1e-6, "rate": 1e-9}).compute(CPU)
    assert float(result.preds_diff.max()) < 1e-3
    assert float(result.model_cos.min()) > 0.9999
    if kind == "softmax":
        numpy.testing.assert_allclose(result.width, float(result.beta), rtol=1e-3)


def test_the_parts_of_the_excess_add_up_and_name_what_is_off():
    config = paper_scale(TASK, "softmax", **{**SMALL, "test": 600})
    result = config.compute(CPU)
    parts = excess_parts(config, result)
    total = parts["off structure"] + parts["gain off"] + parts["width off"]
    numpy.testing.assert_allclose(total, parts.excess, atol=1e-5)
    # A layer of the constructed form at another width: all of its excess is due to the width.
    A, V = numpy.zeros((2, 3, 6)), numpy.zeros((2, 3, 6))
    A[:, :, :3] = 20 * abs(float(result.beta)) * numpy.eye(3)
    V[:, :, 3:] = 4 * (numpy.eye(3) - 1 / 3)
    layer = result.assign({name: (result[name].dims, value) for name, value in (("A", A), ("V", V))})
    constructed = excess_parts(config, layer)
    assert constructed.width.to_numpy() == pytest.approx(20 * abs(float(result.beta)))
    assert constructed["gain that fits"].nunique() == 1
    assert (constructed["width off"] > 0.01).all()
    means = mean_parts(parts, 0.5)
    assert "repetition" not in means
    assert means["width off"].value == pytest.approx(parts["width off"].mean())
    assert mean_parts(parts[:1], 0.5)["width off"].scale == 0.5
    assert mean_parts(parts[:1], 0.5)["width"] == rounded(parts.width[0])
    alike = mean_parts(parts.assign(gain=[20.0, 20.0001]), 0.5)
    assert alike["gain"] == rounded(20.00005)
    assert alike["width"] == means["width"]
    # One turned round: still one row, that says so.
    apart = layer.assign(A=layer.A * xarray.DataArray([1, -1], dims="repetition"))
    frame, row = learned_widths("here", config, apart)
    assert (row["setting"], row["β < 0"], len(frame)) == ("here", "1 of 2", 2)
    frame, row = learned_widths("here", config, layer)
    assert row["β fitted"] == rounded(result.beta)
    assert row["L_SA − L_GD"].value == pytest.approx(constructed.excess.mean())
    with pytest.raises(ValueError, match="config must be one of softmax attention"):
        excess_parts(paper_scale(TASK, "linear", **SMALL), result)

    # That layer is the step with its own width and gain, and the trained one is not.
    def loss_and_own(found):
        both = with_own_step(config, found)
        return both.context_loss_own.values, both

    for repetition in (0, 1):
        test = TASK.sample(config.test, stream(config.seed, "test", repetition), dtype=torch.float64)
        row = Row(torch.from_numpy(A[repetition]), torch.from_numpy(V[repetition]))
        p = torch.softmax(logits("softmax", token_columns(test), test.x_query, row), -1)
        own, both = loss_and_own(layer)
        numpy.testing.assert_allclose(own[repetition], -(p * test.y_query).sum(-1).log(), atol=1e-5)
        numpy.testing.assert_allclose(both.context_entropy_own[repetition], entropy(p), atol=1e-5)
        numpy.testing.assert_allclose(both.context_probability_own[repetition], (p * test.y_query).sum(-1), atol=1e-5)
    # Repetitions are told apart by their names, not their places.
    numpy.testing.assert_array_equal(loss_and_own(layer.isel(repetition=[1]))[0][0], own[1])
    with pytest.raises(ValueError, match="config must be one of softmax attention"):
        with_own_step(paper_scale(TASK, "linear", **SMALL), result)


def test_the_wrong_basin_is_counted_and_has_a_median_of_its_own():
    A = numpy.stack([sign * numpy.eye(3, 6, dtype="float32") for sign in (1, -1, 1, 1)])
    losses = numpy.array([[2, 0.5], [2, 0.9], [2, 0.6], [2, 0.8]])
    result = rows_of(A, numpy.ones((4, 3, 6), dtype="float32")).assign(
        loss_sa=(("repetition", "step"), losses), loss_gd=(("repetition", "step"), numpy.full((4, 2), 0.5))
    )
    found = wrong_basin(result)
    assert (found["wrong sign"], found["trainings"], found["share"]) == (1, 4, 0.25)
    assert (found["95 % from"], found["95 % to"]) == wilson(1, 4)
    assert found["median excess, right sign"].value == pytest.approx(0.1)
    assert found["median excess, wrong sign"] == Measurement(0.9 - 0.5, scale=0.5)
    assert wrong_basin(result.isel(repetition=[0]))["median excess, wrong sign"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "cubic"}, "attention must be one of"),
        ({"blocks": "some"}, "blocks must be one of"),
        ({"start": "warm"}, "start must be one of"),
        ({"rate": 0.0}, "rate must be a finite number > 0"),
        ({"init": math.nan}, "init must be a finite number > 0"),
        ({"test": 0}, "test must be an integer >= 1"),
        ({"clip": 0.0}, "clip must be a finite number > 0"),
        ({"warm_up": 10**6}, "warm_up must be an integer in"),
    ],
)
def test_bad_experiments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ClassifierCloseness(**{"task": TASK, "attention": "linear", "rate": 0.1, "init": 0.1, **change})


def test_an_experiment_without_a_task_is_refused():
    with pytest.raises(TypeError, match="task must be of type ContextTask"):
        paper_scale("sphere", "linear")  # type: ignore[arg-type]


def test_fitted_steps_are_paired_and_use_other_contexts_to_fit():
    config = FittedSteps(TASK, (LINEAR, SOFTMAX, KernelStep(heads="two")), tuning=400, test=500)
    result = config.compute(CPU)
    numpy.testing.assert_allclose(result.difference, result.loss[0] - result.loss, rtol=1e-9, atol=1e-12)
    assert float(result.standard_error[0]) == 0 < float(result.standard_error[1]) < float(result.loss_error[1])
    assert numpy.isnan(result.eta_second[:2]).all()
    assert not numpy.isnan(result.eta_second[2])
    tune, test = (next(contexts(TASK, 5, purpose, 0))[0].s for purpose in ("tune", "test"))
    assert not torch.equal(tune, test)
    worse = FittedSteps(TASK, (LINEAR, SOFTMAX), first_factor=2.0, tuning=400, test=500).compute(CPU)
    assert worse.loss[0] > result.loss[0]
    assert float(worse.loss[1]) == float(result.loss[1])


def test_the_known_metric_sees_relevant_dimensions_only():
    task = SphereClassification(20, 5, 3, relevant=2, balance="none")
    known, unknown = (FittedSteps(task, view=view, tuning=400, test=800).compute(CPU) for view in ("relevant", "all"))
    assert known.loss[1] < unknown.loss[1]


def test_blocks_of_contexts_do_not_change_a_result(monkeypatch):
    whole = FittedSteps(TASK, tuning=300, test=300).compute(CPU)
    monkeypatch.setattr("icl_lib.classification.fitted_steps.BLOCK", 10**9)
    assert whole.loss.equals(FittedSteps(TASK, tuning=300, test=300).compute(CPU).loss)


def test_mixed_lengths_share_one_set_of_numbers():
    result = MixedLengths(UNIFORM, (SOFTMAX, LINEAR), (5, 40), (5, 40, 80), tuning=400, test=300).compute(CPU)
    assert result.loss.sizes == {"n": 3, "step": 2}
    assert (result.beta == result.beta[0]).all()
    assert result.loss.sel(n=80, step=0) < result.loss.sel(n=5, step=0)


def test_the_landscape_has_two_minima_and_the_wrong_one_is_higher():
    land = Landscape(SphereClassification(50, 5, 5, balance="none"), OWN_TOKEN, points=8, tuning=400).compute(CPU)
    right, wrong = land.loss.where(land.beta > 0), land.loss.where(land.beta < 0)
    assert right.min() < wrong.min() < land.loss.sel(beta=NEAR_ZERO)
    best = land.isel(beta=int(numpy.nanargmin(right.values)))
    assert best.eta > 0
    assert land.isel(beta=int(numpy.nanargmin(wrong.values))).eta < 0
    assert float(best.surface.min()) == pytest.approx(float(best.loss), abs=0.02)


def test_adaptive_rates_are_the_rates_of_the_step():
    config = AdaptiveRates(TASK, tuning=300, test=50)
    result = config.compute(CPU)
    _, y = next(contexts(TASK, 50, "test", 0))
    context = TASK.sample(50, stream(0, "test"))
    beta, eta = float(result.beta), float(result.eta)
    plain = kernel_classifier_step(*context[:3], beta, 1.0, adaptive=False, include_query=False)
    rate = torch.from_numpy(result.rate.values)
    loss = cross_entropy(plain * rate.unsqueeze(-1), y)
    torch.testing.assert_close(loss, torch.from_numpy(result.loss.values), rtol=1e-4, atol=1e-5)
    # A sum of n values of the kernel is below n.
    assert (rate > eta).all()
    assert eta > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FittedSteps(TASK, ()), "steps must hold at least one entry"),
        (lambda: FittedSteps(TASK, view="some"), "view must be one of"),
        (lambda: FittedSteps(TASK, first_factor=0.0), "first_factor must be a finite number > 0"),
        (lambda: MixedLengths(TASK, (LINEAR,), (), (5,)), "lengths must hold at least one entry"),
        (lambda: MixedLengths(TASK, (LINEAR,), (5,), (0,)), "test_lengths must be an integer >= 1"),
        (lambda: Landscape(TASK, lowest=3.0, highest=1.0), "highest must be a finite number > 3"),
        (lambda: AdaptiveRates(TASK, test=0), "test must be an integer >= 1"),
        (lambda: ReferenceLadder(UNIFORM, sampled=10, test=5), "sampled must be an integer in"),
        (lambda: ReferenceLadder(UNIFORM, linear_steps=(0,)), "linear_steps must be an integer >= 1"),
        (lambda: ReferenceLadder(replace(UNIFORM, noise=0.1)), 'task must have balance="none" and no other variation'),
    ],
)
def test_bad_comparisons_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FittedSteps("x"), "task must be a SphereClassification, got 'x'"),
        (lambda: FittedSteps(TASK, ("linear",)), "steps must hold kernel steps, got 'linear'"),
        (lambda: MixedLengths(TASK, [LINEAR], (5,), (5,)), "steps must be a tuple of kernel steps"),
        (lambda: MixedLengths(TASK, (LINEAR,), [5], (5,)), "lengths must be a tuple of numbers of points"),
        (lambda: Landscape("x"), "task must be a SphereClassification"),
        (lambda: ReferenceLadder("x"), "task must be a SphereClassification"),
    ],
)
def test_comparisons_of_something_else_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_mixed_lengths_keep_the_variations_of_the_task():
    noisy = replace(UNIFORM, noise=0.4)
    lengths = {"lengths": (20,), "test_lengths": (20,), "tuning": 400, "test": 300}
    plain, varied = (MixedLengths(task, (SOFTMAX,), **lengths).compute(CPU) for task in (UNIFORM, noisy))
    assert float(varied.loss.max()) > 1.05 * float(plain.loss.max())


def test_a_landscape_says_what_stands_in_for_width_0():
    land = Landscape(
        SphereClassification(20, 3, 3, balance="none"), lowest=-2.0, highest=2.0, points=5, tuning=100
    ).compute(CPU)
    assert land.beta.values.tolist() == [-2.0, -1.0, NEAR_ZERO, 1.0, 2.0]


def test_the_ladder_runs_from_neighbours_to_the_posterior():
    config = ReferenceLadder(UNIFORM, (4,), (2,), tuning=30, test=60, sampled=40, sweeps=200)
    result = config.compute(CPU)
    loss = result.loss.to_series()
    assert loss["posterior"] < loss["one linear step"]
    assert loss["4 linear steps"] < loss["one linear step"]
    assert float(result.gap.sel(classifier="one linear step")) == 0
    assert float(result.above.sel(classifier="posterior")) == 0
    assert result.above.sel(classifier="nearest neighbours") > 0
    assert result.half.size == 2
    assert float(result.surprise) == pytest.approx(float(loss["posterior"] - result.entropy))


def test_neighbours_vote():
    x = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]])
    y = torch.eye(3)[[0, 1, 1]].unsqueeze(0)
    p = references.nearest_neighbours(x, y, torch.tensor([[1.0, 0.0]]), 2, 0.5)
    torch.testing.assert_close(p, torch.tensor([[1.5, 1.5, 0.5]]) / 3.5)
    with pytest.raises(ValueError, match="neighbours must be an integer in"):
        references.nearest_neighbours(x, y, torch.tensor([[1.0, 0.0]]), 4, 0.5)


def test_logistic_regression_copes_with_missing_classes():
    y = torch.zeros(2, 4, 3)
    y[0, :, 1] = 1
    y[1, :2, 0], y[1, 2:, 2] = 1, 1
    x = torch.nn.functional.normalize(torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0)), dim=-1)
    p = references.logistic_regression(x, y, x[:, 0], 10.0)
    torch.testing.assert_close(p.sum(-1), torch.ones(2, dtype=torch.float64))
    assert p[0, 1] > 0.99
    assert 0 < p[1, 1] < 1e-5


def test_kernel_logistic_regression_minimises_its_objective():
    """Against scikit-learn on features whose inner products are the kernel."""
    context = SphereClassification(15, 2, 3, balance="none").sample(1, stream(3, "test"), dtype=torch.float64)
    x, y, x_query, _ = context
    beta, ridge = 1.5, 0.02
    p = references.kernel_logistic_regression(x, y, x_query, beta, ridge, iterations=800)
    points = torch.cat([x[0], x_query])
    gram = torch.exp(beta * (points @ points.mT - 1))
    values, vectors = torch.linalg.eigh(gram)
    phi = (vectors * values.clamp_min(0).sqrt()).numpy()
    # scikit-learn minimises ½‖w‖² + C Σ losses; ours is ridge/2 ‖F‖² + (1/n) Σ losses.
    model = LogisticRegression(C=1 / (ridge * 15), fit_intercept=False, max_iter=5000, tol=1e-10)
    model.fit(phi[:15], y[0].argmax(-1).numpy())
    expected = torch.zeros(1, 3, dtype=torch.float64)
    expected[:, model.classes_] = torch.from_numpy(model.predict_proba(phi[15:]))
    if len(model.classes_) == 3:
        torch.testing.assert_close(p, expected, atol=1e-4, rtol=0)


def test_the_posterior_of_a_half_circle_is_known():
    """Two classes on the circle, no data but one point: the second vector must be the nearer one, nothing else."""
    batch = 400
    task = SphereClassification(1, 2, 2, balance="none")
    context, w = task.sample_with_classes(batch, stream(0, "test"), dtype=torch.float64)
    p, halves = references.posterior(*context[:3], w, 200, stream(0, "test/chain"))
    assert halves.shape == (2, batch, 2)
    torch.testing.assert_close(p.sum(-1), torch.ones(batch, dtype=torch.float64))
    # By symmetry the label of a query orthogonal to the point is open, and that of the point itself is certain.
    same = references.posterior(context.x, context.y, context.x[:, 0], w, 50, stream(0, "test/chain"))[0]
    assert ((same * context.y[:, 0]).sum(-1) > 0.99).all()
    orthogonal = torch.stack([-context.x[:, 0, 1], context.x[:, 0, 0]], -1)
    open_ = references.posterior(context.x, context.y, orthogonal, w, 400, stream(0, "test/chain"))[0]
    assert float((open_ * context.y[:, 0]).sum(-1).mean()) == pytest.approx(0.5, abs=0.05)
    # Between them it is known: w_1 − w_2 has a uniform direction, so a query at an angle α agrees with chance 1 − α/π.
    between = torch.nn.functional.normalize(orthogonal + context.x[:, 0], dim=-1)
    known = references.posterior(context.x, context.y, between, w, 400, stream(0, "test/chain"))[0]
    assert float((known * context.y[:, 0]).sum(-1).mean()) == pytest.approx(0.75, abs=0.02)


def test_shares_of_an_arc_are_the_frequencies_along_it():
    task = SphereClassification(12, 3, 4, balance="none")
    context, w = task.sample_with_classes(50, stream(0, "test"), dtype=torch.float64)
    chain = references._Chain(context.x, context.y, context.x_query, w, stream(0, "test/chain"))
    direction = chain._tangent(chain.w[:, 1])
    for low, high in ((-0.8, 1.3), (-3.1, 3.1), (-2.0, 0.1)):
        ends = [torch.full((50, 1), end, dtype=torch.float64) for end in (low, high)]
        shares = chain._shares(1, direction, *ends)
        angles = torch.linspace(low, high, 4001, dtype=torch.float64)[:, None, None]
        moved = w.expand(4001, *w.shape).clone()
        moved[:, :, 1] = angles.cos() * w[:, 1] + angles.sin() * direction
        best = (moved @ context.x_query.unsqueeze(-1)).squeeze(-1).argmax(-1)
        counted = torch.nn.functional.one_hot(best, 4).double().mean(0)
        torch.testing.assert_close(shares, counted, rtol=0, atol=2e-3)


def test_chains_stay_where_every_label_agrees():
    task = SphereClassification(40, 3, 4, balance="none")
    context, w = task.sample_with_classes(30, stream(0, "test"), dtype=torch.float64)
    chain = references._Chain(context.x, context.y, context.x_query, w, stream(0, "test/chain"))
    for _ in range(20):
        chain.sweep()
        labels = (context.x @ chain.w.mT).argmax(-1)
        assert (labels == context.y.argmax(-1)).double().mean() > 0.9999
    assert (chain.w - w).norm(dim=-1).median() > 0.02


def test_classifier_metrics():
    J = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert classifier_model_diff(J, -J).item() == pytest.approx(math.sqrt(8))
    assert classifier_model_cos(J, 3 * J).item() == pytest.approx(1)
    assert classifier_model_cos(J, 0 * J).item() == 0
    assert entropy(torch.tensor([0.5, 0.5, 0.0])).item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="J2 must have shape"):
        classifier_model_diff(J, J[..., :1])


def test_crossings_are_interpolated_in_log_length():
    found = crossing([10, 100, 1000], [-0.1, -0.1, 0.1], [0.001] * 3)
    assert found is not None
    assert found.value == pytest.approx(math.sqrt(100 * 1000))
    assert 0 < found.standard_error < 20
    assert crossing([10, 100], [0.1, 0.2], [0.01, 0.01]) is None
    assert crossing([10, 100], [-0.2, -0.1], [0.01, 0.01]) is None


def test_wilson_intervals_solve_their_equation():
    for successes in (0, 1, 8, 20):
        low, high = wilson(successes, 20)
        for end in (low, high):
            gap = abs(successes / 20 - end)
            assert gap == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 20), abs=1e-6) or gap == 0
        assert 0 <= low <= successes / 20 <= high <= 1
        assert high - low > 0.1
    assert wilson(0, 20)[1] == pytest.approx(1 - wilson(20, 20)[0])
    with pytest.raises(ValueError, match="successes must be an integer"):
        wilson(21, 20)
    with pytest.raises(ValueError, match="level must be a finite number"):
        wilson(1, 20, level=1.0)


@pytest.mark.parametrize("grid", [GRID, 1e-18])
def test_rounding_does_not_lead_a_chain_elsewhere(grid, monkeypatch):
    """What another processor does to the last digit. The negative control: a grid too fine to matter."""
    monkeypatch.setattr(references, "GRID", grid)
    context, w = SphereClassification(30, 4, 4, balance="none").sample_with_classes(
        20, stream(0, "test"), dtype=torch.float64
    )
    noise = 1e-14 * torch.randn(w.shape, generator=torch.Generator().manual_seed(0), dtype=w.dtype)
    ends = []
    for start in (w, w * (1 + noise)):
        chain = references._Chain(context.x, context.y, context.x_query, start, stream(0, "test/chain"))
        for _ in range(60):
            chain.sweep()
        ends.append(chain.w)
    assert torch.equal(*ends) == (grid == GRID)


def test_trainings_on_the_same_contexts_are_each_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte; and the contexts are drawn once for all of them."""
    task = SphereClassification(10, 3, 5)
    sizes = {"repetitions": 2, "steps": 12, "batch": 3, "tuning": 50, "test": 20, "record_every": 5}
    configs = [
        paper_scale(task, "linear", **sizes),
        paper_scale(task, "softmax", **sizes),
        paper_scale(task, "softmax", init=0.3, projected=False, clip=None, warm_up=3, beta2=0.95, **sizes),
    ]
    assert len({config.draws for config in configs}) == 1
    monkeypatch.setenv("ICL_STORE", "off")
    alone = [run(config) for config in configs]
    drawn: list[int] = []
    contexts = closeness._contexts
    monkeypatch.setattr(closeness, "_contexts", lambda *given: (drawn.append(1), contexts(*given))[1])
    together = sweep(configs)
    for one, other in zip(alone, together, strict=True):
        assert one.equals(other)
        assert all(one[name].values.tobytes() == other[name].values.tobytes() for name in one)
    # For each repetition 12 updates of 3 contexts, of which 53 are drawn at once.
    assert len(drawn) == 2


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"batch": 4}, {"repetitions": 3}, {"steps": 13}, {"own_token": True}, {"test": 21}]
)
def test_trainings_that_draw_otherwise_are_not_together(change: dict[str, Any]) -> None:
    sizes = {"repetitions": 2, "steps": 12, "batch": 3, "tuning": 50, "test": 20}
    one = paper_scale(SphereClassification(10, 3, 5), "softmax", **sizes)
    assert replace(one, **change).draws != one.draws
    assert replace(one, task=SphereClassification(10, 2, 5)).draws != one.draws

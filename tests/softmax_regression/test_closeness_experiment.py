import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
import xarray
from random_documents import normal

from icl_lib.running.streams import stream
from icl_lib.running.sweep import run, sweep
from icl_lib.softmax_regression import closeness as experiment
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression.closeness import Closeness, tune_rate
from icl_lib.softmax_regression.closeness import test_repetition as measure
from icl_lib.softmax_regression.covariance import inverse
from icl_lib.softmax_regression.summaries import closeness_table

CPU = torch.device("cpu")
SMALL = Closeness(n=10, d=3, repetitions=2, steps=60, batch=200, tuning=300, test=300, record_every=25)


@pytest.fixture(scope="module", params=["held", "same"])
def result(request: pytest.FixtureRequest) -> xarray.Dataset:
    return replace(SMALL, query=request.param, rate=0.02).compute(CPU)


def test_the_result_has_the_axes_and_the_steps(result: xarray.Dataset) -> None:
    assert result.step.values.tolist() == [0, 25, 50, 60]
    assert dict(result.sizes) == {"repetition": 2, "step": 4, "row": 3, "column": 3}
    assert all(bool(result[name].notnull().all()) for name in result)


def test_training_brings_the_layer_to_the_step(result: xarray.Dataset) -> None:
    first, last = result.isel(step=0).mean(), result.isel(step=-1).mean()
    assert last.loss_sa < 1.1 * last.loss_gd < 1.1 * last.loss_uniform
    assert last.preds_diff < 0.3 * first.preds_diff
    assert last.model_diff < 0.5 * first.model_diff
    assert last.model_cos > 0.95
    table = closeness_table(result)
    assert len(table) == 8
    assert table.relative_diff.iloc[-1] < 0.4


def test_the_rate_minimises_the_loss_on_the_tuning_tasks() -> None:
    rate = tune_rate(SMALL, 0)
    tasks = SMALL.task.sample(SMALL.tuning, stream(0, "tune", 0))
    A, A_query, x = tasks.A.double(), tasks.A_query.double(), tasks.x.double()
    b, b_query = sr.predict(A, x), sr.predict(A_query, x)

    def loss(rate: float) -> float:
        return sr.loss(A_query, sr.step(A, b, rate * SMALL.n), b_query).mean().item()

    assert loss(rate) < min(loss(0.97 * rate), loss(1.03 * rate))


def test_the_rate_of_the_step_is_that_of_all_tuning_tasks(result: xarray.Dataset) -> None:
    """It has the least mean loss on them, and lies among those of the single repetitions, of which each does worse."""
    pooled, own = tune_rate(SMALL, 0, 1), [tune_rate(SMALL, r) for r in range(2)]
    assert min(own) < pooled < max(own)
    assert result.rate.values[0] == result.rate.values[1]
    assert len(set(result.own_rate.values)) == 2
    assert min(result.own_rate) < result.rate[0] < max(result.own_rate)


@pytest.mark.parametrize("condition", [1.0, 4.0])
def test_a_multiple_of_a_matrix_is_tuned_as_a_rate_is(condition: float) -> None:
    """In the unit of the matrix; and stretched words need the inverse of their covariance to be the old problem."""
    config = replace(SMALL, condition=condition)
    plain = tune_rate(SMALL, 0, 1)
    known = inverse(config.task.covariance, 3)
    assert tune_rate(config, 0, 1, matrix=2 * known) == pytest.approx(plain / 2, rel=1e-6)
    assert (tune_rate(config, 0, 1) == pytest.approx(plain, rel=1e-3)) == (condition == 1)


@pytest.mark.parametrize(("query", "rate", "loss"), [("held", 0.440, 1.69e-2), ("same", 0.284, 6.75e-3)])
def test_the_step_is_that_of_trial_runs_with_other_code(query: str, rate: float, loss: float) -> None:
    config = Closeness(n=25, d=20, query=query, repetitions=2)
    rates = [tune_rate(config, repetition) for repetition in range(2)]
    losses = [measure(config, r, torch.zeros(1, 20, 20).double(), rates[r], 0.1)["loss_gd"].item() for r in range(2)]
    assert sum(rates) / 2 == pytest.approx(rate, rel=0.1)
    assert sum(losses) / 2 == pytest.approx(loss, rel=0.1)


@pytest.mark.parametrize("query", ["held", "same"])
def test_a_layer_that_is_the_step_measures_as_the_step(query: str) -> None:
    config = replace(SMALL, query=query)
    found = measure(config, 0, 0.7 * torch.eye(3).double().expand(2, 3, 3), 0.7, 0.7)
    torch.testing.assert_close(found["loss_sa"], found["loss_gd"], rtol=1e-12, atol=0)
    torch.testing.assert_close(found["loss_gd_own"], found["loss_gd"], rtol=1e-12, atol=0)
    assert found["preds_diff"].max() < 1e-14
    assert found["model_diff"].max() < 1e-7
    assert found["model_cos"].min() > 1 - 1e-12
    assert found["control_threefold_diff"].min() > 0.1 * found["gd_shift"].min()


def test_measures_are_those_of_the_explicit_tasks() -> None:
    M = 0.4 * torch.eye(3).double() + 0.1 * normal(0, 3, 3)
    found = measure(SMALL, 1, M.unsqueeze(0), 0.5, 0.6)
    tasks = SMALL.task.sample(SMALL.test, stream(0, "test", 1))
    A, A_query, x = tasks.A.double(), tasks.A_query.double(), tasks.x.double()
    b, b_query = sr.predict(A, x), sr.predict(A_query, x)
    h = sr.centred_readout(A, b)
    f_sa, f_gd = sr.predict(A_query, h @ M.T), sr.predict(A_query, 0.5 * h)
    expected = {
        "loss_sa": sr.loss(A_query, h @ M.T, b_query),
        "loss_gd": sr.loss(A_query, 0.5 * h, b_query),
        "loss_gd_own": sr.loss(A_query, 0.6 * h, b_query),
        "loss_uniform": 0.5 * (b_query - 1 / SMALL.n).square().sum(-1),
        "preds_diff": (f_sa - f_gd).norm(dim=-1),
        "gd_shift": (f_gd - 1 / SMALL.n).norm(dim=-1),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.mean().reshape(1), rtol=1e-11, atol=0)


def test_repetitions_and_steps_move_no_tuning_and_no_test_task() -> None:
    longer = replace(SMALL, repetitions=5, steps=90, batch=10)
    assert tune_rate(SMALL, 1) == tune_rate(longer, 1)
    M = torch.eye(3).double().unsqueeze(0)
    assert measure(SMALL, 1, M, 0.5, 0.5)["loss_sa"] == measure(longer, 1, M, 0.5, 0.5)["loss_sa"]
    assert tune_rate(SMALL, 0) != tune_rate(SMALL, 1)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("n", 0, ValueError, "n must be an integer >= 1, got 0"),
        ("d", -1, ValueError, "d must be an integer >= 1, got -1"),
        ("rate", math.nan, ValueError, "rate must be a finite number > 0, got nan"),
        ("repetitions", 0, ValueError, "repetitions must be an integer >= 1, got 0"),
        ("steps", 0, ValueError, "steps must be an integer >= 1, got 0"),
        ("batch", 1.5, TypeError, r"batch must be an integer >= 1, got 1\.5 of type float"),
        ("seed", -1, ValueError, "seed must be an integer >= 0, got -1"),
        ("scale", 0, ValueError, "scale must be a finite number > 0, got 0"),
        ("init_variance", -1.0, ValueError, "init_variance must be a finite number >= 0, got -1"),
        ("dtype", "float16", ValueError, "dtype must be one of 'float32', 'float64', got 'float16'"),
        ("device", "tpu", ValueError, "device must be one of 'auto', 'cpu', 'cuda', 'mps', got 'tpu'"),
        ("query", "both", ValueError, "query must be one of 'held', 'same', got 'both'"),
        ("schedule", "step", ValueError, "schedule must be one of"),
        ("condition", 0.5, ValueError, r"condition must be a finite number >= 1, got 0\.5"),
    ],
)
def test_a_bad_config_is_one_error(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replace(SMALL, **{name: value})


def test_trainings_of_one_length_trained_together_are_each_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, with the words' normals drawn once for every dimension, scale, condition and query."""
    monkeypatch.setenv("ICL_STORE", "off")
    changes: list[dict[str, Any]] = [{}, {"d": 4}, {"d": 4, "condition": 3.0}, {"scale": 2.0}, {"init_variance": 0.1}]
    configs = [replace(SMALL, query=query, **change) for change in changes for query in ("held", "same")]
    assert len({config.draws for config in configs}) == 1
    for change in ({"seed": 1}, {"n": SMALL.n + 1}, {"rate": 0.1}, {"batch": SMALL.batch + 1}):
        assert replace(SMALL, **change).draws != SMALL.draws
    alone = [run(config) for config in configs]
    drawn: Counter[tuple[int, ...]] = Counter()
    draw = experiment.reduced_sampling.draw_normals
    monkeypatch.setattr(
        experiment.reduced_sampling,
        "draw_normals",
        lambda shape, *rest: (drawn.update([tuple(shape)]), draw(shape, *rest))[1],
    )
    for one, other in zip(alone, sweep(configs), strict=True):
        assert one.equals(other)
        assert all(one[name].values.tobytes() == other[name].values.tobytes() for name in one)
    assert set(drawn) == {(2, 200, 10), (200, 10), (3, 200, 3), (3, 200, 4)}
    assert len(set(drawn.values())) == 1


def test_words_queries_and_inputs_of_each_dimension_have_streams_of_their_own() -> None:
    configs = [replace(SMALL, d=d) for d in (2, 4)]
    normals = experiment._Normals.of(configs, torch.device("cpu"))
    states = {tuple(one.get_state().tolist()) for one in normals.all}
    assert len(states) == len(normals.all) == SMALL.repetitions * 4

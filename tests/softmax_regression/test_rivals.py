from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray
from random_documents import normal

from icl_lib.running.streams import stream
from icl_lib.running.sweep import run
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression import rival_summaries as summaries
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.rivals import PRECONDITIONED, RIVALS, Rivals, ridge_direction, tune_penalty

CPU = torch.device("cpu")
TRAINED = Closeness(10, 3, repetitions=2, steps=60, batch=200, tuning=300, test=300, record_every=30, rate=0.02)


@pytest.fixture(scope="module", params=[1.0, 5.0])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Closeness, xarray.Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICL_STORE", str(tmp_path_factory.mktemp("store")))
        config = replace(TRAINED, condition=request.param)
        return config, Rivals(config, tuning=150).compute(CPU)


def test_the_layer_against_the_step_is_what_the_closeness_result_says(
    both: tuple[Closeness, xarray.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICL_STORE", str(tmp_path))
    config, found = both
    end, step = run(config).isel(step=-1), found.sel(rival="step")
    for one, other in (
        (step.loss, end.loss_gd),
        (found.loss_sa, end.loss_sa),
        (step["shift"], end.gd_shift),
        *((step[name], end[name]) for name in ("preds_diff", "model_diff", "model_cos")),
    ):
        # Here documents are stretched in float32, there in float64.
        assert one.values == pytest.approx(other.values, rel=1e-4)
    assert step.model_cos_step.values == pytest.approx(1)
    assert not step.preds_diff_step.any()


def test_the_rivals_are_what_they_are_called(both: tuple[Closeness, xarray.Dataset]) -> None:
    config, found = both
    expected = [
        name for name in RIVALS if name not in PRECONDITIONED or (name, config.condition) == ("preconditioned", 5.0)
    ]
    assert found.rival.values.tolist() == expected
    loss = found.loss.mean("repetition")
    assert loss.sel(rival="truth") < 1e-20
    assert loss.sel(rival="two-steps") < loss.sel(rival="step")
    if config.condition != 1:
        assert loss.sel(rival="preconditioned") < loss.sel(rival="step")
    # So short a training has not arrived, and its best multiple is no worse.
    assert found.loss_multiple.mean() < 1.005 * found.loss_sa.mean()


def test_the_ridge_step_minimises_its_objective_and_ends_in_the_step() -> None:
    A, x = normal(0, 12, 4), normal(1, 4)
    b = sr.predict(A, x)

    def objective(w: torch.Tensor) -> torch.Tensor:
        centred = A - A.mean(0)
        return ((b - 1 / 12) - centred @ w / 12).square().sum() + 0.3 / 12 * w.square().sum()

    w = ridge_direction(A, b, 0.3).requires_grad_()
    (slope,) = torch.autograd.grad(objective(w), w)
    assert slope.abs().max() < 1e-12
    torch.testing.assert_close(1e8 * ridge_direction(A, b, 1e8), sr.centred_readout(A, b), rtol=1e-6, atol=1e-9)


def test_the_penalty_has_the_least_loss() -> None:
    tasks = SoftmaxRegression(10, 3).sample(300, stream(0, "tune"), dtype=torch.float64)
    best = tune_penalty(tasks)

    def loss(penalty: float) -> float:
        return float(sr.loss(tasks.A_query, ridge_direction(tasks.A, tasks.b, penalty), tasks.b_query).mean())

    assert loss(best) < min(loss(0.95 * best), loss(1.05 * best))


def test_bad_settings_are_one_error() -> None:
    with pytest.raises(TypeError, match="trained must be a Closeness or OnDocuments, got int"):
        Rivals(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tuning must be an integer in \[1, 300\], got 400"):
        Rivals(TRAINED, tuning=400)


def test_tables_and_words(both: tuple[Closeness, xarray.Dataset]) -> None:
    config, found = both
    table = summaries.rival_table(found, condition=config.condition)
    assert list(table) == ["condition", "repetition", "rival", "loss_ratio", "relative_diff", "model_cos"]
    assert len(table) == 2 * found.sizes["rival"]
    measured = summaries.against(found)
    one = float(found.loss_sa.mean() / found.loss.sel(rival="step").mean())
    assert measured["step"]["L_SA / L"].value == pytest.approx(one)
    assert "L_SA / L" not in measured["truth"]
    assert summaries.most_alike({"step": measured["step"], "truth": measured["truth"]}, "rel") == "one step"
    told = summaries.let_pass(found.assign(model_cos_step=1 + 0 * found.model_cos_step), config.query)
    assert "the truth" not in told["losses"]
    assert "the truth" in told["cosine"]

"""Experiments of the chapters on readings and beyond the paper, at toy sizes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_documents import normal

from icl_lib.running.streams import stream
from icl_lib.softmax_regression import depth, readings, transfer
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.depth import Depth, StepRates, initial_layers
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.kernel_scale import KernelScale
from icl_lib.softmax_regression.readings import Reading
from icl_lib.softmax_regression.transfer import Transfer
from icl_lib.softmax_regression.variations import VariedDocuments
from icl_lib.softmax_regression.wrong_rates import WrongRates

CPU = torch.device("cpu")
COUNTS = {"n": 8, "d": 3, "repetitions": 2, "tuning": 100, "test": 100}
SMALL = Reading(**COUNTS, steps=40, batch=20, rate=0.05)
STACK = Depth(layers=2, **COUNTS, steps=20, batch=20, record_every=10, rate=0.05, later_rate=0.005)


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_STORE", "off")


class TestWrongRates:
    def test_a_wrong_rate_is_seen_in_the_distance_and_not_in_the_cosine(self) -> None:
        found = WrongRates(**COUNTS, scales=(0.05, 1.0), factors=(1.0, 3.0)).compute(CPU)
        assert dict(found.sizes) == {"repetition": 2, "scale": 2, "factor": 2}
        right, wrong = found.sel(factor=1.0), found.sel(factor=3.0)
        assert float(right.wrong_preds_diff.max()) < 1e-12
        torch.testing.assert_close(torch.tensor(right.wrong_cos.values), torch.ones(2, 2).double())
        assert float(wrong.wrong_cos.sel(scale=0.05).min()) > 0.99 > float(wrong.wrong_cos.sel(scale=1.0).max())
        assert float((wrong.wrong_preds_diff / wrong.gd_shift).min()) > 1
        assert bool((right.wrong_loss == right.loss_gd).all())
        assert bool((wrong.wrong_loss > right.loss_gd).all())

    def test_measures_are_those_of_the_explicit_tasks(self) -> None:
        config = WrongRates(**COUNTS, scales=(0.7,), factors=(2.0,))
        found = config.compute(CPU).isel(repetition=1, scale=0)
        generator = stream(0, "test/wrong-rates", 1)
        documents = SoftmaxRegression(8, 3, 0.7).sample(100, generator, dtype=torch.float64)
        w = float(found.rate) * sr.centred_readout(documents.A, documents.b)
        f, f2 = sr.predict(documents.A_query, w), sr.predict(documents.A_query, 2 * w)
        assert float(found.loss_gd) == pytest.approx(float(sr.loss(documents.A_query, w, documents.b_query).mean()))
        assert float(found.wrong_preds_diff[0]) == pytest.approx(float((f - f2).norm(dim=-1).mean()))

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("scales", (), "scales must hold at least one entry"),
            ("scales", [1.0], "scales must be a tuple"),
            ("factors", (0.0,), "factors must be a finite number > 0, got 0"),
            ("n", 0, "n must be an integer >= 1, got 0"),
            ("query", "both", "query must be one of"),
            ("test", 0, "test must be an integer >= 1"),
        ],
    )
    def test_a_bad_config_is_one_error(self, name: str, value: Any, message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            replace(WrongRates(), **{name: value})


class TestReading:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"values": "raw", "query": "same"},
            {"layer": "tokens"},
            {"layer": "tokens", "values": "constant channel", "own_target": True, "query": "same", "unit": "none"},
            {"layer": "softmax", "values": "raw", "heads": 2},
            {"layer": "softmax", "values": "raw", "sign": -1},
            {"unit": "none"},
            {"target": "dirichlet", "query": "same"},
            {"words": "uniform", "row_scale": 2.0},
            {"optimiser": "sgd", "rate": 1.0},
            {"training_set": 40},
            {"start": 1.0},
        ],
    )
    def test_every_reading_trains_and_gets_better(self, changes: dict[str, Any]) -> None:
        result = replace(SMALL, **changes).compute(CPU)
        assert result.step.values.tolist() == [0, 40]
        assert all(bool(result[name].notnull().all()) for name in result)
        assert float(result.loss_sa.isel(step=-1).mean()) < float(result.loss_sa.isel(step=0).mean())
        assert [name for name in result if str(name).startswith("trained_")]

    def test_a_layer_that_is_the_step_measures_as_the_step(self) -> None:
        M = (0.7 * torch.eye(3).double()).expand(2, 3, 3)
        found = readings.test_repetition(SMALL, 0, {"M": M}, 0.7)
        torch.testing.assert_close(found["loss_sa"], found["loss_gd"], rtol=1e-12, atol=0)
        assert found["preds_diff"].max() < 1e-14
        assert found["model_cos"].min() > 1 - 1e-12
        assert found["control_shuffled_cos"].max() < 0.9

    def test_the_gradient_is_that_of_the_closeness_chapter(self) -> None:
        """One SGD update from M = 0 on one task, against the formula."""
        config = replace(SMALL, repetitions=1, batch=1, steps=1, optimiser="sgd", rate=0.1)
        start = {"M": torch.zeros(1, 3, 3)}
        generators = [stream(0, "train/reading", 0)]
        found = readings._gradient(config, generators, CPU)(start)["M"][0]
        tasks = readings.draw(config, 1, [stream(0, "train/reading", 0, CPU)], CPU, torch.float32).documents
        A, b, A_query, b_query = (part[0, 0] for part in (tasks.A, tasks.b, tasks.A_query, tasks.b_query))
        slope = 8 * sr.gradient(A_query, torch.zeros(3), b_query)
        torch.testing.assert_close(found, slope.outer(sr.centred_readout(A, b)), rtol=1e-4, atol=1e-6)

    def test_a_fixed_training_set_is_used_again(self) -> None:
        generators = [stream(0, "train/reading", r) for r in range(SMALL.repetitions)]
        batches = readings._batches(replace(SMALL, training_set=40), generators, CPU)
        first, second, third = batches(), batches(), batches()
        assert third is first
        assert second is not first
        fresh = readings._batches(SMALL, generators, CPU)
        assert not torch.equal(fresh().documents.A, fresh().documents.A)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"layer": "convolution"}, "layer must be one of"),
            ({"values": "constant channel"}, "values must be one of"),
            ({"heads": 2}, r"heads must be an integer in \[1, 1\], got 2"),
            ({"sign": -1}, "sign must be 1"),
            ({"unit": "relu"}, "unit must be one of"),
            ({"own_target": True}, "own_target must be False"),
            ({"start": 1.0, "unit": "none"}, "start must be 0"),
            ({"training_set": 30}, "training_set must be a multiple of batch = 20, got 30"),
            ({"batch": 0}, "batch must be an integer >= 1, got 0"),
            ({"optimiser": "lion"}, "optimiser must be one of"),
            ({"target": "gaussian"}, "query must be one of 'same'"),
        ],
    )
    def test_a_bad_config_is_one_error(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            replace(SMALL, **changes)


class TestKernelScale:
    def test_the_distance_has_the_orders_of_the_theory(self) -> None:
        found = KernelScale(**COUNTS, scales=(0.001, 0.002)).compute(CPU).mean("repetition").relative_diff
        growth = found.isel(scale=1) / found.isel(scale=0)
        assert float(growth.sel(heads="one head, +")) == pytest.approx(2, rel=0.02)
        assert float(growth.sel(heads="one head, −")) == pytest.approx(2, rel=0.02)
        assert float(growth.sel(heads="two heads")) == pytest.approx(4, rel=0.02)

    def test_no_scale_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"scales must be a tuple of numbers, got \[0.1\] of type list"):
            KernelScale(scales=[0.1])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="scales must hold at least one entry"):
            KernelScale(scales=())


class TestTransfer:
    TRAINED = Closeness(**COUNTS, steps=4, batch=10)

    def test_a_layer_that_is_the_step_stays_the_step(self) -> None:
        config = Transfer(self.TRAINED, n=5, row_scale=2.0, words="uniform", tuning=50, test=50)
        found = transfer._test(config, 0, 0.6 * torch.eye(3).double(), 0.6)
        assert found["loss_sa"] == pytest.approx(found["loss_gd"], rel=1e-12)
        assert found["preds_diff"] < 1e-14
        assert found["model_cos"] > 1 - 1e-12
        assert found["control_shuffled_cos"] < 0.9
        assert found["loss_gd_retuned"] != found["loss_gd"]

    def test_it_uses_the_trained_matrices(self) -> None:
        result = self.TRAINED.compute(CPU)
        found = Transfer(self.TRAINED, n=5, tuning=50, test=50).compute(CPU)
        for r in range(2):
            config = Transfer(self.TRAINED, n=5, tuning=50, test=50)
            direct = transfer._test(config, r, torch.tensor(result.M.values[r]), float(result.rate[r]))
            assert float(found.loss_sa[r]) == pytest.approx(direct["loss_sa"], rel=1e-12)

    def test_a_trained_layer_must_be_given(self) -> None:
        with pytest.raises(TypeError, match="scale must be a finite number > 0, got 'a' of type str"):
            Transfer(self.TRAINED, scale="a")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="trained must be a Closeness, got str"):
            Transfer("layer")  # type: ignore[arg-type]


class TestDepth:
    def test_layers_that_are_steps_measure_as_steps(self) -> None:
        rates = torch.tensor([0.5, 0.1]).double()
        M = (rates[:, None, None] * torch.eye(3).double()).expand(2, 2, 3, 3)
        tuned = depth.TunedRates(rates, torch.full_like(rates, 0.3), rates[:1])
        found = depth._test(STACK, 0, M, tuned)
        torch.testing.assert_close(found["loss_sa"], found["loss_gd"], rtol=1e-12, atol=0)
        assert found["preds_diff"].max() < 1e-14
        assert found["preds_diff_fewer"].min() > 1e-4
        assert (found["loss_gd_common"] != found["loss_gd"]).all()

    def test_own_rates_are_at_least_as_good_as_a_common_one(self) -> None:
        config = StepRates(3, **{name: COUNTS[name] for name in ("n", "d", "repetitions", "tuning")})
        found = config.compute(CPU)
        for r in range(2):
            tasks = config.task.sample(100, stream(0, "tune/depth", r), dtype=torch.float64)
            losses = []
            for K in (1, 2, 3):
                own = torch.tensor(found.own.values[r, K - 1, :K])
                common = torch.full_like(own, float(found.common[r, K - 1]))
                losses.append(float(depth._mean_loss(depth.step_direction(own, tasks), tasks)))
                assert losses[-1] <= float(depth._mean_loss(depth.step_direction(common, tasks), tasks)) + 1e-12
            # A step more never costs: its rate may be as small as it likes.
            assert losses[0] >= losses[1] - 1e-9 >= losses[2] - 2e-9
        assert bool((found.own.values[:, 0, 1:] == 0).all())

    def test_a_stack_grows_from_what_was_trained(self) -> None:
        trained = normal(0, 2, 1, 3, 3)
        grown = initial_layers(STACK, 2, trained)
        assert grown.shape == (2, 2, 3, 3)
        assert torch.equal(grown[:, :1], trained)
        fresh = initial_layers(replace(STACK, start="random"), 2, trained)
        assert fresh.abs().max() < 0.5
        assert not torch.equal(fresh[:, :1], trained)
        assert (STACK.optimiser(2).rate, STACK.optimiser(1).rate) == (0.005, 0.05)

    def test_the_result_has_every_depth(self) -> None:
        result = STACK.compute(CPU)
        assert result.loss_sa.sizes == {"layers": 2, "repetition": 2, "step": 3}
        assert bool((result.M.isel(layers=0, layer=1) == 0).all())
        mean = result.mean("repetition")
        assert bool((mean.loss_sa.isel(step=-1) < mean.loss_uniform.isel(step=-1)).all())

    @staticmethod
    def moved_ends(monkeypatch: pytest.MonkeyPatch, rate: float) -> float:
        """How far apart four layers end, relative to their size, that start a rounding error apart."""
        config = Depth(4, start="random", repetitions=2, steps=600, rate=rate)
        ends = []
        for moved in (0.0, 1e-15):
            monkeypatch.setattr(depth, "initial_layers", lambda *of, moved=moved: initial_layers(*of) * (1 + moved))
            ends.append(depth.train_layers(config, 4, None, CPU, [config.steps])[0])
        return float((ends[0] - ends[1]).norm() / ends[0].norm())

    def test_a_stack_from_scratch_does_not_depend_on_rounding_at_the_rate_of_the_chapter(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chapter = (Path(__file__).parents[2] / "book" / "closeness" / "depth.md").read_text()
        rate = re.search(r'start="random", rate=([0-9.]+)', chapter)
        assert rate is not None
        # What a table shows must agree to three digits on any processor.
        assert self.moved_ends(monkeypatch, float(rate[1])) < 1e-5
        assert self.moved_ends(monkeypatch, 0.006) > 1e-3

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"layers": 0}, "layers must be an integer >= 1, got 0"),
            ({"start": "warm"}, "start must be one of 'grown', 'random', got 'warm'"),
            ({"later_rate": 0.0}, "rate must be a finite number > 0"),
            ({"record_every": 0}, "record_every must be an integer >= 1"),
            ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64', got 'float16'"),
        ],
    )
    def test_a_bad_config_is_one_error(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            replace(STACK, **changes)


class TestVariedDocuments:
    def test_rows_and_logits_have_the_sizes_asked_for(self) -> None:
        for words in ("gaussian", "uniform"):
            task = VariedDocuments(20, 10, words=words, scale=0.5, row_scale=2.0)
            drawn = task.sample(4000, torch.Generator().manual_seed(0))
            logits = (drawn.A @ drawn.x.unsqueeze(-1)).squeeze(-1)
            assert float(drawn.A.std()) == pytest.approx(2.0, rel=0.01)
            assert float(logits.std()) == pytest.approx(1.0, rel=0.03)
            torch.testing.assert_close(drawn.b, torch.softmax(logits, -1), rtol=1e-4, atol=1e-6)
        assert float(drawn.A.abs().max()) <= 2 * 3**0.5 + 1e-5

    def test_targets_that_know_nothing_of_the_document(self) -> None:
        for target, mean, deviation in (("dirichlet", 0.05, 0.0476), ("gaussian", 0.0, 1.0), ("uniform", 0.5, 0.289)):
            drawn = VariedDocuments(20, 3, "same", target).sample(3000, torch.Generator().manual_seed(0))
            assert float(drawn.b.mean()) == pytest.approx(mean, abs=0.01)
            assert float(drawn.b.std()) == pytest.approx(deviation, rel=0.03)
            assert drawn.A_query is drawn.A

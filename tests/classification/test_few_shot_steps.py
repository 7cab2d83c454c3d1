"""Steps, heads and other classifiers on few-shot contexts, and the error from the two sides of a split."""

import math
from dataclasses import replace

import numpy
import pytest
import torch

from icl_lib.classification import few_shot_steps, ladder
from icl_lib.classification.classifiers import distances_to_means
from icl_lib.classification.contexts import Examples
from icl_lib.classification.few_shot import FewShot
from icl_lib.classification.few_shot_steps import FewShotHeads, FewShotSteps, over_splits, sides
from icl_lib.running.streams import stream

CPU = torch.device("cpu")
TASK = FewShot("digits", 25, 5, 5)


def test_the_error_from_two_sides_covers_what_it_should() -> None:
    """Classes with effects of their own in tests and in fits, and noise of rows: 4000 populations of 10 classes."""
    generator = numpy.random.default_rng(0)
    splits = [generator.permutation(10) < 5 for _ in range(5)]
    means, errors, inside = [], [], 0
    for _ in range(4000):
        a, e = generator.normal(0, 1, 10), generator.normal(0, 0.5, 10)
        values = [a[t].sum() + e[~t].sum() for half in splits for t in (half, ~half)]
        found = over_splits(numpy.asarray(values))
        means.append(found.value)
        errors.append(found.standard_error)
        inside += abs(found.value) <= found.margin()
    assert numpy.mean(numpy.square(errors)) == pytest.approx(numpy.var(means), rel=0.06)
    assert 0.93 < inside / 4000 < 0.98


def test_without_a_spread_there_is_no_error() -> None:
    assert over_splits(numpy.ones(4)).standard_error == 0
    assert over_splits(numpy.array([1.0, 3.0])).standard_error == 1


def test_distances_to_means_are_those_by_hand() -> None:
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]])
    y = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found = distances_to_means(x, y, torch.tensor([[2.0, 1.0]]))
    assert found.tolist() == [[1.0, 5.0, 5.0]]


def test_classes_that_lie_apart_are_told_by_their_means() -> None:
    generator = stream(0, "test")
    centres = 3 * torch.eye(3, dtype=torch.float64)
    labels = torch.arange(3).repeat(4)
    x = centres[labels] + 0.1 * torch.randn(50, 12, 3, generator=generator, dtype=torch.float64)
    asked = torch.randint(3, (50,), generator=generator)
    names = torch.eye(3, dtype=torch.float64)
    context = Examples(x, names[labels].expand(50, 12, 3), centres[asked], names[asked])
    log_p = ladder.nearest_mean(context)(context)
    assert log_p.argmax(1).equal(asked)
    assert float(-(log_p * context.y_query).sum(1).mean()) < 1e-3


def test_the_steps_are_fitted_on_one_side_and_tested_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []
    original = FewShot.sample

    def watched(self: FewShot, batch: int, *rest: object, **more: object) -> Examples:
        seen.append((self.split, self.side))
        return original(self, batch, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FewShot, "sample", watched)
    result = FewShotSteps(TASK, pairs=1, tuning=40, test=40).compute(CPU)
    assert seen == [(0, "fit"), (0, "test"), (1, "fit"), (1, "test")]
    assert result.loss.sel(model="softmax step").mean() < math.log(5)
    assert result.shuffled.mean() > math.log(5)
    assert set(result.model.values) == {*few_shot_steps.STEPS, *few_shot_steps.OTHERS}


def test_heads_start_at_the_step_and_are_measured_on_both_sides() -> None:
    config = FewShotHeads(TASK, start="step", pairs=1, steps=1, batch=2, tuning=100, test=50)
    result = config.compute(CPU)
    assert dict(result.loss_sa.sizes) == {"attention": 2, "split": 2, "side": 2}
    assert float(abs(result.loss_sa - result.loss_gd).max()) < 0.2
    other = replace(config, start="random").compute(CPU)
    assert float(abs(other.loss_sa - math.log(5)).max()) < 0.02


def test_training_sees_rotated_contexts_and_tests_do_not() -> None:
    linear, softmax = FewShotHeads(replace(TASK, rotated=True), pairs=2).trainings
    assert linear.draws == softmax.draws
    assert linear.repetitions == 4
    assert linear.task.of_repetition(3) == replace(TASK, rotated=True, split=3)
    assert [side.side for side in sides(TASK, 3)] == ["fit", "test"]


def test_every_repetition_is_trained_on_its_own_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []
    original = FewShot.sample_every_query

    def watched(self: FewShot, *given: object, **more: object) -> Examples:
        seen.append((self.split, self.side))
        return original(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FewShot, "sample_every_query", watched)
    FewShotHeads(TASK, pairs=2, steps=1, batch=2, tuning=20, test=20).compute(CPU)
    assert seen == [(split, "fit") for split in range(4)]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FewShotSteps("x"), "task must be of type FewShot, got 'x'"),
        (lambda: FewShotSteps(TASK, pairs=0), "pairs must be"),
        (lambda: FewShotSteps(TASK, few=500), r"few must be an integer in \[1, 400\], got 500"),
        (lambda: FewShotHeads(TASK, start="cold"), "start must be one of"),
        (lambda: FewShotHeads(TASK, steps=0), "steps must be"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        make()  # type: ignore[operator]

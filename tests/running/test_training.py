import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal

from icl_lib.running.device import one_thread
from icl_lib.running.training import SGD, Adam, Parameters, even_parts, recorded_steps, train
from icl_lib.softmax_regression import closeness as experiment
from icl_lib.softmax_regression.closeness import Closeness, initial_matrices, train_matrices

CPU = torch.device("cpu")
SMALL = Closeness(n=6, d=3, repetitions=3, steps=7, batch=20, tuning=30, test=30, record_every=3)


def snapshots(config: Closeness) -> torch.Tensor:
    return train_matrices(config, CPU, recorded_steps(config.steps, config.record_every))


@given(st.integers(1, 500), st.integers(1, 60))
def test_recorded_steps_start_at_0_end_at_the_last_and_lie_evenly(steps: int, every: int) -> None:
    recorded = recorded_steps(steps, every)
    assert (recorded[0], recorded[-1]) == (0, steps)
    assert all(b - a == every for a, b in pairwise(recorded[:-1]))
    assert 0 < recorded[-1] - recorded[-2] <= every


@given(st.integers(1, 10_000), st.integers(1, 3000))
def test_even_parts_are_few_small_and_alike(total: int, largest: int) -> None:
    parts = even_parts(total, largest)
    assert sum(parts) == total
    assert max(parts) <= largest
    assert max(parts) - min(parts) <= 1
    assert len(parts) == math.ceil(total / largest)


def test_the_constant_schedule_is_constant_after_its_warm_up() -> None:
    assert {Adam(0.1, 5).rate_at(step) for step in range(5)} == {0.1}
    warm = Adam(0.1, 10, warm_up=4)
    assert [warm.rate_at(step) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_the_cosine_schedule_falls_from_the_rate_to_0() -> None:
    adam = Adam(0.2, 100, "cosine")
    rates = [adam.rate_at(step) for step in range(101)]
    assert rates[0] == 0.2
    assert rates[50] == pytest.approx(0.1)
    assert rates[100] == pytest.approx(0, abs=1e-16)
    assert all(a > b for a, b in pairwise(rates))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate must be a finite number > 0, got 0"),
        ({"rate": math.nan}, "rate must be a finite number > 0, got nan"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"schedule": "linear"}, "schedule must be one of 'constant', 'cosine', got 'linear'"),
        ({"warm_up": 11}, r"warm_up must be an integer in \[0, 10\], got 11"),
        ({"beta1": 1.5}, "beta1 must be a finite number"),
    ],
)
def test_bad_optimisers_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Adam(0.1, 10), **arguments)


def square(parameters: Parameters) -> Parameters:
    """The gradient of ½ Σ θ²."""
    return {name: value.clone() for name, value in parameters.items()}


def test_adam_is_its_definition() -> None:
    adam = Adam(0.03, 6, "cosine", 2, 0.8, 0.95)
    start = normal(0, 2, 3)
    theta, m, v, expected = start.clone(), torch.zeros(2, 3).double(), torch.zeros(2, 3).double(), [start]
    for step in range(adam.steps):
        m = adam.beta1 * m + (1 - adam.beta1) * theta
        v = adam.beta2 * v + (1 - adam.beta2) * theta.square()
        m_hat, v_hat = m / (1 - adam.beta1 ** (step + 1)), v / (1 - adam.beta2 ** (step + 1))
        theta = theta - adam.rate_at(step) * m_hat / (v_hat.sqrt() + 1e-8)
        expected.append(theta)
    found = train({"M": start}, square, adam, range(7))["M"]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-14)


def test_sgd_is_its_definition() -> None:
    found = train({"M": torch.ones(2)}, square, SGD(0.5, 3), [0, 1, 3])["M"]
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 0.5, 0.125]))


def test_training_leaves_the_start_alone_and_is_blind_to_what_is_recorded() -> None:
    start = normal(0, 4)
    before = start.clone()
    often = train({"M": start}, square, Adam(0.1, 9), range(10))["M"]
    seldom = train({"M": start}, square, Adam(0.1, 9), [0, 9])["M"]
    assert torch.equal(start, before)
    assert torch.equal(often[[0, 9]], seldom)


def test_a_diverged_training_says_so() -> None:
    def blown_up(parameters: Parameters) -> Parameters:
        return {"M": parameters["M"] * math.inf}

    with pytest.raises(FloatingPointError, match=r"training diverged: M is not finite \(rate 0\.1\)"):
        train({"M": torch.ones(1)}, blown_up, Adam(0.1, 2), [2])


@pytest.mark.parametrize(
    ("record_at", "message"),
    [
        ([], "record_at must hold at least one step, got none"),
        ([0, 500], r"record_at must be an integer in \[0, 2\], got 500"),
        ([-1], r"record_at must be an integer in \[0, 2\], got -1"),
    ],
)
def test_steps_that_a_training_does_not_have_cannot_be_recorded(record_at: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train({"M": torch.ones(1)}, lambda parameters: parameters, Adam(0.1, 2), record_at)


@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_repetitions_do_not_mix(query: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    three = replace(SMALL, query=query, dtype=dtype)
    together = snapshots(three)
    for repetition in range(3):
        fewer = snapshots(replace(three, repetitions=repetition + 1))
        assert torch.equal(fewer[:, repetition], together[:, repetition])
    # One repetition at a time, in parts of three tasks: other draws, so only the start is the same.
    monkeypatch.setattr(experiment, "CPU_BLOCK", 3 * three.n)
    assert torch.equal(snapshots(three)[0], together[0])
    assert not torch.equal(snapshots(three)[-1], together[-1])


def test_more_steps_leave_the_first_ones_as_they_were() -> None:
    assert torch.equal(snapshots(SMALL)[:3], snapshots(replace(SMALL, steps=12))[:3])


@pytest.mark.parametrize("words", [1, 7, 6 * 20, 6 * 20 * 2, 2**16])
def test_blocks_add_up_to_the_mean_over_the_batch(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a block, each repetition sees `batch` tasks a step and takes their mean."""
    drawn = [0, 0, 0]
    generators: dict[int, int] = {}

    def draw(shape: tuple[int, ...], chosen: list[torch.Generator], *_: object) -> int:
        size = shape[-2]
        if shape == (2, size, SMALL.n):
            assert len(chosen) * size * SMALL.n <= max(words, SMALL.n)
            for generator in chosen:
                drawn[generators.setdefault(id(generator), len(generators))] += size
        return size

    def assemble(task: object, queries: Iterable[str], size: int, *_: object) -> dict[str, int]:
        return dict.fromkeys(queries, size)

    def gradient(size: int, M: torch.Tensor) -> torch.Tensor:
        return size * torch.ones_like(M)

    monkeypatch.setattr(experiment, "CPU_BLOCK", words)
    monkeypatch.setattr(experiment.reduced_sampling, "draw_normals", draw)
    monkeypatch.setattr(experiment.reduced_sampling, "assemble", assemble)
    monkeypatch.setattr(experiment.reduced_sampling, "matrix_gradient", gradient)
    monkeypatch.setattr(experiment.training, "train", lambda start, slope, *_: slope(start))
    assert torch.equal(snapshots(SMALL), torch.ones(3, 3, 3))
    assert drawn == [SMALL.batch] * 3


@pytest.mark.parametrize("query", ["held", "same"])
def test_the_number_of_threads_does_not_matter(query: str) -> None:
    config = replace(SMALL, n=60, d=20, batch=300, query=query)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = snapshots(config)
    finally:
        torch.set_num_threads(before)
    with one_thread():
        one = snapshots(config)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_the_start_has_the_variance_that_is_asked_for() -> None:
    M = initial_matrices(replace(SMALL, d=40, repetitions=20, init_variance=0.5, dtype="float64"), CPU)
    assert M.var().item() == pytest.approx(0.5 / 40, rel=0.03)
    assert not initial_matrices(replace(SMALL, init_variance=0.0), CPU).any()

"""Steps that are recorded and replayed train what steps run one by one train. No GPU is needed: `tape` stands in."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from small_trainings import STEPS, TRAININGS, closeness_training, reading
from tape import Tape
from torch import Generator, Tensor

from icl_lib.classification import closeness as classification
from icl_lib.classification.contexts import SphereClassification
from icl_lib.running import capture, training
from icl_lib.running.streams import stream
from icl_lib.running.training import SGD, Adam, Optimiser, Parameters

CPU = torch.device("cpu")


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Inside, the CPU has a recorder, and Adam's recordable form runs there."""
    tape = Tape()
    monkeypatch.setattr(capture, "recorder", lambda device: tape)
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])
    return tape


def noisy(generators: list[Generator]) -> Callable[[Parameters], Parameters]:
    """The gradient of ½ Σ (θ − ε)² with fresh normals ε."""

    def gradient(parameters: Parameters) -> Parameters:
        drawn = [torch.randn(4, generator=generator, dtype=torch.float64) for generator in generators]
        return {name: value - torch.stack(drawn) for name, value in parameters.items()}

    return gradient


def trained(optimiser: Optimiser, *, alike: bool) -> Tensor:
    generators = [stream(0, "train", r) for r in range(3)]
    start = {"M": torch.ones(3, 4, dtype=torch.float64)}
    steps = range(optimiser.steps + 1)
    return training.train(start, noisy(generators), optimiser, steps, generators if alike else None)["M"]


@pytest.mark.parametrize("optimiser", [Adam(0.1, STEPS, "cosine", warm_up=5), SGD(0.1, STEPS, "cosine", warm_up=5)])
def test_a_replayed_step_draws_on_and_follows_the_schedule(optimiser: Optimiser, tape: Tape) -> None:
    one_by_one = trained(optimiser, alike=False)
    assert tape.replays == 0
    replayed = trained(optimiser, alike=True)
    assert tape.replays == STEPS - training.STEPS_BEFORE_CAPTURE
    # Rate and number of the step are float32 tensors there, and so are Adam's powers of β.
    torch.testing.assert_close(replayed, one_by_one, rtol=1e-5, atol=1e-5)


def test_a_rate_that_is_part_of_the_record_is_found(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: Adam in its usual form, whose rate is a number of Python."""
    schedule = Adam(0.1, STEPS, "cosine", warm_up=5)
    expected = trained(schedule, alike=False)
    usual = Adam.attach
    monkeypatch.setattr(Adam, "attach", lambda self, parameters, captured: usual(self, parameters))
    assert (trained(schedule, alike=True) - expected).abs().max() > 1e-3


def test_what_python_remembers_would_be_lost(tape: Tape) -> None:
    """Why a training set in turns is not recorded: the replay sees one part of it again and again."""
    parts = itertools.cycle(torch.eye(4, dtype=torch.float64))
    start = {"M": torch.ones(3, 4, dtype=torch.float64)}
    found = {}
    for alike in ([], None):
        turns = itertools.cycle(next(parts) for _ in range(4))
        found[alike is None] = training.train(
            start, lambda now, turns=turns: {"M": now["M"] - next(turns)}, Adam(0.1, STEPS), [STEPS], alike
        )["M"]
    assert (found[True] - found[False]).abs().max() > 1e-2


@contextmanager
def one_by_one() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "recorder", lambda device: None)
        yield


@pytest.mark.parametrize("experiment", TRAININGS)
def test_every_training_of_the_book_can_be_recorded(experiment: Callable[[torch.device], Tensor], tape: Tape) -> None:
    with one_by_one():
        expected = experiment(CPU)
    found = experiment(CPU)
    assert tape.replays == STEPS - training.STEPS_BEFORE_CAPTURE
    # Two repetitions, each with its stream; that of closeness has one for words and one for inputs.
    assert len(tape.generators) == (4 if experiment is closeness_training else 2)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)


def test_what_is_not_the_same_program_each_time_is_run_as_it_is(tape: Tape) -> None:
    reading(CPU, training_set=8)
    task = SphereClassification(8, 3, 2, balance="context")
    classification.train_weights(
        classification.paper_scale(task, "linear", repetitions=1, steps=STEPS, batch=3, warm_up=2), CPU, [STEPS]
    )
    assert tape.replays == 0
    assert [
        SphereClassification(8, 3, 2, balance="none", inputs=name).draws_alike
        for name in ("uniform", "gaussian", "clusters")
    ] == [
        True,
        True,
        False,
    ]


def test_only_cuda_records_and_only_unless_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICL_CAPTURE", raising=False)
    cuda = torch.device("cuda")
    assert capture.recorder(cuda) is capture.cuda_graph
    assert capture.recorder(CPU) is None
    monkeypatch.setenv("ICL_CAPTURE", "off")
    assert capture.recorder(cuda) is None
    monkeypatch.setenv("ICL_CAPTURE", "no")
    with pytest.raises(ValueError, match="ICL_CAPTURE must be one of 'on', 'off', got 'no'"):
        capture.recorder(cuda)


def test_a_graph_knows_the_generators_before_it_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own graph needs a GPU, so what is asked of it is seen here in order."""
    told: list[Any] = []

    class Graph:
        def register_generator_state(self, generator: Any) -> None:
            told.append(generator)

        def replay(self) -> None:
            told.append("replay")

    @contextmanager
    def recording(graph: object) -> Iterator[None]:
        assert isinstance(graph, Graph)
        told.append("begin")
        yield
        told.append("end")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    generators: list[Any] = ["g0", "g1"]
    replay = capture.cuda_graph(lambda: told.append("step"), generators)
    assert told == ["g0", "g1", "begin", "step", "end"]
    replay()
    assert told[-1] == "replay"

"""Training on a real GPU, which `tests/running/test_other_devices.py` and `test_capture.py` beside it can only pretend.

Not among the tests of `make test`, which need no GPU: `make gpu-check` runs them where there is one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import pytest
import torch
from scipy.stats import ks_2samp
from small_trainings import TRAININGS, reading
from torch import Generator, Tensor

from icl_lib.classification.closeness import paper_scale
from icl_lib.classification.contexts import SphereClassification
from icl_lib.running import capture, training
from icl_lib.running.device import choose
from icl_lib.running.streams import stream
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.statistics import over_repetitions

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.fail("make gpu-check needs a GPU that this PyTorch can use: torch.cuda.is_available() is False")


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """Inside, whatever makes the program wait for the GPU raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def as_it_is(step: capture.Step, generators: Sequence[Generator]) -> capture.Step:
    """A recorder that records nothing: the optimiser takes its recordable form, and every kernel is launched."""
    return step


def test_a_gpu_is_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICL_DEVICE", raising=False)
    assert choose() == GPU


@pytest.mark.parametrize("experiment", TRAININGS)
def test_a_recorded_step_is_the_step(
    experiment: Callable[[torch.device], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit the same kernels on the same numbers; and, to rounding, what the usual form of Adam trains."""
    records: list[Sequence[Generator]] = []

    def counting(step: capture.Step, generators: Sequence[Generator]) -> capture.Step:
        records.append(generators)
        return capture.cuda_graph(step, generators)

    found = {}
    for name, recorder in (("recorded", counting), ("launched", as_it_is), ("usual", None)):
        monkeypatch.setattr(capture, "recorder", lambda device, recorder=recorder: recorder)
        found[name] = experiment(GPU).cpu()
    assert len(records) == 1
    assert torch.equal(found["recorded"], found["launched"])
    torch.testing.assert_close(found["recorded"], found["usual"], rtol=2e-5, atol=2e-6)


def test_a_step_that_replays_its_numbers_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: generators that the graph does not know draw the same again and again, or not at all."""
    experiment = TRAININGS[0]
    right = experiment(GPU).cpu()

    def forgetful(step: capture.Step, generators: Sequence[Generator]) -> capture.Step:
        replay = capture.cuda_graph(step, generators)

        def again() -> None:
            states = [generator.get_state() for generator in generators]
            replay()
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)

        return again

    monkeypatch.setattr(capture, "recorder", lambda device: forgetful)
    assert not torch.allclose(experiment(GPU).cpu(), right, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("mode", capture.MODES)
@pytest.mark.parametrize("experiment", TRAININGS)
def test_a_training_loop_never_waits(
    experiment: Callable[[torch.device], Tensor], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICL_CAPTURE", mode)
    run, graph = training.train_together, capture.cuda_graph

    def watched(*arguments: Any) -> list[training.Parameters]:
        with waiting_forbidden():
            return run(*arguments)

    def unwatched_graph(step: capture.Step, generators: Sequence[Generator]) -> capture.Step:
        """Only recording waits, once: it is not the loop."""
        torch.cuda.set_sync_debug_mode("default")
        replay = graph(step, generators)
        torch.cuda.set_sync_debug_mode("error")
        return replay

    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    monkeypatch.setattr(training, "train_together", watched)
    monkeypatch.setattr(capture, "cuda_graph", unwatched_graph)
    assert bool(torch.isfinite(experiment(GPU)).all())


def test_a_look_at_a_value_would_be_found() -> None:
    """The negative control."""
    with pytest.raises(RuntimeError, match="synchronizing"), waiting_forbidden():
        torch.ones(2, device=GPU).sum().item()


def test_a_fixed_training_set_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "cuda_graph", lambda *_: pytest.fail("it was recorded"))
    assert bool(torch.isfinite(reading(GPU, training_set=8)).all())


@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_gradient_is_that_of_the_processor(query: str, dtype: torch.dtype, tolerance: float) -> None:
    """On the same tasks. In float32 it would be off by more than this were products rounded to fewer digits."""
    task = SoftmaxRegression(200, 20, 1.0, query)
    tasks = reduced_sampling.draw(task, 1000, [stream(0, "train")], CPU, dtype)
    M = torch.randn(1, 20, 20, generator=stream(0, "init"), dtype=dtype)
    expected = reduced_sampling.matrix_gradient(moved(tasks, CPU), M)
    found = reduced_sampling.matrix_gradient(moved(tasks, GPU), M.to(GPU)).cpu()
    assert float((found - expected).norm() / expected.norm()) < tolerance


def moved(tasks: reduced_sampling.ReducedTasks, device: torch.device) -> reduced_sampling.ReducedTasks:
    parts = [part.to(device, copy=True) if isinstance(part, Tensor) else part for part in tasks]
    if tasks.residual is not None:
        parts[-1] = reduced_sampling.Residual(*(part.to(device, copy=True) for part in tasks.residual))
    return reduced_sampling.ReducedTasks(*parts)


@pytest.mark.parametrize("query", ["held", "same"])
def test_reduced_tasks_of_the_gpu_have_the_law_of_documents(query: str) -> None:
    """Read-outs and one logit of each task, for a direction that depends on the read-out."""
    task = SoftmaxRegression(12, 4, 1.0, query)
    documents = task.sample(20_000, stream(0, "test", 0, GPU), GPU, torch.float64)
    h = sr.centred_readout(documents.A, documents.b)
    turned = torch.roll(h, 1, dims=-1)
    explicit = [h[:, 0], (documents.A_query @ turned.unsqueeze(-1))[:, 0, 0], h.norm(dim=-1)]
    tasks = reduced_sampling.draw(task, 20_000, [stream(0, "test", 1, GPU)], GPU, torch.float64)
    logits = reduced_sampling.logits(tasks, torch.roll(tasks.h, 1, dims=-1))
    reduced = [tasks.h[0, :, 0], logits[0, :, 0], tasks.h[0].norm(dim=-1)]
    for one, other in zip(explicit, reduced, strict=True):
        assert ks_2samp(one.cpu(), other.cpu()).pvalue > 1e-3
    # The negative control: read-outs a tenth too long.
    assert ks_2samp(explicit[2].cpu(), 1.1 * reduced[2].cpu()).pvalue < 1e-6


def test_a_repetition_is_the_same_alone_and_among_others() -> None:
    task = SoftmaxRegression(30, 5)

    def drawn(*repetitions: int) -> Tensor:
        generators = [stream(0, "train", r, GPU) for r in repetitions]
        return reduced_sampling.draw(task, 40, generators, GPU, torch.float32).h

    together = drawn(0, 1, 2)
    assert torch.equal(together[1:2], drawn(1))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize(("n", "query"), [(25, "held"), (25, "same"), (200, "held"), (200, "same")])
def test_the_closeness_experiment_ends_where_it_does_on_the_processor(n: int, query: str) -> None:
    """The published size; its tests are on the same tasks, its trainings on others."""
    config = Closeness(n, 20, query)
    on_gpu, on_cpu = (config.compute(device) for device in (GPU, CPU))
    assert on_gpu.rate.equals(on_cpu.rate)
    end_gpu, end_cpu = on_gpu.isel(step=-1), on_cpu.isel(step=-1)
    difference = over_repetitions((end_gpu.loss_sa - end_cpu.loss_sa) / float(end_cpu.loss_gd.mean()))
    assert abs(difference.value) < 4 * difference.standard_error + 1e-6
    assert difference.standard_error < 0.005
    assert float(end_gpu.model_cos.mean()) > (0.99 if query == "held" else 0.97)
    # The negative control: where training started is found to be another place.
    start = over_repetitions((on_gpu.loss_sa.isel(step=0) - end_cpu.loss_sa) / float(end_cpu.loss_gd.mean()))
    assert abs(start.value) > 4 * start.standard_error


@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_a_classifier_ends_where_it_does_on_the_processor(kind: str) -> None:
    config = paper_scale(SphereClassification(100, 5, 5, balance="none"), kind)
    on_gpu, on_cpu = (config.compute(device).isel(step=-1) for device in (GPU, CPU))
    difference = over_repetitions(on_gpu.loss_sa - on_cpu.loss_sa)
    assert abs(difference.value) < 4 * difference.standard_error + 1e-6
    assert difference.standard_error < 0.005


def test_memory_is_bounded_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step on five times the words adds no memory once a block is full."""
    monkeypatch.setattr("icl_lib.softmax_regression.closeness.GPU_BLOCK", 200_000)

    def peak(n: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        Closeness(n, 5, steps=5, batch=200, repetitions=4, tuning=2, test=2).compute(GPU)
        return torch.cuda.max_memory_allocated() - before

    assert peak(5000) < 1.5 * peak(1000)
    assert numpy.isfinite(peak(10))

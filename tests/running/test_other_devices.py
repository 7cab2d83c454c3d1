"""The code on a pretended GPU: fake tensors know shapes, types and devices, and refuse a mix or a look at a value.

Autograd and generators of a device that is not there end the process, so what is run here is the analytic step with
its normals injected; the meta device stands in for autograd.
"""

import inspect
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode

from icl_lib import alignment, linear_regression
from icl_lib.attention import KINDS, labelled_tokens, self_attention, softmax_regression_tokens
from icl_lib.classification import closeness as classification
from icl_lib.classification import contexts
from icl_lib.classification import head as classifier_attention
from icl_lib.classification.closeness import paper_scale, train_weights
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.head import Row
from icl_lib.running import capture, training
from icl_lib.running import sweep as sweeps
from icl_lib.running.streams import stream
from icl_lib.softmax_regression import closeness as experiment
from icl_lib.softmax_regression import depth, readings, reduced_sampling
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import SoftmaxRegression

R, B, N, D = 3, 5, 7, 4


class Pretence(TorchFunctionMode):
    """Indexing and moves to the device by other calls than usual: the usual ones ask for the device's driver first."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if function is Tensor.__getitem__ and isinstance(arguments[1], tuple | int | slice):
            return view(*arguments)
        if function is Tensor.__setitem__ and isinstance(arguments[1], tuple | int | slice):
            part = view(*arguments[:2])
            value = arguments[2]
            if not isinstance(value, Tensor):
                return part.fill_(value)
            # A mix of devices that PyTorch allows: it copies, and the loop waits.
            assert value.device.type == part.device.type, "a value from another device is assigned"
            return torch.ops.aten.copy_(part, value)
        if function is Tensor.to and isinstance(arguments[1], torch.device):
            dtype = arguments[2] if len(arguments) > 2 else None
            return torch.ops.aten._to_copy(arguments[0], device=arguments[1], dtype=dtype)
        return function(*arguments, **(named or {}))


def view(tensor: Tensor, index: Any) -> Tensor:
    """tensor[index] for integers, slices without a step and an ellipsis."""
    entries = list(index) if isinstance(index, tuple) else [index]
    gap = entries.index(...) if ... in entries else len(entries)
    entries[gap : gap + 1] = [slice(None)] * (tensor.ndim - len(entries) + (gap < len(entries)))
    dim = 0
    for entry in entries:
        if isinstance(entry, slice):
            start, stop, _ = entry.indices(tensor.shape[dim])
            tensor = tensor.narrow(dim, start, max(0, stop - start))
            dim += 1
        else:
            tensor = tensor.select(dim, entry)
    return tensor


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Inside, tensors are fake, and those on this device belong to a GPU that is not there."""
    with FakeTensorMode(), Pretence():
        yield torch.device("cuda")


@pytest.mark.parametrize("index", [0, slice(1, 3), (..., -1), (slice(2), slice(1, None)), (1, ..., slice(-1, None))])
def test_the_pretended_indexing_is_indexing(index: Any) -> None:
    tensor = torch.arange(60).view(3, 4, 5)
    assert torch.equal(view(tensor, index), tensor[index])


def reduced_tasks(
    query: str, device: torch.device, dtype: torch.dtype, repetitions: int = R, batch: int = B
) -> reduced_sampling.ReducedTasks:
    return reduced_together((query,), device, dtype, repetitions, batch)[query]


def reduced_together(
    queries: Collection[str], device: torch.device, dtype: torch.dtype, repetitions: int, batch: int
) -> dict[str, reduced_sampling.ReducedTasks]:
    shapes = (repetitions, 2, batch, N), (repetitions, 3, batch, D), (repetitions, batch, N)
    words, inputs, own = (torch.empty(*shape, device=device, dtype=dtype) for shape in shapes)
    return reduced_sampling.assemble(
        SoftmaxRegression(N, D), queries, words, inputs, own if "held" in queries else None
    )


def drawn_nowhere(shape: Sequence[int], generators: list[None], device: torch.device, dtype: torch.dtype) -> Tensor:
    """`draw_normals` without its generators, of which a device that is not there has none."""
    return torch.empty(len(generators), *shape, device=device, dtype=dtype)


def tensors(*results: object) -> Iterator[Tensor]:
    for result in results:
        if isinstance(result, Tensor):
            yield result
        elif isinstance(result, tuple):
            yield from tensors(*result)


@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block", [3 * N, 2**20])
@pytest.mark.parametrize("mode", capture.MODES)
def test_the_whole_training_loop_stays_on_the_device(
    gpu: torch.device, query: str, dtype: str, block: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampler, gradient, updates and snapshots, in one block and in many; to read a value back would raise.

    With both forms of the optimiser; a graph itself cannot be recorded without a GPU.
    """
    monkeypatch.setenv("ICL_CAPTURE", mode)
    config = Closeness(N, D, query, repetitions=R, batch=B, steps=3, schedule="cosine", dtype=dtype)

    start = torch.empty(R, D, D, device=gpu, dtype=getattr(torch, dtype))

    monkeypatch.setattr(experiment, "stream", lambda *_: None)
    monkeypatch.setattr(experiment, "initial_matrices", lambda *_: start)
    monkeypatch.setattr(experiment, "GPU_BLOCK", block)
    monkeypatch.setattr(reduced_sampling, "draw_normals", drawn_nowhere)
    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    last = experiment.train_matrices(config, gpu, [0, 3])
    assert (last.device.type, last.dtype, last.shape) == ("cuda", start.dtype, (2, R, D, D))


def test_the_other_optimiser_stays_on_the_device(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"M": torch.zeros(R, D, device=gpu)}
    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    last = training.train(start, lambda now: {"M": now["M"].clone()}, training.SGD(0.1, 3), [3])
    assert last["M"].device.type == "cuda"


@pytest.mark.parametrize("query", ["held", "same"])
def test_reduced_tasks_lie_on_the_device(gpu: torch.device, query: str) -> None:
    tasks = reduced_tasks(query, gpu, torch.float32)
    found = list(tensors(tasks, reduced_sampling.logits(tasks, tasks.h)))
    assert {t.device.type for t in found} == {"cuda"}
    assert {t.dtype for t in found} == {torch.float32}


def test_closed_forms_and_metrics_stay_on_the_device(gpu: torch.device) -> None:
    A, x, b = (torch.empty(*shape, device=gpu) for shape in ((B, N, D), (B, D), (B, N)))
    f, w = sr.predict(A, x), sr.step(A, b, 1.0)
    found = tensors(
        (f, w, sr.step(A, b, 1.0, x), sr.loss(A, x, b), sr.gradient(A, x, b), sr.hessian(A, x, b)),
        (alignment.preds_diff(f, b), alignment.model_diff(f, w, b, x), alignment.model_cos(f, w, b, x)),
        alignment.cosine(w, x),
    )
    assert {t.device.type for t in found} == {"cuda"}


@pytest.mark.parametrize("kind", KINDS)
def test_attention_stays_on_the_device(gpu: torch.device, kind: str) -> None:
    A, b = torch.empty(B, N, D, device=gpu), torch.empty(B, N, device=gpu)
    tokens = softmax_regression_tokens(A, b, A)
    weights = [torch.empty(D + 2, D + 2, device=gpu) for _ in range(3)]
    keys = torch.empty(2 * N, dtype=torch.bool, device=gpu)
    labelled = labelled_tokens(A, torch.empty(B, N, 2, device=gpu), torch.empty(B, D, device=gpu))
    layers = [self_attention(tokens, *weights, kind=kind, mask=mask) for mask in (None, keys)]
    assert {t.device.type for t in (*layers, self_attention(labelled, *weights, kind=kind))} == {"cuda"}


def test_the_pretence_finds_a_mix_and_a_look(gpu: torch.device) -> None:
    """The negative control: both mistakes that the tests above would miss nothing of."""
    A, x = torch.empty(B, N, D, device=gpu), torch.empty(B, D)
    with pytest.raises(TypeError, match=r"x must be of torch\.float32 on cuda:0 as A is"):
        sr.predict(A, x)
    with pytest.raises(DataDependentOutputException):
        A.sum().item()


def test_gradients_by_autograd_need_no_value() -> None:
    """On the meta device there are no values at all, and the backward pass too must do without."""
    meta = torch.device("meta")
    A, b = torch.empty(B, N, D, device=meta), torch.empty(B, N, device=meta)
    x = torch.empty(B, D, device=meta, requires_grad=True)
    (slope,) = torch.autograd.grad(sr.loss(A, x, b).sum(), x)
    W = [torch.empty(D + 2, D + 2, device=meta, requires_grad=True) for _ in range(3)]
    layer = self_attention(softmax_regression_tokens(A, b, A), *W, kind="softmax")
    assert {slope.device.type, *(g.device.type for g in torch.autograd.grad(layer.sum(), W))} == {"meta"}


@pytest.mark.usefixtures("normals_from_nowhere")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", ["all", "apart"])
def test_the_whole_training_loop_of_a_classifier_stays_on_the_device(
    gpu: torch.device, kind: str, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts and labels too: a look at whether classes tie would raise."""
    task = SphereClassification(N, D, 3, balance="none")
    config = paper_scale(task, kind, blocks=blocks, repetitions=R, batch=B, steps=3, warm_up=1)
    monkeypatch.setattr(classification, "stream", lambda *_: None)
    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    last = train_weights(config, gpu, [0, 3])
    assert {name: (W.device.type, tuple(W.shape)) for name, W in last.items()} == dict.fromkeys(
        ("W_Q", "W_K", "W_V", "W_P"), ("cuda", (2, R, D + 3, D + 3))
    )


@pytest.fixture
def normals_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator of a device that is not there is none, which the normals refuse."""
    monkeypatch.setattr(contexts, "standard_normal", inspect.unwrap(contexts.standard_normal))


def without_generators(monkeypatch: pytest.MonkeyPatch, device: torch.device, *modules: Any) -> None:
    """Draws on `device` come from no generator of ours, since there can be none."""
    for module in modules:
        monkeypatch.setattr(module, "stream", lambda *name: None if name[3:] == (device,) else stream(*name))


def values_of(snapshots: training.Parameters, device: torch.device) -> training.Parameters:
    """Zeros in the place of what a device that is not there has trained, still to be moved to the CPU."""
    assert {value.device.type for value in snapshots.values()} == {device.type}
    return {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in snapshots.items()}


def test_a_whole_sweep_trains_on_a_pretended_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the configs to the stored results. Only the trainings are pretended; what they give is tested on the CPU."""
    cuda = torch.device("cuda")
    pretended = []

    def pretend(module: Any, name: str) -> None:
        train = getattr(module, name)

        def on_gpu(configs: Any, device: torch.device, record_at: list[int]) -> Any:
            with FakeTensorMode(), Pretence():
                last = train(configs, device, record_at)
            pretended.extend(configs)
            if isinstance(last[0], dict):
                return [values_of(one, device) for one in last]
            return [values_of({"M": one}, device)["M"] for one in last]

        monkeypatch.setattr(module, name, on_gpu)

    without_generators(monkeypatch, cuda, experiment, classification)
    monkeypatch.setattr(reduced_sampling, "draw_normals", drawn_nowhere)
    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    monkeypatch.setattr(sweeps, "choose", lambda _: cuda)
    monkeypatch.setenv("ICL_STORE", str(tmp_path))
    pretend(experiment, "train_matrices_together")
    pretend(classification, "train_weights_together")
    small = {"repetitions": R, "batch": B, "steps": 3, "test": 20}
    configs: list[sweeps.Experiment] = [
        *(Closeness(N, D, query, tuning=20, **small) for query in ("held", "same")),
        *(
            paper_scale(SphereClassification(N, D, 3, balance="none"), kind, tuning=60, warm_up=1, **small)
            for kind in KINDS
        ),
    ]
    results = sweeps.sweep(configs)
    assert pretended == configs
    assert all(bool(result.loss_sa.notnull().all()) for result in results)
    assert all('"device": "cuda"' in result.attrs["key"] for result in results)
    assert all(again.identical(result) for again, result in zip(sweeps.sweep(configs), results, strict=True))
    assert pretended == configs


def test_a_whole_sweep_of_trainings_by_autograd_trains_on_the_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same for the others, on the device that has no values; a fixed training set too."""
    meta = torch.device("meta")
    trained = []

    alone = training.train

    def train(
        parameters: training.Parameters, gradient: Any, optimiser: training.Optimiser, *rest: Any
    ) -> training.Parameters:
        trained.append(optimiser)
        return values_of(alone(parameters, gradient, optimiser, *rest), meta)

    without_generators(monkeypatch, meta, depth, linear_regression, readings)
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "check_not_diverged", lambda *_: None)
    monkeypatch.setattr(sweeps, "choose", lambda _: meta)
    monkeypatch.setenv("ICL_STORE", str(tmp_path))
    small = {"repetitions": R, "batch": B, "steps": 3, "tuning": 20, "test": 20}
    configs: list[sweeps.Experiment] = [
        readings.Reading(N, D, **small),
        readings.Reading(N, D, training_set=2 * B, optimiser="sgd", start=0.5, **small),
        readings.Reading(N, D, layer="softmax", values="raw", heads=2, **small),
        readings.Reading(N, D, layer="tokens", values="constant channel", query="same", **small),
        depth.Depth(layers=2, n=N, d=D, **small),
        linear_regression.Baseline(n=N, d=D, repetitions=R, batch=B, steps=3, test=20, warm_up=1),
    ]
    results = sweeps.sweep(configs)
    # A depth of two is two trainings.
    assert len(trained) == len(configs) + 1
    assert all(bool(result.loss_gd.notnull().all()) for result in results)
    assert all(again.identical(result) for again, result in zip(sweeps.sweep(configs), results, strict=True))
    assert len(trained) == len(configs) + 1


@pytest.mark.parametrize("change", [{}, {"inputs": "gaussian", "offset": 0.5, "prototypes": 2}, {"noise": 0.1}])
@pytest.mark.usefixtures("normals_from_nowhere")
def test_contexts_are_drawn_on_the_device(gpu: torch.device, change: dict[str, Any]) -> None:
    drawn, w = SphereClassification(N, D, 3, **{"balance": "none", **change}).sample_with_classes(B, None, gpu)
    assert {part.device.type for part in (*drawn, w)} == {"cuda"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_and_its_metrics_stay_on_the_device(gpu: torch.device, kind: str) -> None:
    tokens = torch.empty(B, D + 3, N + 1, device=gpu)
    row = Row(torch.empty(D, D + 3, device=gpu), torch.empty(3, D + 3, device=gpu))
    x_query = torch.empty(B, D, device=gpu)
    p, J = classifier_attention.sensitivity(kind, tokens, x_query, row, own_token=True)
    found = (
        *(p, J, classifier_attention.logits(kind, tokens, x_query, row)),
        *(alignment.classifier_model_diff(J, J), alignment.classifier_model_cos(J, J), alignment.entropy(p)),
    )
    assert {t.device.type for t in found} == {"cuda"}

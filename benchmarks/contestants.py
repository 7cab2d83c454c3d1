"""The ways to take a training step that are timed against each other, in PyTorch.

All train M (R, d, d) by Adam on the loss (n/2)‖softmax(A_q M h) − b‖², h = Aᵀ(b − mean b), fresh tasks each step.
"""

import os
from collections.abc import Callable, Collection
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.settings import FLOOR, FORMULA, LOOP, OURS, SQUARE, UNRECORDED, Setting
from icl_lib.running.capture import cuda_graph
from icl_lib.running.streams import stream
from icl_lib.softmax_regression.closeness import DTYPES, train_matrices
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.problem import apply_softmax_jacobian, centred_readout

Steps = Callable[[int], object]
RATE = 0.005


def contestants(setting: Setting, device: torch.device, names: Collection[str]) -> dict[str, Steps]:
    """Who of `names` runs in PyTorch: name → a function that takes a number of training steps."""

    def ours(steps: int) -> object:
        return train_matrices(setting.closeness(steps), device, [steps])

    makers: dict[str, Callable[[], Steps]] = {
        OURS: lambda: ours,
        UNRECORDED: lambda: unrecorded(ours),
        FLOOR: lambda: floor(setting, device),
        LOOP: lambda: loop(setting, device, loss_by_readout),
        SQUARE: lambda: loop(setting, device, loss_by_scores),
        FORMULA: lambda: formula(setting, device),
    }
    if device.type == "cpu":
        # It is the same, since nothing is recorded there.
        del makers[UNRECORDED]
    return {name: make() for name, make in makers.items() if name in names}


def unrecorded(entry: Steps) -> Steps:
    """The library with every kernel launched from Python, instead of a step recorded and replayed."""

    def run(steps: int) -> None:
        with patch.dict(os.environ, ICL_CAPTURE="off"):
            entry(steps)

    return run


def floor(setting: Setting, device: torch.device) -> Steps:
    """What a step cannot do without: the normals of the reduced tasks, and one softmax over a document's words."""
    dtype, documents = DTYPES[setting.dtype], 2 if setting.query == "same" else 3
    generators = [stream(0, "train", r, device) for r in range(setting.repetitions)]
    # One repetition at a time in memory that is used again, as the library does.
    words = torch.empty(documents, setting.batch, setting.n, device=device, dtype=dtype)
    inputs = torch.empty(3, setting.batch, setting.d, device=device, dtype=dtype)
    weights = torch.empty(setting.batch, setting.n, device=device, dtype=dtype)

    def step() -> None:
        for generator in generators:
            words.normal_(generator=generator)
            inputs.normal_(generator=generator)
            torch.softmax(words[0], -1, out=weights)

    # On a GPU the launches from Python would be no floor; what is recorded must have run once.
    if device.type == "cuda":
        step()
        step = cuda_graph(step, generators)

    def run(steps: int) -> None:
        for _ in range(steps):
            step()

    return run


def loss_by_readout(M: Tensor, tasks: Documents) -> Tensor:
    """The loss in O(nd) a task: h first, then the query's logits."""
    logits = torch.einsum("bnd,bd->bn", tasks.A_query, centred_readout(tasks.A, tasks.b) @ M.mT)
    return _loss(torch.softmax(logits, -1), tasks)


def loss_by_scores(M: Tensor, tasks: Documents) -> Tensor:
    """The same loss as attention is written: n × n scores, then values."""
    values = tasks.b - tasks.b.mean(-1, keepdim=True)
    scores = tasks.A_query @ M @ tasks.A.mT
    return _loss(torch.softmax((scores @ values.unsqueeze(-1)).squeeze(-1), -1), tasks)


def _loss(f: Tensor, tasks: Documents) -> Tensor:
    return f.shape[-1] / 2 * (f - tasks.b_query).square().sum(-1).mean()


def loop(setting: Setting, device: torch.device, loss: Callable[[Tensor, Documents], Tensor]) -> Steps:
    """One model after the other: explicit tasks, autograd, an optimiser each."""
    dtype = DTYPES[setting.dtype]
    models = [torch.zeros(setting.d, setting.d, device=device, dtype=dtype, requires_grad=True) for _ in _R(setting)]
    optimisers = [torch.optim.Adam([M], lr=RATE) for M in models]
    generators = [stream(0, "train", r, device) for r in _R(setting)]

    def run(steps: int) -> None:
        for _ in range(steps):
            for M, optimiser, generator in zip(models, optimisers, generators, strict=True):
                optimiser.zero_grad()
                loss(M, setting.task.sample(setting.batch, generator, device, dtype)).backward()
                optimiser.step()

    return run


def formula(setting: Setting, device: torch.device) -> Steps:
    """Explicit tasks, but the gradient by its formula and the models stacked: what is left is the data."""
    dtype = DTYPES[setting.dtype]
    M = torch.zeros(setting.repetitions, setting.d, setting.d, device=device, dtype=dtype)
    optimiser = torch.optim.Adam([M], lr=RATE)
    generators = [stream(0, "train", r, device) for r in _R(setting)]

    def run(steps: int) -> None:
        for _ in range(steps):
            slopes = [
                explicit_gradient(model, setting.task.sample(setting.batch, generator, device, dtype))
                for model, generator in zip(M, generators, strict=True)
            ]
            M.grad = torch.stack(slopes)
            optimiser.step()

    return run


def explicit_gradient(M: Tensor, tasks: Documents) -> Tensor:
    """The gradient of `loss_by_readout` by its formula, (d, d)."""
    h = centred_readout(tasks.A, tasks.b)
    f = torch.softmax((tasks.A_query @ (h @ M.mT).unsqueeze(-1)).squeeze(-1), -1)
    slope = apply_softmax_jacobian(f, f - tasks.b_query)
    on_w = (slope.unsqueeze(-2) @ tasks.A_query).squeeze(-2)
    return on_w.mT @ h * (f.shape[-1] / len(f))


def _R(setting: Setting) -> range:
    return range(setting.repetitions)

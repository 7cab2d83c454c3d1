"""Before anything is timed: the gradients of all who train are those of their losses, and agree where tasks do."""

import numpy
import torch

from benchmarks import contestants
from benchmarks.settings import Setting
from icl_lib.running.streams import stream
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.documents import Documents

TASKS = 8


def check(setting: Setting, device: torch.device, *, with_jax: bool = False) -> None:
    """Raise `AssertionError` unless the gradients of some tasks agree to 1e-9, and JAX's, in float32, to 1e-3.

    Explicit tasks are given to all who work on them. This library's reduced tasks are others, which a test holds
    against explicit ones in distribution; here its gradient, but for the part that no logit depends on, is held against
    autograd of its own loss. PyTorch's are taken on `device`, JAX's where it computes when nothing is said.
    """
    drawn = setting.task.sample(TASKS, stream(0, "test"), dtype=torch.float64)
    M = torch.randn(setting.d, setting.d, generator=stream(0, "init"), dtype=torch.float64) / setting.d
    tasks = Documents(*(part.to(device) for part in drawn))
    expected = contestants.explicit_gradient(M.to(device), tasks)
    for loss in (contestants.loss_by_readout, contestants.loss_by_scores):
        own = M.to(device, copy=True).requires_grad_()
        _agree(torch.autograd.grad(loss(own, tasks), own)[0], expected, 1e-9)
    _check_ours(setting, M.to(device))
    if with_jax:
        _check_jax(setting, M, drawn, expected.cpu())


def _check_ours(setting: Setting, M: torch.Tensor) -> None:
    generator = stream(0, "train", device=M.device)
    tasks = reduced_sampling.draw(setting.task, TASKS, [generator], M.device, torch.float64)
    tasks = tasks._replace(rest=torch.zeros_like(tasks.rest))
    own = M.unsqueeze(0).requires_grad_()
    f = torch.softmax(reduced_sampling.logits(tasks, tasks.h @ own.mT), -1)
    (expected,) = torch.autograd.grad(setting.n / 2 * (f - tasks.target).square().sum(), own)
    _agree(reduced_sampling.matrix_gradient(tasks, own.detach()), expected, 1e-9)


def _check_jax(setting: Setting, M: torch.Tensor, tasks: Documents, expected: torch.Tensor) -> None:
    import jax
    import jax.numpy as jnp

    from benchmarks import jax_version

    def slope(loss: object, *parts: torch.Tensor) -> torch.Tensor:
        arrays = tuple(jnp.asarray(part.numpy(), dtype=jnp.float32) for part in parts)
        with jax.default_matmul_precision("highest"):
            found = jax.grad(loss)(jnp.asarray(M.numpy(), dtype=jnp.float32), arrays)
        return torch.from_numpy(numpy.array(found, dtype=float))

    _agree(slope(jax_version.explicit_loss, *tasks[:4]), expected, 1e-3)
    if setting.query == "held":
        drawn = reduced_sampling.draw(setting.task, TASKS, [stream(0, "train")], torch.device("cpu"), torch.float64)
        ours = reduced_sampling.matrix_gradient(drawn, M.unsqueeze(0))[0] / TASKS
        parts = (drawn.h, drawn.direction, drawn.along, drawn.across, drawn.target, drawn.rest)
        _agree(slope(jax_version.reduced_loss, *(part[0] for part in parts)), ours, 1e-3)


def _agree(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))

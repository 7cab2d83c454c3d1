"""Parameters stacked over repetitions: one program trains them all, and knows nothing of any paper."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from icl_lib.running import capture
from icl_lib.running.memory import keep_freed_memory
from icl_lib.running.validation import check_choice, check_integer, check_number

Parameters = dict[str, Tensor]
SCHEDULES = ("constant", "cosine")
# Steps that are run before one is recorded: the first of them make the optimiser's state and PyTorch's workspaces.
STEPS_BEFORE_CAPTURE = 3


@dataclass(frozen=True)
class Optimiser(ABC):
    """`steps` updates at `rate`, constant or falling to 0 along a cosine, after a linear warm-up."""

    rate: float
    steps: int
    schedule: str = "constant"
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_number("rate", self.rate, above=0)
        check_integer("steps", self.steps, 1)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_integer("warm_up", self.warm_up, 0, self.steps)

    def rate_at(self, step: int) -> float:
        """The rate of the update that leads from `step` to `step + 1`."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        if self.schedule == "constant":
            return self.rate * warm
        return self.rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    @abstractmethod
    def attach(self, parameters: list[Tensor], *, captured: bool = False) -> torch.optim.Optimizer:
        """PyTorch's optimiser for `parameters`; `captured`, its update can be recorded with a rate in a tensor."""


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam."""

    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta1", self.beta1, minimum=0, maximum=1)
        check_number("beta2", self.beta2, minimum=0, maximum=1)

    def attach(self, parameters: list[Tensor], *, captured: bool = False) -> torch.optim.Optimizer:
        """PyTorch's Adam."""
        return torch.optim.Adam(parameters, lr=self.rate, betas=(self.beta1, self.beta2), capturable=captured)


@dataclass(frozen=True)
class SGD(Optimiser):
    """Stochastic gradient descent without momentum."""

    def attach(self, parameters: list[Tensor], *, captured: bool = False) -> torch.optim.Optimizer:
        """PyTorch's SGD; only its fused form takes a rate from the device without waiting for it."""
        return torch.optim.SGD(parameters, lr=self.rate, fused=captured or None)


def recorded_steps(steps: int, every: int) -> list[int]:
    """0, every, 2·every, …, and always the last step."""
    check_integer("steps", steps, 1)
    check_integer("every", every, 1)
    return [*range(0, steps, every), steps]


def check_recorded(record_at: Sequence[int], steps: int) -> None:
    """Raise unless `record_at` holds at least one step, and each of them lies in [0, `steps`]."""
    if not len(record_at):
        raise ValueError("record_at must hold at least one step, got none")
    for step in record_at:
        check_integer("record_at", step, 0, steps)


def even_parts(total: int, largest: int) -> list[int]:
    """`total` as a sum of as few parts as possible, none above `largest`, all equal to within one."""
    check_integer("total", total, 1)
    check_integer("largest", largest, 1)
    parts = -(-total // largest)
    return [total * (k + 1) // parts - total * k // parts for k in range(parts)]


def train(
    parameters: Mapping[str, Tensor],
    gradient: Callable[[Parameters], Mapping[str, Tensor]],
    optimiser: Optimiser,
    record_at: Sequence[int],
    generators: Sequence[Generator] | None = None,
) -> Parameters:
    """Train from `parameters`; return their snapshots at the steps `record_at`, stacked in front: (S, ...).

    `gradient` draws fresh data at each call and returns the gradient of every parameter, by formula or by
    autograd. Updates are entrywise, so repetitions stacked along a leading dimension do not mix.
    `generators` says that every call is the same program, whose only memory are these: on a GPU it is then recorded
    once and replayed. Without them each step is run as it is.
    Raises `ValueError` for steps to record that the training does not have, and `FloatingPointError` if a snapshot is
    not finite.
    """
    check_recorded(record_at, optimiser.steps)
    snapshots = run_steps(parameters, gradient, optimiser, record_at, generators)
    for name, values in snapshots.items():
        if not bool(torch.isfinite(values).all()):
            raise FloatingPointError(f"training diverged: {name} is not finite (rate {optimiser.rate})")
    return snapshots


def run_steps(
    parameters: Mapping[str, Tensor],
    gradient: Callable[[Parameters], Mapping[str, Tensor]],
    optimiser: Optimiser,
    record_at: Sequence[int],
    generators: Sequence[Generator] | None = None,
) -> Parameters:
    """`train` without the look at its end: nothing is read back from the device, so a GPU is never waited for."""
    current = {name: value.detach().clone() for name, value in parameters.items()}
    device = next(iter(current.values())).device
    if device.type == "cpu":
        keep_freed_memory()
    recorder = None if generators is None else capture.recorder(device)
    updates = optimiser.attach(list(current.values()), captured=recorder is not None)
    (group,) = updates.param_groups
    if recorder is not None:
        group["lr"] = torch.empty((), device=device)

    def update() -> None:
        for name, slope in gradient(current).items():
            current[name].grad = slope
        updates.step()

    take = update
    wanted = set(record_at)
    taken: dict[str, list[Tensor]] = {name: [] for name in current}
    for step in range(optimiser.steps + 1):
        if step in wanted:
            for name, value in current.items():
                taken[name].append(value.clone())
        if step == optimiser.steps:
            break
        _set_rate(group, optimiser.rate_at(step))
        if recorder is not None and generators is not None and step == STEPS_BEFORE_CAPTURE:
            take = recorder(update, generators)
        take()
    return {name: torch.stack(values) for name, values in taken.items()}


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate

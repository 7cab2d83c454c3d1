"""Parameters stacked over repetitions: one program trains them all, and knows nothing of any paper."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from icl_lib.running import capture
from icl_lib.running.checked import checked
from icl_lib.running.memory import keep_freed_memory
from icl_lib.running.validation import check_choice, check_count, check_integer, check_number

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


@checked()
def recorded_steps(steps: int, every: int) -> list[int]:
    """0, every, 2·every, …, and always the last step."""
    check_count("steps", steps)
    check_count("every", every)
    return [*range(0, steps, every), steps]


@checked()
def check_recorded(record_at: Sequence[int], steps: int) -> None:
    """Raise unless `record_at` holds at least one step, and each of them lies in [0, `steps`]."""
    check_integer("steps", steps, 1)
    if not len(record_at):
        raise ValueError("record_at must hold at least one step, got none")
    for step in record_at:
        check_integer("record_at", step, 0, steps)


@checked(result="any")
def clipped(slopes: Mapping[str, Tensor], limit: float) -> Parameters:
    """Gradients (R, ...) of which no repetition's norm, over all parameters, is above `limit`.

    Raises `ValueError` for a limit ≤ 0 and where there is no gradient.
    """
    check_number("limit", limit, above=0)
    if not slopes:
        raise ValueError("slopes must hold at least one gradient, got none")
    norm = torch.stack([slope.square().flatten(1).sum(1) for slope in slopes.values()]).sum(0).sqrt()
    factor = (limit / norm).clamp_max(1)
    return {name: factor.view(-1, *[1] * (slope.dim() - 1)) * slope for name, slope in slopes.items()}


@checked()
def even_parts(total: int, largest: int) -> list[int]:
    """`total` as a sum of as few parts as possible, none above `largest`, all equal to within one."""
    check_count("total", total)
    check_count("largest", largest)
    parts = -(-total // largest)
    return [total * (k + 1) // parts - total * k // parts for k in range(parts)]


@dataclass(frozen=True)
class Member:
    """One of several trainings on the same data: its start, the gradient of its parameters on data, its optimiser."""

    start: Mapping[str, Tensor]
    gradient: Callable[[Parameters, Any], Mapping[str, Tensor]]
    optimiser: Optimiser


@checked(result="any")
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
    member = Member(parameters, lambda now, _: gradient(now), optimiser)
    (snapshots,) = train_together([member], lambda: None, record_at, generators)
    return snapshots


@checked(result="any")
def train_together(
    members: Sequence[Member],
    draw: Callable[[], Any],
    record_at: Sequence[int],
    generators: Sequence[Generator] | None = None,
) -> list[Parameters]:
    """The snapshots of every member, as `train` returns them, each as if it were trained alone.

    `draw` returns the data of the next step, which all members see; they have equally many steps. The rest, and what is
    raised, is as in `train`.
    """
    if not members:
        raise ValueError("members must hold at least one training, got none")
    lengths = sorted({member.optimiser.steps for member in members})
    if len(lengths) > 1:
        raise ValueError(f"members must have equally many steps, got {', '.join(map(str, lengths))}")
    check_recorded(record_at, *lengths)
    device = next(iter(members[0].start.values())).device
    if device.type == "cpu":
        keep_freed_memory()
    recorder = None if generators is None else capture.recorder(device)
    runs = [_Run(member, captured=recorder is not None) for member in members]

    def update() -> None:
        data = draw()
        for run in runs:
            run.update(data)

    take = update
    wanted, steps = set(record_at), members[0].optimiser.steps
    for step in range(steps + 1):
        if step in wanted:
            for run in runs:
                run.record()
        if step == steps:
            break
        for run in runs:
            run.set_rate(step)
        if recorder is not None and generators is not None and step == STEPS_BEFORE_CAPTURE:
            take = recorder(update, generators)
        take()
    trained = [{name: torch.stack(values) for name, values in run.taken.items()} for run in runs]
    check_not_diverged(members, trained)
    return trained


def check_not_diverged(members: Sequence[Member], trained: Sequence[Parameters]) -> None:
    """Raise `FloatingPointError` if a snapshot is not finite; until here nothing is read back from the device."""
    for member, snapshots in zip(members, trained, strict=True):
        for name, values in snapshots.items():
            if not bool(torch.isfinite(values).all()):
                raise FloatingPointError(f"training diverged: {name} is not finite (rate {member.optimiser.rate})")


class _Run:
    """A member on its way: the parameters now, their optimiser, and what has been recorded."""

    def __init__(self, member: Member, *, captured: bool) -> None:
        self.member = member
        self.now = {name: value.detach().clone() for name, value in member.start.items()}
        self.taken: dict[str, list[Tensor]] = {name: [] for name in self.now}
        self.updates = member.optimiser.attach(list(self.now.values()), captured=captured)
        (self.group,) = self.updates.param_groups
        if captured:
            self.group["lr"] = torch.empty((), device=next(iter(self.now.values())).device)

    def record(self) -> None:
        for name, value in self.now.items():
            self.taken[name].append(value.clone())

    def set_rate(self, step: int) -> None:
        rate = self.member.optimiser.rate_at(step)
        if isinstance(self.group["lr"], Tensor):
            self.group["lr"].fill_(rate)
        else:
            self.group["lr"] = rate

    def update(self, data: Any) -> None:
        for name, slope in self.member.gradient(self.now, data).items():
            self.now[name].grad = slope
        self.updates.step()

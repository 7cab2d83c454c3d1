"""Timing contestants in turn, so that whatever else the machine does meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks.contestants import Steps

# A measurement shorter than this would be of the clock, the scheduler, and what starting a training costs: its
# streams, its optimiser, and a cache that others have used since.
LEAST_SECONDS = 0.3
MOST_STEPS = 2000


def waiting(device: torch.device) -> Callable[[], None]:
    """What returns when `device` has done all that it was given."""
    return {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)


def race(entries: Mapping[str, Steps], rounds: int, wait: Callable[[], None]) -> dict[str, list[float]]:
    """Seconds a step, one number a round and contestant; in every round each runs once, in turn.

    `wait` returns when the device has done all it was given.
    """
    counts = {name: _steps_for(entry, wait) for name, entry in entries.items()}
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(rounds):
        for name, entry in entries.items():
            seconds[name].append(_time(entry, counts[name], wait))
    return seconds


def _steps_for(entry: Steps, wait: Callable[[], None]) -> int:
    """Steps that take long enough to be timed; finding out warms the contestant up, and compiles it."""
    steps = 1
    _time(entry, steps, wait)
    while steps < MOST_STEPS and (taken := _time(entry, steps, wait) * steps) < LEAST_SECONDS:
        steps = min(MOST_STEPS, max(2 * steps, round(steps * LEAST_SECONDS / taken)))
        _time(entry, steps, wait)
    return steps


def _time(entry: Steps, steps: int, wait: Callable[[], None]) -> float:
    wait()
    start = time.perf_counter()
    entry(steps)
    wait()
    return (time.perf_counter() - start) / steps


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and the first and the last tenth (the extremes where there are fewer than ten)."""
    ordered = sorted(values)
    edge = len(ordered) // 10
    return {"median": statistics.median(ordered), "low": ordered[edge], "high": ordered[-1 - edge]}


def ratios(seconds: Mapping[str, Sequence[float]], name: str, to: str) -> dict[str, float]:
    """The spread of `name`'s time over `to`'s, round by round."""
    return spread([a / b for a, b in zip(seconds[name], seconds[to], strict=True)])

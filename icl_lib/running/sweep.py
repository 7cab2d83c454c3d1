"""Running experiments: from the store where it holds the result, else computed, singly or many at once."""

import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import xarray

from icl_lib.running.device import choose, one_thread
from icl_lib.running.places import store_folder
from icl_lib.running.store import Store, key
from icl_lib.running.validation import check_integer
from icl_lib.running.workers import Crew, check_worker, workers

# Points handed out before the first has ended: so many workers can join a cluster while it computes.
AHEAD = 10_000


class Experiment(Protocol):
    """What can be run: a frozen dataclass with a device and a computation."""

    @property
    def device(self) -> str:
        """The device asked for, `"auto"` or a name."""

    def compute(self, device: torch.device) -> xarray.Dataset:
        """The result, trained on `device`."""


@runtime_checkable
class Shared(Experiment, Protocol):
    """An experiment that shares its random draws with others of its class, and is then computed beside them."""

    @property
    def draws(self) -> Hashable:
        """Equal for experiments that draw the same."""

    @staticmethod
    def compute_together(configs: Any, device: torch.device) -> list[xarray.Dataset]:
        """The result of each, to the byte what `compute` returns."""


def run(config: Experiment) -> xarray.Dataset:
    """The result of one experiment, computed on one thread unless the store holds it."""
    (result,) = _run([config], store_folder())
    return result


def sweep(configs: Sequence[Experiment], jobs: int | None = None, scheduler: str | None = None) -> list[xarray.Dataset]:
    """The results of many experiments, in their order; a finished point is never computed again.

    `jobs` processes work at once: the argument, else the environment variable `JOBS`, else 1 (in this process).
    With the address of a Dask `scheduler` (else the variable `SCHEDULER`) the workers of that cluster do instead.
    The results are the same bytes whoever computes them, since each point runs on one thread.
    Raises `ValueError` for an empty list and for a `jobs` that is not a number >= 1.
    """
    if not configs:
        raise ValueError("configs must hold at least one experiment, got none")
    jobs = jobs if jobs is not None else _jobs_of_environment()
    check_integer("jobs", jobs, 1)
    folder = store_folder()
    results = {config: found for config in configs if (found := _stored(config, folder)) is not None}
    missing = [config for config in dict.fromkeys(configs) if config not in results]
    if missing:
        # Workers cost seconds to start, so only here are there any.
        with workers(min(jobs, len(missing)), scheduler or os.environ.get("SCHEDULER") or None) as crew:
            progress = Progress(len(configs), crew.size, done=len(configs) - len(missing))
            for config, result in _computed(_together(missing), folder, crew):
                results[config] = result
                progress.report()
    return [results[config] for config in configs]


def _together(configs: Sequence[Experiment]) -> list[list[Experiment]]:
    """The experiments in groups that are computed together, because they share their draws."""
    groups: dict[Any, list[Experiment]] = {}
    for config in configs:
        name: Any = (type(config), config.draws) if isinstance(config, Shared) else config
        groups.setdefault(name, []).append(config)
    return list(groups.values())


def _jobs_of_environment() -> int:
    text = os.environ.get("JOBS") or "1"
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"JOBS must be an integer >= 1, got {text!r}")
    return int(text)


def _computed(
    groups: Sequence[list[Experiment]], folder: Path | None, crew: Crew
) -> Iterator[tuple[Experiment, xarray.Dataset]]:
    """Each experiment and its result, in the order in which they finish."""
    import joblib

    calls = (joblib.delayed(_numbered)(index, group, folder, crew.library) for index, group in enumerate(groups))
    # A group is a task of its own, so that a worker that dies takes no finished point with it.
    parallel = joblib.Parallel(crew.size(), batch_size=1, pre_dispatch=AHEAD, return_as="generator_unordered")
    for index, results in parallel(calls):
        yield from zip(groups[index], results, strict=True)


def _numbered(
    index: int, group: list[Experiment], folder: Path | None, library: str | None
) -> tuple[int, list[xarray.Dataset]]:
    if library is not None:
        check_worker(library)
    return index, _run(group, folder)


def _stored(config: Experiment, folder: Path | None) -> xarray.Dataset | None:
    """The stored result, or None."""
    return Store(folder).load(key(config, choose(config.device))) if folder else None


def _run(group: Sequence[Experiment], folder: Path | None) -> list[xarray.Dataset]:
    """The results of experiments that share their draws, or of a single one."""
    if folder is None:
        return _compute(group)
    store = Store(folder)
    names = [key(config, choose(config.device)) for config in group]
    found = dict(zip(names, map(store.load, names), strict=True))
    missing = sorted(name for name in names if found[name] is None)
    with ExitStack() as locks:
        # In one order, so that no two processes wait for each other.
        for name in missing:
            locks.enter_context(store.lock(name))
        # Another process may have computed some while this one waited.
        found |= {name: store.load(name) for name in missing}
        open_ = {name: config for name, config in zip(names, group, strict=True) if found[name] is None}
        if open_:
            for name, computed in zip(open_, _compute(list(open_.values())), strict=True):
                store.save(name, computed)
                # Read back, so that a fresh result and a stored one are the same to the last bit.
                found[name] = store.load(name)
    results = [result for name in names if (result := found[name]) is not None]
    if len(results) < len(names):
        lost = next(name for name in names if found[name] is None)
        raise OSError(f"the result just written to {store.path(lost)} cannot be read back")
    return results


def _compute(group: Sequence[Experiment]) -> list[xarray.Dataset]:
    first = group[0]
    with one_thread():
        if len(group) == 1 or not isinstance(first, Shared):
            return [config.compute(choose(config.device)) for config in group]
        return first.compute_together(group, choose(first.device))


class Progress:
    """Points done, running and remaining time, appended to the file that `ICL_PROGRESS` names.

    A file, not a stream: what a chapter prints is compared, and anything on stderr is a failure there.
    """

    def __init__(self, total: int, workers: Callable[[], int], done: int = 0) -> None:
        self.total, self.workers, self.done, self.found = total, workers, done, done
        self.start = time.monotonic()
        self.file = os.environ.get("ICL_PROGRESS")

    def report(self) -> None:
        """Note that one more point is finished."""
        self.done += 1
        if not self.file:
            return
        left = self.total - self.done
        seconds = (time.monotonic() - self.start) / (self.done - self.found) * left
        running = min(self.workers(), left)
        with open(self.file, "a", encoding="utf-8") as out:
            out.write(f"{self.done} of {self.total} points done, {running} running, about {seconds:.0f} s left\n")

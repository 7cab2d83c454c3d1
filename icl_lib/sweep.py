"""Running experiments: from the store where it holds the result, else computed, singly or many at once."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import xarray

from icl_lib.device import choose, one_thread
from icl_lib.places import store_folder
from icl_lib.store import Store, key
from icl_lib.validation import check_integer


class Experiment(Protocol):
    """What can be run: a frozen dataclass with a device and a computation."""

    @property
    def device(self) -> str:
        """The device asked for, `"auto"` or a name."""

    def compute(self, device: torch.device) -> xarray.Dataset:
        """The result, trained on `device`."""


def run(config: Experiment) -> xarray.Dataset:
    """The result of one experiment, computed on one thread unless the store holds it."""
    return _run(config, store_folder())


def sweep(configs: Sequence[Experiment], jobs: int | None = None) -> list[xarray.Dataset]:
    """The results of many experiments, in their order; a finished point is never computed again.

    `jobs` processes work at once: the argument, else the environment variable `JOBS`, else 1 (in this process).
    The results are the same bytes whatever `jobs` is, since each point runs on one thread.
    Raises `ValueError` for an empty list and for jobs < 1.
    """
    if not configs:
        raise ValueError("configs must hold at least one experiment, got none")
    jobs = jobs if jobs is not None else int(os.environ.get("JOBS", "1"))
    check_integer("jobs", jobs, 1)
    folder = store_folder()
    results = {config: found for config in configs if (found := _stored(config, folder)) is not None}
    missing = [config for config in dict.fromkeys(configs) if config not in results]
    if missing:
        _compute(missing, jobs, folder, results)
    return [results[config] for config in configs]


def _compute(
    missing: Sequence[Experiment], jobs: int, folder: Path | None, results: dict[Experiment, xarray.Dataset]
) -> None:
    """Compute what is missing and add it to `results`. Workers cost seconds to start, so only here are there any."""
    import joblib

    progress = Progress(len(missing), jobs)
    calls = (joblib.delayed(_run)(config, folder) for config in missing)
    computed = joblib.Parallel(n_jobs=min(jobs, len(missing)), return_as="generator")(calls)
    for done, (config, result) in enumerate(zip(missing, computed, strict=True), start=1):
        results[config] = result
        progress.report(done)


def _stored(config: Experiment, folder: Path | None) -> xarray.Dataset | None:
    """The stored result, or None."""
    return Store(folder).load(key(config, choose(config.device))) if folder else None


def _run(config: Experiment, folder: Path | None) -> xarray.Dataset:
    device = choose(config.device)
    if folder is None:
        with one_thread():
            return config.compute(device)
    found = _stored(config, folder)
    if found is not None:
        return found
    store, name = Store(folder), key(config, device)
    with store.lock(name):
        # Another process may have computed it while this one waited.
        found = store.load(name)
        if found is None:
            with one_thread():
                store.save(name, config.compute(device))
            # Read back, so that a fresh result and a stored one are the same to the last bit.
            found = store.load(name)
    if found is None:
        raise OSError(f"the result just written to {store.path(name)} cannot be read back")
    return found


class Progress:
    """Points done, running and remaining time, appended to the file that `ICL_PROGRESS` names.

    A file, not a stream: what a chapter prints is compared, and anything on stderr is a failure there.
    """

    def __init__(self, total: int, jobs: int) -> None:
        self.total, self.jobs, self.start = total, jobs, time.monotonic()
        self.file = os.environ.get("ICL_PROGRESS")

    def report(self, done: int) -> None:
        """Note that `done` points are finished."""
        if not self.file:
            return
        remaining = (time.monotonic() - self.start) / done * (self.total - done)
        running = min(self.jobs, self.total - done)
        with open(self.file, "a") as out:
            out.write(f"{done} of {self.total} points done, {running} running, about {remaining:.0f} s left\n")

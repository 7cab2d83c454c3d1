"""Who computes the points of a sweep: this process, more processes on this machine, or a Dask cluster."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from icl_lib.running.digest import LIBRARY, check_unchanged, files_of, library_digest

# Seconds in which a first worker must have come to a scheduler.
PATIENCE = 60


@dataclass(frozen=True)
class Crew:
    """Who computes: `size()` of them at this moment. A cluster's workers must have the library of digest `library`."""

    size: Callable[[], int]
    library: str | None = None


@contextmanager
def workers(jobs: int, scheduler: str | None) -> Iterator[Crew]:
    """Inside, joblib's work goes to `jobs` processes here, or to the cluster at `scheduler`; yields who they are.

    A cluster's workers must have one thread each, because PyTorch's number of threads belongs to a process, and
    this very library, because results are filed under its digest. Results go to the store's folder, which all
    machines must see under one path.
    Raises `ModuleNotFoundError` without the optional extra, `OSError` where no scheduler answers or no worker comes,
    `RuntimeError` for workers that do not fit.
    """
    if scheduler is None:
        with warnings.catch_warnings():
            # A worker whose memory has grown ends after its point, and joblib starts another: nothing is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield Crew(lambda: jobs)
        return
    import joblib

    try:
        from distributed import Client

        from icl_lib.running.growing_cluster import GrowingCluster
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "SCHEDULER needs Dask, which is an optional extra: pip install 'icl-lib[cluster]'"
        ) from None
    with Client(scheduler, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise TimeoutError(f"SCHEDULER must have a worker within {PATIENCE} s, none came to {scheduler}") from None
        library = library_digest(_modules())
        client.run(check_worker, library)
        with joblib.parallel_config(backend=GrowingCluster(client=client)):
            yield Crew(lambda: len(client.scheduler_info(-1)["workers"]), library)


def check_worker(library: str, dask_worker: Any = None) -> None:
    """Raise `RuntimeError` unless this process is a worker with one thread and with the library of this digest.

    Asked of all workers before a sweep, and again at each point, since a worker may come late. Dask gives the worker
    to what it runs outside a task.
    """
    from distributed import get_worker

    worker = dask_worker or get_worker()
    if worker.state.nthreads != 1:
        found = f"{worker.state.nthreads} at {worker.address}"
        raise RuntimeError(f"SCHEDULER must have workers with one thread each (--nthreads 1), got {found}")
    if _library_of_process() != library:
        raise RuntimeError(f"SCHEDULER must have workers with this icl_lib, another one is at {worker.address}")


def _modules() -> list[str]:
    """The modules in which experiments stand: together they reach all that one can reach."""
    rooms = ("softmax_regression", "classification", "bounds")
    files = [LIBRARY / "linear_regression.py", *(path for room in rooms for path in (LIBRARY / room).glob("*.py"))]
    return [".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts) for path in sorted(files)]


@functools.cache
def _library_of_process() -> str:
    # Once a process: a worker has imported the text of its start, whatever is edited while it runs.
    check_unchanged(path for module in _modules() for path in files_of(module))
    return library_digest(_modules())

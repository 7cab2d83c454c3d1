"""Who computes the points of a sweep: this process, more processes on this machine, or a Dask cluster."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icl_lib.digest import library_digest


@contextmanager
def workers(jobs: int, scheduler: str | None) -> Iterator[int]:
    """Inside, joblib's work goes to `jobs` processes here, or to the cluster at `scheduler`; yields their number.

    A cluster's workers must have one thread each, because PyTorch's number of threads belongs to a process, and
    this very library, because results are filed under its digest. Results go to the store's folder, which all
    machines must see under one path.
    Raises `ModuleNotFoundError` without the optional extra, `OSError` where no scheduler answers, `RuntimeError`
    for workers that do not fit.
    """
    if scheduler is None:
        with warnings.catch_warnings():
            # A worker whose memory has grown ends after its point, and joblib starts another: nothing is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield jobs
        return
    import joblib

    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "SCHEDULER needs Dask, which is an optional extra: pip install 'icl-lib[cluster]'"
        ) from None
    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        threads = {address: worker["nthreads"] for address, worker in client.scheduler_info(-1)["workers"].items()}
        if any(count != 1 for count in threads.values()):
            raise RuntimeError(f"SCHEDULER must have workers with one thread each (--nthreads 1), got {threads}")
        here, there = _library(), client.run(_library)
        if any(digest != here for digest in there.values()):
            raise RuntimeError(f"SCHEDULER must have workers with this icl_lib, another one is on {list(there)}")
        with joblib.parallel_config(backend="dask", client=client):
            yield len(threads)


def _library() -> str:
    """Digest of every module that an experiment can reach."""
    folder = Path(__file__).parent / "experiments"
    return library_digest([f"icl_lib.experiments.{path.stem}" for path in sorted(folder.glob("*.py"))])

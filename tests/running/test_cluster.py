"""Sweeps on a Dask cluster: a real scheduler and two real worker processes on this machine."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from toy_experiment import Toy, computed

from icl_lib.running import workers
from icl_lib.running.sweep import sweep
from icl_lib.softmax_regression.closeness import Closeness

SMALL = Closeness(n=5, d=2, repetitions=2, steps=5, batch=30, tuning=40, test=40, record_every=2)


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Dask process that ends with the block."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


class Cluster:
    """A scheduler on a free port of this machine and its workers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.file = folder / "scheduler.json"
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        stack.enter_context(process(*scheduler, "--scheduler-file", str(self.file)))

    @property
    def address(self) -> str:
        """tcp://127.0.0.1:port."""
        for _ in range(300):
            if self.file.is_file() and self.file.read_text().endswith("}"):
                return json.loads(self.file.read_text())["address"]
            time.sleep(0.1)
        raise TimeoutError("the scheduler has not started")

    def add_worker(self, *options: str) -> None:
        """One more worker process; with nobody to start it again when it dies."""
        worker = ("distributed.cli.dask_worker", self.address, "--no-nanny", "--no-dashboard", *options)
        self.stack.enter_context(process(*worker, "--local-directory", str(self.folder)))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A scheduler without workers, and a store of its own."""
    monkeypatch.setenv("ICL_STORE", str(tmp_path / "results"))
    monkeypatch.delenv("SCHEDULER", raising=False)
    (tmp_path / "log").mkdir()
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_a_cluster_gives_the_same_bytes_and_a_killed_worker_loses_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        cluster.add_worker("--nthreads", "1")
    monkeypatch.setenv("SCHEDULER", cluster.address)
    monkeypatch.setenv("ICL_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setenv("ICL_STORE", "off")
    configs = [replace(SMALL, d=d) for d in (1, 2, 3)]
    there = sweep(configs)
    monkeypatch.delenv("SCHEDULER")
    for a, b in zip(there, sweep(configs), strict=True):
        assert all(a[name].values.tobytes() == b[name].values.tobytes() for name in a)

    # A point that takes its worker with it, in the middle: the other worker does the rest, and it again.
    store, log = str(tmp_path / "results"), str(tmp_path / "log")
    monkeypatch.setenv("ICL_STORE", store)
    toys = [Toy(log, point, seconds=0.3, kills_after=1 if point == 3 else None, store=store) for point in range(8)]
    results = sweep(toys, scheduler=cluster.address)
    assert [int(result.square) for result in results] == [point**2 for point in range(8)]
    assert [int(result.threads) for result in results] == [1] * 8
    assert [len(computed(log, point)) for point in range(8)] == [1, 1, 1, 2, 1, 1, 1, 1]
    assert len({name.split("-")[2] for name in computed(log)}) == 2
    assert str(os.getpid()) not in {name.split("-")[2] for name in computed(log)}
    assert sweep(toys[::-1])[0].equals(results[7])
    assert len(computed(log)) == 9
    last = (tmp_path / "progress").read_text().splitlines()[-1]
    assert last == "8 of 8 points done, 0 running, about 0 s left"


@contextmanager
def joined_later(cluster: Cluster, log: str, *options: str, count: int = 1) -> Iterator[None]:
    """Inside, `count` workers come to the cluster once a point has begun."""

    over = threading.Event()

    def join() -> None:
        while not computed(log):
            if over.wait(0.05):
                return
        for _ in range(count):
            cluster.add_worker(*options)

    thread = threading.Thread(target=join)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_workers_that_come_later_get_points_too(cluster: Cluster, tmp_path: Path) -> None:
    """As on a queue, where jobs start one after the other. Three at once: one more than joblib hands to one worker."""
    cluster.add_worker("--nthreads", "1")
    log = str(tmp_path / "log")
    with joined_later(cluster, log, "--nthreads", "1", count=2):
        results = sweep([Toy(log, point, together=3) for point in range(6)], scheduler=cluster.address)
    assert [int(result.square) for result in results] == [point**2 for point in range(6)]


UNFIT = r"SCHEDULER must have workers with one thread each \(--nthreads 1\), got 2 at tcp://"


def test_workers_that_do_not_fit_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker("--nthreads", "2")
    toy = Toy(str(tmp_path / "log"), 1)
    with pytest.raises(RuntimeError, match=UNFIT):
        sweep([toy], scheduler=cluster.address)
    assert not computed(toy.log)


def test_a_worker_that_does_not_fit_is_refused_when_it_comes_later(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker("--nthreads", "1")
    log = str(tmp_path / "log")
    with joined_later(cluster, log, "--nthreads", "2"), pytest.raises(RuntimeError, match=UNFIT):
        sweep([Toy(log, point, together=2) for point in range(4)], scheduler=cluster.address)
    assert len({name.split("-")[2] for name in computed(log)}) == 1


def test_a_cluster_without_workers_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with (
        pytest.raises(TimeoutError, match="SCHEDULER must have a worker within 1 s, none came to tcp://"),
        workers.workers(1, cluster.address),
    ):
        pass


def test_workers_with_another_library_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.add_worker("--nthreads", "1")
    monkeypatch.setattr(workers, "library_digest", lambda modules: "another")
    with (
        pytest.raises(RuntimeError, match="SCHEDULER must have workers with this icl_lib"),
        workers.workers(1, cluster.address),
    ):
        pass


def test_without_dask_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'icl-lib\[cluster\]'"), workers.workers(1, "tcp://x:1"):
        pass


def test_no_scheduler_at_the_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OSError, match=r"127\.0\.0\.1:1"),
        workers.workers(1, "tcp://127.0.0.1:1"),
    ):
        pass

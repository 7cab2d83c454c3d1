"""What a point of a sweep costs beside its training steps: seconds, and bytes on disk."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.settings import MAIN
from benchmarks.timing import spread
from icl_lib.running.store import Store, key
from icl_lib.softmax_regression import closeness as experiment

ROUNDS = 5


def costs() -> dict[str, object]:
    """Rate and test tasks of one repetition, and a stored result written and read, all at the main size."""
    config, cpu = replace(MAIN.closeness(400), record_every=20), torch.device("cpu")
    snapshots = torch.zeros(config.steps // config.record_every + 1, config.d, config.d, dtype=torch.float64)
    # A short training gives a result of the full shape, which is all that its size and its file depend on.
    short = replace(config, steps=20, record_every=1, batch=10)
    result, name = short.compute(cpu), key(short, cpu)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        timed = {
            "tune a repetition": lambda: experiment.tune_rate(config, 0),
            "test a repetition": lambda: experiment.test_repetition(config, 0, snapshots, 0.5, 0.5),
            "save a result": lambda: store.save(name, result),
            "load a result": lambda: store.load(name),
        }
        seconds = {told: spread([_seconds(call) for _ in range(ROUNDS)]) for told, call in timed.items()}
        return {"seconds": seconds, "bytes of a result": store.path(name).stat().st_size}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

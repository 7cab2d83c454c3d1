"""The training step of classification beside the cost of drawing its data, and beside the authors' way to take one."""

import itertools
import sys
from collections.abc import Mapping

import torch

from benchmarks.contestants import Steps
from benchmarks.settings import AUTHORS, DATA, OURS, TRAINING
from benchmarks.timing import race, ratios, spread, waiting
from icl_lib.attention import KINDS
from icl_lib.classification.closeness import batches, paper_scale, train_weights
from icl_lib.classification.contexts import SphereClassification
from icl_lib.running.streams import stream

TASK = SphereClassification(n=100, d=5, classes=5, balance="context and query")
SMALL = SphereClassification(n=9, d=3, classes=3, balance="context and query")
# Contexts of an update in the authors' settings, and what they need of them.
AUTHORS_BATCH = 2048
CONTEXTS = "contexts"


def rows(device: torch.device, *, small: bool = False) -> list[dict[str, object]]:
    """One row for each kind of attention and contestant; `ratio` is to the data."""
    task = SMALL if small else TASK
    found: list[dict[str, object]] = []
    for kind in KINDS:
        config = paper_scale(task, kind)
        sizes = {"batch": config.batch, "repetitions": config.repetitions}
        entries = {TRAINING: _training(task, kind, device), DATA: _draw(task, kind, device)}
        seconds = race(entries, 2 if small else 9, waiting(device))
        for name in seconds:
            times, ratio = spread(seconds[name]), ratios(seconds, name, DATA)
            found.append({"sweep": "classification", **_sizes(task), **sizes, "kind": kind, "contestant": name})
            found[-1] |= {"seconds": times, "ratio": ratio}
            print(f"{kind} {name} {1e3 * times['median']:.2f} ms, {ratio['median']:.2f} × its data", flush=True)
    return found


def authors_rows(device: torch.device, *, small: bool = False) -> list[dict[str, object]]:
    """One row for each part of an update at the authors' size and contestant; `ratio` is to this library.

    The parts are the contexts alone and a whole update of either kind of attention, contexts included. JAX computes
    on the CPU here, and the contestant is left out on another device and where JAX is not installed.
    """
    task, batch = (SMALL, 8) if small else (TASK, AUTHORS_BATCH)
    sizes = {"repetitions": 1, "batch": batch}
    parts = {CONTEXTS: {OURS: _draw(task, "linear", device, **sizes)}}
    parts |= {kind: {OURS: _training(task, kind, device, **sizes)} for kind in KINDS}
    for part, steps in _authors_way(task, batch, device).items():
        parts[part][AUTHORS] = steps
    found: list[dict[str, object]] = []
    for part, entries in parts.items():
        seconds = race(entries, 2 if small else 5, waiting(device))
        for name in seconds:
            times, ratio = spread(seconds[name]), ratios(seconds, name, OURS)
            found.append({"sweep": "authors", **_sizes(task), **sizes, "part": part, "contestant": name})
            found[-1] |= {"seconds": times, "ratio": ratio}
            told = f"{1e3 * times['median']:.1f} ms, {ratio['median']:.1f} × ours"
            print(f"{batch} contexts, {part}: {name} {told}", flush=True)
    return found


def _authors_way(task: SphereClassification, batch: int, device: torch.device) -> dict[str, Steps]:
    if device.type != "cpu":
        return {}
    try:
        from benchmarks import authors_way
    except ModuleNotFoundError as error:
        print(f"left out: {AUTHORS} ({error}; pip install '.[bench]')", file=sys.stderr)
        return {}
    for kind in KINDS:
        authors_way.check(task, kind)
    whole = {kind: authors_way.steps(task, kind, batch) for kind in KINDS}
    return {CONTEXTS: authors_way.draws(task, batch), **whole}


def _sizes(task: SphereClassification) -> Mapping[str, object]:
    return {"n": task.n, "d": task.d, "classes": task.classes, "balance": task.balance}


def _training(task: SphereClassification, kind: str, device: torch.device, **sizes: int) -> Steps:
    def train(steps: int) -> object:
        return train_weights(paper_scale(task, kind, steps=steps, warm_up=0, **sizes), device, [steps])

    return train


def _draw(task: SphereClassification, kind: str, device: torch.device, **sizes: int) -> Steps:
    """The contexts as the training draws them, for several updates at once where those are small."""
    config = paper_scale(task, kind, **sizes)
    generators = [stream(0, "train", r, device) for r in range(config.repetitions)]

    def draw(steps: int) -> None:
        for _ in itertools.islice(batches(config, generators, device), steps):
            pass

    return draw

"""The training step of classification beside the cost of drawing its data."""

from collections.abc import Mapping

import torch

from benchmarks.contestants import Steps
from benchmarks.settings import DATA, TRAINING
from benchmarks.timing import race, ratios, spread, waiting
from icl_lib.attention import KINDS
from icl_lib.classification.closeness import paper_scale, train_weights
from icl_lib.classification.contexts import SphereClassification
from icl_lib.running.streams import stream


def rows(device: torch.device, *, small: bool = False) -> list[dict[str, object]]:
    """One row for each kind of attention and contestant; `ratio` is to the data."""
    task = SphereClassification(n=9, d=3, classes=3) if small else SphereClassification(n=100, d=5, classes=5)
    found: list[dict[str, object]] = []
    for kind in KINDS:
        seconds = race(_entries(task, kind, device), 2 if small else 9, waiting(device))
        for name in seconds:
            times, ratio = spread(seconds[name]), ratios(seconds, name, DATA)
            sizes = {"n": task.n, "d": task.d, "classes": task.classes}
            found.append({"sweep": "classification", **sizes, "kind": kind, "contestant": name})
            found[-1] |= {"seconds": times, "ratio": ratio}
            print(f"{kind} {name} {1e3 * times['median']:.2f} ms, {ratio['median']:.2f} × its data", flush=True)
    return found


def _entries(task: SphereClassification, kind: str, device: torch.device) -> Mapping[str, Steps]:
    config = paper_scale(task, kind)
    generators = [stream(0, "train", r, device) for r in range(config.repetitions)]

    def train(steps: int) -> object:
        return train_weights(paper_scale(task, kind, steps=steps, warm_up=0), device, [steps])

    def draw(steps: int) -> None:
        for _ in range(steps):
            for generator in generators:
                task.sample_every_query(config.batch, generator, device)

    return {TRAINING: train, DATA: draw}

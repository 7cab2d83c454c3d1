"""An experiment that costs nothing, counts how often it is computed, and can do on demand what workers die of."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray

KEPT: list[bytes] = []


@dataclass(frozen=True)
class Toy:
    """`point` squared; each computation leaves a file in `log`, with the process that did it, and `keeps` bytes.

    With `kills_after` the first computation ends its process, once that many results are in `store`: a folder by name,
    since a worker that an earlier test has started knows that test's environment. With `together` it ends only when
    that many processes have begun one.
    """

    log: str
    point: int
    device: str = "cpu"
    seconds: float = 0.0
    fails: bool = False
    kills_after: int | None = None
    store: str | None = None
    together: int = 1
    keeps: int = 0

    def compute(self, device: torch.device) -> xarray.Dataset:
        attempt = len(computed(self.log, self.point))
        Path(self.log, f"{self.point}-{attempt}-{os.getpid()}").touch()
        time.sleep(self.seconds)
        KEPT.append(b"1" * self.keeps)
        if self.fails:
            raise ArithmeticError(f"point {self.point} fails")
        if self.kills_after is not None and attempt == 0:
            while stored(self.store) < self.kills_after:
                time.sleep(0.05)
            os._exit(1)
        start = time.monotonic()
        while len({name.split("-")[2] for name in computed(self.log)}) < self.together:
            if time.monotonic() - start > 60:
                raise TimeoutError(f"{self.together} processes have not come")
            time.sleep(0.05)
        return xarray.Dataset({"square": self.point**2, "threads": torch.get_num_threads()})


def computed(log: str | Path, point: int | str | None = None) -> list[str]:
    """What was computed, one entry for each time."""
    pattern = "*" if point is None else f"{point}-*"
    return sorted(path.name for path in Path(log).glob(pattern))


def stored(folder: str | None) -> int:
    """How many results are whole in the store: the checksum comes last."""
    if folder is None:
        raise ValueError("kills_after needs store, the folder in which results are counted")
    return len(list(Path(folder).glob("*.sha256")))


@dataclass(frozen=True)
class ToyOfMany(Toy):
    """The same; those with equal `draws`, the point's parity, are computed together and leave one file more."""

    @property
    def draws(self) -> int:
        return self.point % 2

    @staticmethod
    def compute_together(configs: "list[ToyOfMany]", device: torch.device) -> list[xarray.Dataset]:
        Path(configs[0].log, f"together-{'-'.join(str(config.point) for config in configs)}").touch()
        return [config.compute(device) for config in configs]

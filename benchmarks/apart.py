"""Contestants in a process each, whose memory no other has shaped: `python -m benchmarks.apart CONTESTANT SMALL`."""

import json
import sys

import torch

from benchmarks import machine
from benchmarks.contestants import contestants
from benchmarks.settings import LOOP, MAIN, OURS, SMALL
from benchmarks.timing import race, ratios, spread, waiting

ROUNDS = 7


def rows(*, small: bool = False) -> list[dict[str, object]]:
    """Seconds of the loop and of this library at the main size, in turn, each time in a fresh process on the CPU.

    In one process the loop keeps the memory that the library makes it keep; here it has what the C library gives.
    """
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, LOOP)}
    for _ in range(1 if small else ROUNDS):
        for name in seconds:
            seconds[name].append(machine.in_own_process("benchmarks.apart", name, str(small)))
    found: list[dict[str, object]] = []
    for name in seconds:
        times, ratio = spread(seconds[name]), ratios(seconds, name, OURS)
        found.append({"contestant": name, "seconds": times, "ratio": ratio})
        print(f"alone: {name} {1e3 * times['median']:.2f} ms, {ratio['median']:.2f} × ours", flush=True)
    return found


def main(name: str, *, small: bool) -> None:
    """Print the seconds a step that a contestant takes here, the median of three measurements."""
    machine.use_one_core()
    cpu = torch.device("cpu")
    entries = contestants(SMALL if small else MAIN, cpu, [name])
    print(json.dumps(spread(race(entries, 3, waiting(cpu))[name])["median"]))


if __name__ == "__main__":
    main(sys.argv[1], small=sys.argv[2] == "True")

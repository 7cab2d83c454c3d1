"""Peak memory of a training step, each in a process of its own: `python -m benchmarks.memory <contestant> <n>`."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.contestants import contestants
from benchmarks.settings import LOOP, MAIN, OURS

SIZES = {OURS: (25, 200, 1000, 10_000), LOOP: (25, 200, 1000)}


def peaks() -> list[dict[str, object]]:
    """Megabytes above what an idle process holds, for growing documents."""
    found: list[dict[str, object]] = []
    for name, sizes in SIZES.items():
        for n in sizes:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", name, str(n)], capture_output=True, text=True, check=True
            )
            found.append({"contestant": name, "n": n, "megabytes": json.loads(done.stdout)})
    return found


def _peak() -> float:
    """Megabytes this process has held at most."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `getrusage`: on Linux its peak counts the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(name: str, n: int) -> None:
    """Print the megabytes that two steps add to an idle process."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    # A first step at a small size loads all code.
    contestants(replace(MAIN, n=5, d=2, batch=2, repetitions=2), cpu)[name](1)
    idle = _peak()
    contestants(replace(MAIN, n=n), cpu)[name](2)
    print(json.dumps(_peak() - idle))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

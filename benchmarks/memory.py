"""Peak memory of a few training steps, in a process of their own: `python -m benchmarks.memory CONTESTANT N DEVICE`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.contestants import contestants
from benchmarks.machine import in_own_process
from benchmarks.settings import LOOP, MAIN, OURS
from icl_lib.running.training import STEPS_BEFORE_CAPTURE

# On a GPU the last of them is recorded.
STEPS = STEPS_BEFORE_CAPTURE + 1
SIZES = {OURS: (25, 200, 1000, 10_000), LOOP: (25, 200, 1000)}


def peaks(device: torch.device) -> list[dict[str, object]]:
    """Megabytes above what an idle process holds, for growing documents; on a GPU those of its own memory."""
    found: list[dict[str, object]] = []
    for name, sizes in SIZES.items():
        for n in sizes:
            megabytes = in_own_process("benchmarks.memory", name, str(n), device.type)
            found.append({"contestant": name, "n": n, "megabytes": megabytes})
    return found


def peak(device: torch.device) -> float:
    """Megabytes this process has held at most: on a GPU its tensors' there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `getrusage`: on Linux its peak counts the process that started this one.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(name: str, n: int, device: torch.device) -> None:
    """Print the megabytes that a few steps add to an idle process."""
    torch.set_num_threads(1)
    # A first step at a small size loads all code.
    contestants(replace(MAIN, n=5, d=2, batch=2, repetitions=2), device, [name])[name](1)
    idle = peak(device)
    contestants(replace(MAIN, n=n), device, [name])[name](STEPS)
    print(json.dumps(peak(device) - idle))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), torch.device(sys.argv[3]))

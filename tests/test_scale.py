"""The estimates of what larger runs cost rest on what a step really holds."""

import subprocess
import sys

import pytest

from icl_lib.scale import ARRAYS

STEP = """
import sys
from pathlib import Path
import torch
from icl_lib import reduced_sampling
from icl_lib.randomness import stream
from icl_lib.tasks import SoftmaxRegression

def step(n):
    drawn = reduced_sampling.draw(SoftmaxRegression(n, 2), 1, [stream(0, "train")], torch.device("cpu"), torch.float32)
    reduced_sampling.matrix_gradient(drawn, torch.ones(1, 2, 2))

def peak():
    # Not `getrusage`, whose peak counts the process that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("VmHWM:")).split()[1])

torch.set_num_threads(1)
step(10)
before = peak()
step(int(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory that Linux keeps")
def test_a_step_holds_so_many_arrays_of_a_task() -> None:
    n = 8_000_000
    done = subprocess.run([sys.executable, "-c", STEP, str(n)], capture_output=True, text=True, check=True)
    assert abs(int(done.stdout) / (4 * n) - ARRAYS) < 0.2

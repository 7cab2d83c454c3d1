"""The estimates of what larger runs cost rest on what a step really holds."""

import subprocess
import sys

from icl_lib.display.scale import ARRAYS

STEP = """
import sys
import torch
from benchmarks.memory import peak
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.running.streams import stream
from icl_lib.softmax_regression.documents import SoftmaxRegression

def step(n):
    drawn = reduced_sampling.draw(SoftmaxRegression(n, 2), 1, [stream(0, "train")], torch.device("cpu"), torch.float32)
    reduced_sampling.matrix_gradient(drawn, torch.ones(1, 2, 2))

torch.set_num_threads(1)
cpu = torch.device("cpu")
step(10)
before = peak(cpu)
step(int(sys.argv[1]))
print(2**20 * (peak(cpu) - before))
"""


def test_a_step_holds_so_many_arrays_of_a_task() -> None:
    n = 8_000_000
    done = subprocess.run([sys.executable, "-c", STEP, str(n)], capture_output=True, text=True, check=True)
    assert abs(float(done.stdout) / (4 * n) - ARRAYS) < 0.2

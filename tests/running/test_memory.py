"""A training loop works in memory that it keeps, and does not fetch it page by page at every step."""

import platform
import subprocess
import sys

import pytest

from icl_lib.running.memory import LARGEST_BYTES

# Whether glibc fetches an array from the system and gives it back when it is freed: bytes in such blocks.
ARRAY = """
import ctypes
import torch
from icl_lib.running.memory import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    _fields_ = [(f"field{k}", ctypes.c_size_t) for k in range(10)]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2

def fetched():
    before = mallinfo2().field4
    array = torch.empty(2**22)
    return mallinfo2().field4 - before

print(fetched())
keep_freed_memory()
print(fetched())
"""
TRAINING = """
import resource
import torch
from icl_lib.softmax_regression.closeness import Closeness, train_matrices

torch.set_num_threads(1)

def train():
    train_matrices(Closeness(200, 20, repetitions=2, steps=100), torch.device("cpu"), [100])

train()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
train()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100)
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says something of glibc's malloc only")


def printed(program: str) -> list[float]:
    """What a fresh process prints, whose memory has no history."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_an_array_is_not_fetched_from_the_system_afterwards() -> None:
    by_default, afterwards = printed(ARRAY)
    assert by_default >= 2**24
    assert afterwards == 0


def test_a_training_step_fetches_hardly_a_page() -> None:
    # One array of a step is two hundred pages; without what this file is about it may be a thousand a step.
    assert printed(TRAINING)[0] < 30


def test_the_block_is_one_that_glibc_takes_as_a_threshold() -> None:
    """DEFAULT_MMAP_THRESHOLD_MAX is 32 MiB where a long has 64 bits; the block's header and alignment fit too."""
    assert 2**24 < LARGEST_BYTES < 2**25 - 2**16

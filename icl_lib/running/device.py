"""Which device trains: an argument, else the environment variable `ICL_DEVICE`, else the fastest there is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice

DEVICES = ("auto", "cpu", "cuda", "mps")


@checked()
def choose(device: str = "auto") -> torch.device:
    """The device called `device`; `"auto"` takes `ICL_DEVICE`, then CUDA, then MPS, then the CPU.

    Raises `ValueError` for another name and for a device that this machine lacks.
    """
    check_choice("device", device, DEVICES)
    if device == "auto":
        device = os.environ.get("ICL_DEVICE") or "auto"
        check_choice("ICL_DEVICE", device, DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[device]:
        raise ValueError(
            f"device must be one that this machine has ({[k for k in present if present[k]]}), got {device!r}"
        )
    return torch.device(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread inside, so that a result is the same bytes however many cores or workers there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

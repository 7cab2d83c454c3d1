"""The machine in words: enough to compare numbers by, and nothing that tells whose it is."""

import json
import os
import platform
import subprocess
import sys

import torch


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_class(device: torch.device, cores: int) -> str:
    """Cores, processor family with its vector instructions, and the GPU, as in "2 cores, x86-64 AVX512, no GPU"."""
    processor = f"{platform.machine().replace('_', '-')} {torch.backends.cpu.get_cpu_capability()}"
    gpu = {"cpu": "no GPU", "cuda": _gpu(device), "mps": "Apple GPU"}[device.type]
    return f"{cores} core{'s' * (cores != 1)}, {processor}, {gpu}"


def _gpu(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def versions() -> dict[str, str]:
    """Versions of what was timed."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        import jax
    except ModuleNotFoundError:
        return found
    return {**found, "jax": jax.__version__}


def in_own_process(module: str, *arguments: str) -> float:
    """The number that `python -m MODULE ARGUMENTS` prints as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return float(json.loads(done.stdout))


def use_one_core() -> None:
    """Bind this process to one core, whatever threads PyTorch and XLA start, and tell PyTorch so."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

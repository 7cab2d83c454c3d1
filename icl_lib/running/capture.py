"""A training step recorded once as a CUDA graph and replayed, so that the GPU does not wait for Python between kernels.

Where a step is some hundred small kernels their launches take longer than their work. On the CPU there is nothing to
record: a step is then run as it is written.
"""

import os
from collections.abc import Callable, Sequence

import torch
from torch import Generator

from icl_lib.running.validation import check_choice

Step = Callable[[], None]
Recorder = Callable[[Step, Sequence[Generator]], Step]
MODES = ("on", "off")


def cuda_graph(step: Step, generators: Sequence[Generator]) -> Step:
    """What replays `step`, which is not run by being recorded; `generators` are those that it draws from.

    Each replay draws on from where the generators stand. Everything that changes from step to step must change in
    tensors that the step reads or writes in place: numbers of Python are part of the record.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def recorder(device: torch.device) -> Recorder | None:
    """What records steps on `device`, None where steps are run as they are: on any but CUDA, or by `ICL_CAPTURE=off`.

    Raises `ValueError` for another value of the environment variable.
    """
    mode = os.environ.get("ICL_CAPTURE") or "on"
    check_choice("ICL_CAPTURE", mode, MODES)
    return cuda_graph if device.type == "cuda" and mode == "on" else None

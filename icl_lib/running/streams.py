"""Named random streams: one for each purpose and repetition, so that changing one moves no other."""

import hashlib

import torch

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_integer

PURPOSES = ("init", "train", "tune", "test")


@checked()
def stream(root: int, purpose: str, repetition: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` whose seed depends on (root, purpose, repetition) and on nothing else.

    `purpose` is the name of the stream: the first word must be one of `PURPOSES`, more may follow after a
    slash (`"test/out-of-distribution"`).

    Raises `TypeError` or `ValueError` for a root or repetition below 0 and for an unknown purpose.
    """
    check_integer("root", root, 0)
    check_integer("repetition", repetition, 0)
    check_choice("purpose", str(purpose).split("/")[0], PURPOSES)
    digest = hashlib.sha256(f"{root}/{purpose}/{repetition}".encode()).digest()
    # PyTorch's CPU generator keeps the low 32 bits of a seed, so no more are worth drawing.
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:4], "big"))

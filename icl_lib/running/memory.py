"""Memory that a training loop uses again, instead of giving it back to the system and asking for it anew each step."""

import torch

# glibc's malloc lets its thresholds grow with the largest block that it has seen freed, up to one of 32 MiB.
LARGEST_BYTES = 31 * 2**20


def keep_freed_memory() -> None:
    """Let this process keep some 60 MiB that it frees, where its memory is glibc's; elsewhere nothing changes.

    By default glibc returns freed blocks of a few hundred kilobytes to the system. A step that works in such blocks
    then fetches them page by page, each filled with zeros, every time. To free one large block, which nobody has
    written to, raises the thresholds from which it does so (`mallopt(3)`: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD).
    """
    torch.empty(LARGEST_BYTES, dtype=torch.uint8)

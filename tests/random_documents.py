"""Hypothesis strategies for the core's inputs: sizes and a seed are drawn, PyTorch draws the numbers."""

import torch
from hypothesis import strategies as st
from torch import Tensor

# Many small operations: a second thread only waits.
torch.set_num_threads(1)

seeds = st.integers(0, 2**31 - 1)
batches = st.sampled_from([(), (1,), (3,), (2, 3)])


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normals in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def documents(
    draw: st.DrawFn, largest_n: int = 12, largest_d: int = 6, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """A (..., n, d), x (..., d) and a probability vector b (..., n), in float64."""
    batch, seed = draw(batches), draw(seeds)
    n, d = draw(st.integers(1, largest_n)), draw(st.integers(1, largest_d))
    A, x = normal(seed, *batch, n, d), scale * normal(seed + 1, *batch, d)
    return A, x, torch.softmax(normal(seed + 2, *batch, n), dim=-1)

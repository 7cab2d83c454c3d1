"""Explicit tasks a block at a time: those of `SoftmaxRegression.sample`, by what evaluation takes from each.

A million words in twenty dimensions are 160 MB in float64, so a thousand such documents are never held at once.
Of the documents only the read-outs h are kept until their query documents are drawn.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_integer
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout, predict

# Words of a block: enough to be quick about short documents, and a long one is a block of its own.
WORDS = 20_000
# PyTorch fills memory with normals in groups of so many: parts of whole groups hold the numbers of the whole.
GROUP = 16


class Block(NamedTuple):
    """Tasks in float64: read-outs h = Aᵀ(b − mean b) (B, d), query documents (B, n, d) and their targets (B, n)."""

    h: Tensor
    A_query: Tensor
    b_query: Tensor


@checked()
def blocks(task: SoftmaxRegression, count: int, generator: Generator, words: int = WORDS) -> Iterator[Block]:
    """The tasks that `task.sample(count, generator)` draws, in their order, about `words` words at a time.

    They are drawn in float32 and used in float64: the rounding is part of the task. The generator is on the CPU.
    """
    check_integer("count", count, 1)
    check_integer("words", words, 1)
    sizes = block_sizes(task, count, words)
    inputs = torch.randn(count, task.d, generator=generator) * (task.scale / math.sqrt(task.d))
    x = inputs.double().split(sizes)
    if task.query == "same":
        for part, A in zip(x, _documents(task, sizes, generator), strict=True):
            b = predict(A, part)
            yield _stretched(task, Block(centred_readout(A, b), A, b))
        return
    h = [centred_readout(A, predict(A, part)) for part, A in zip(x, _documents(task, sizes, generator), strict=True)]
    for read, part, A in zip(h, x, _documents(task, sizes, generator), strict=True):
        yield _stretched(task, Block(read, A, predict(A, part)))


@checked(counts=("count", "words"))
def block_sizes(task: SoftmaxRegression, count: int, words: int) -> list[int]:
    """Tasks in each block: whole groups of normals in all but the last, and the last not less than a group."""
    numbers = task.n * task.d
    unit = GROUP // math.gcd(GROUP, numbers)
    size = max(1, words // task.n // unit) * unit
    sizes = [size] * (count // size) + [count % size] * (count % size > 0)
    if len(sizes) > 1 and sizes[-1] * numbers < GROUP:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def _stretched(task: SoftmaxRegression, block: Block) -> Block:
    """The same tasks for words with the covariance of `task`: targets stay, h = Σ^{1/2} h of words with I."""
    return Block(task.stretch(block.h), task.stretch(block.A_query), block.b_query)


def _documents(task: SoftmaxRegression, sizes: list[int], generator: Generator) -> Iterator[Tensor]:
    for size in sizes:
        yield torch.randn(size, task.n, task.d, generator=generator).double()

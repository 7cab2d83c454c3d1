"""Word vectors of a text: positive pointwise mutual information of its words, and the largest singular vectors of it.

All that is counted is counted in the training half of the text.
"""

import functools
import math
from collections import Counter
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_choice, check_integer
from icl_lib.softmax_regression import text

# How far apart two words stand that count as neighbours.
REACH = 5
# The power of the singular values by which a direction is stretched: see `sec-words`.
POWER = 0.5
LENGTHS = ("unit", "kept")


class Vectors(NamedTuple):
    """The vocabulary with the most frequent word first, its vectors (V, d), and both halves of the text in numbers.

    `train` and `test` (T,) hold the number of each word in the vocabulary, in the order of the text; other words are
    left out.
    """

    words: list[str]
    vectors: Tensor
    train: Tensor
    test: Tensor


@functools.cache
def of_the_text(d: int, size: int, lengths: str = "unit") -> Vectors:
    """Vectors in `d` dimensions of the `size` most frequent words of the training half of `text.load`, in float64.

    Their `lengths` are those of `embed`, or all √d. See `sec-words`.
    """
    check_choice("lengths", lengths, LENGTHS)
    halves = text.load()
    words = vocabulary(halves.train, size)
    train, test = (numbered(half, words) for half in halves)
    vectors = embed(mutual_information(cooccurrences(train, size, REACH)), d)
    if lengths == "unit":
        vectors = alike(vectors)
    return Vectors(words, vectors, torch.tensor(train), torch.tensor(test))


@checked()
def vocabulary(words: list[str], size: int) -> list[str]:
    """The `size` most frequent words, the most frequent first; of equally frequent ones the first by the alphabet.

    See `sec-words`.
    """
    counts = Counter(words)
    check_integer("size", size, 1, len(counts))
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


@checked()
def numbered(words: list[str], known: list[str]) -> list[int]:
    """The number in `known` of each word that is there. See `sec-words`."""
    numbers = {word: number for number, word in enumerate(known)}
    return [numbers[word] for word in words if word in numbers]


@checked(counts=("size", "reach"))
def cooccurrences(numbers: list[int], size: int, reach: int) -> Tensor:
    """How often two words stand within `reach` of each other in a text, in numbers below `size`; (size, size).

    It is symmetric. See `sec-words`.
    """
    if len(numbers) < 2:
        raise ValueError(f"numbers must hold at least two words, got {len(numbers)}")
    for number in (min(numbers), max(numbers)):
        check_integer("numbers", number, 0, size - 1)
    placed, counts = torch.tensor(numbers), torch.zeros(size * size, dtype=torch.float64)
    for apart in range(1, min(reach, len(numbers) - 1) + 1):
        counts += torch.bincount(placed[:-apart] * size + placed[apart:], minlength=size * size)
    counts = counts.view(size, size)
    return counts + counts.mT


@checked("counts: V V_")
def mutual_information(counts: Tensor) -> Tensor:
    """max(0, log(N_ij N / (N_i N_j))) (V, V), N_i and N the sums of the counts N_ij ≥ 0; 0 where there is no pair.

    See `sec-words`.
    """
    if not (bool((counts >= 0).all()) and bool((counts.sum(-1) > 0).all()) and bool((counts.sum(-2) > 0).all())):
        raise ValueError("counts must be >= 0 with a pair for each word, got a negative one, or a word without")
    expected = counts.sum(-1, keepdim=True) * counts.sum(-2, keepdim=True) / counts.sum()
    return (counts / expected).log().clamp_min(0)


@checked("information: V V_")
def embed(information: Tensor, d: int) -> Tensor:
    """Vectors U S^½ (V, d) of the `d` largest singular values, centred, of mean square 1.

    The entry of a singular vector that is largest in size is positive: so vectors do not depend on the processor. A
    singular value that is rounding of the largest is 0, as its vector is any. Raises `ValueError` where all vectors are
    the same, up to rounding. See `sec-words`.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    size = len(information)
    check_integer("d", d, 1, size - 1)
    largest = float(information.abs().max())
    if not largest > 0:
        raise ValueError("information must tell words apart, got zeros")
    start = numpy.full(size, 1 / numpy.sqrt(size))
    left, values, _ = svds(csr_array((information.double() / largest).numpy()), d, v0=start, solver="arpack")
    order = numpy.argsort(-values, kind="stable")
    left, values = torch.from_numpy(left[:, order].copy()), torch.from_numpy(values[order].copy())
    signs = left.gather(0, left.abs().argmax(0, keepdim=True)).sign()
    rounding = size * torch.finfo(values.dtype).eps
    vectors = left * signs * torch.where(values > rounding * values[0], values, 0.0) ** POWER
    centred = vectors - vectors.mean(0)
    scale = centred.square().mean().sqrt()
    if not float(scale) > rounding * float(vectors.square().mean().sqrt()):
        raise ValueError("information must tell words apart, got the same vector for all")
    return centred / scale


@checked("vectors: V d")
def alike(vectors: Tensor) -> Tensor:
    """The same directions, each vector with the length √d: so their mean square is 1. See `sec-words`."""
    size = vectors.norm(dim=-1, keepdim=True)
    if not bool((size > 0).all()):
        raise ValueError("vectors must all have a direction, got one that is 0")
    return vectors / size * math.sqrt(vectors.shape[-1])


@checked("vectors: V d", counts=("count",))
def nearest(vectors: Tensor, number: int, count: int) -> list[int]:
    """The numbers of the `count` words whose vectors have the largest cosine with that of a word. See `sec-words`."""
    check_integer("number", number, 0, len(vectors) - 1)
    check_integer("count", count, 1, max(1, len(vectors) - 1))
    unit = alike(vectors)
    return [k for k in (-(unit @ unit[number])).argsort(stable=True).tolist() if k != number][:count]

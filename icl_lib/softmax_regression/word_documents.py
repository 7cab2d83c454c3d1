"""Documents of real words: softmax-regression tasks whose words are vectors of a text's.

No word is at once in the training and in the test part. Independent words are drawn from every second word of the
vocabulary, uniformly, and tested on the others; windows are drawn from one half of the text, and tested on those of
the other half. The vectors are those of `word_vectors`, which saw the training half only.
"""

import functools
import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression import covariance
from icl_lib.softmax_regression.documents import Documents
from icl_lib.softmax_regression.problem import predict
from icl_lib.softmax_regression.word_vectors import LENGTHS, of_the_text

SOURCES = ("independent", "windows")
PARTS = ("train", "test")


@dataclass(frozen=True)
class WordDocuments:
    """Documents A of `n` words, vectors of the `vocabulary` most frequent ones in `d` dimensions; b = softmax(A x*).

    `source`: n words drawn independently and uniformly from half of the vocabulary, or n that follow one another in
    half of the text (`"windows"`); which half, `part` says. x* = Σ^{-1/2} z with z ~ N(0, scale² I/d) and the
    covariance Σ of the words of the training part, as they are drawn: so logits have the variance that they have on
    Gaussian words. The query document is another one of the same part with the same x*. `lengths` of vectors: all alike
    (`"unit"`), or those that they have. See `sec-words`.
    """

    n: int
    d: int = 20
    source: str = "independent"
    part: str = "train"
    scale: float = 1.0
    vocabulary: int = 2000
    lengths: str = "unit"

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)
        # Of each half of the vocabulary the covariance has an inverse.
        check_integer("vocabulary", self.vocabulary, 4)
        check_integer("d", self.d, 1, self.vocabulary // 2 - 1)
        check_choice("source", self.source, SOURCES)
        check_choice("part", self.part, PARTS)
        check_number("scale", self.scale, above=0)
        check_choice("lengths", self.lengths, LENGTHS)

    @property
    def covariance(self) -> Tensor:
        """Σ (d, d) of the training part's words, in float64."""
        return _covariance(replace(self, n=1, part="train", scale=1.0))

    @property
    def words(self) -> Tensor:
        """Half of the vocabulary, or of the text, from which a document is drawn, as vectors (words, d) in float64.

        Raises `ValueError` where windows are longer than that.
        """
        found = _words(replace(self, n=1, scale=1.0))
        if self.source == "windows" and self.n > len(found):
            raise ValueError(f"n must be at most the {len(found)} words of half of the text, got {self.n}")
        return found

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Documents:
        """`batch` tasks; normals are float32 whatever `dtype` is, targets are computed in `dtype`."""
        check_integer("batch", batch, 1)
        vectors, stretch = _tables(replace(self, n=1), str(device or "cpu"), dtype)

        def document() -> Tensor:
            return torch.nn.functional.embedding(self._places(batch, generator, device), vectors)

        x = torch.randn(batch, self.d, generator=generator, device=device).to(dtype) @ stretch
        A, A_query = document(), document()
        return Documents(A, predict(A, x), A_query, predict(A_query, x), x)

    def _places(self, batch: int, generator: Generator, device: torch.device | str | None) -> Tensor:
        """Where in `words` those of each document stand, (batch, n)."""
        count = len(self.words)
        if self.source == "independent":
            return torch.randint(count, (batch, self.n), generator=generator, device=device)
        starts = torch.randint(count - self.n + 1, (batch, 1), generator=generator, device=device)
        return starts + torch.arange(self.n, device=device)


@functools.cache
def _words(task: WordDocuments) -> Tensor:
    found = of_the_text(task.d, task.vocabulary, task.lengths)
    if task.source == "independent":
        return found.vectors[PARTS.index(task.part) :: 2]
    return found.vectors[found.train if task.part == "train" else found.test]


@functools.cache
def _covariance(task: WordDocuments) -> Tensor:
    return torch.cov(_words(task).mT, correction=0)


@functools.cache
def _tables(task: WordDocuments, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The words, and the matrix that makes x* of normals; kept where they are used, for the steps of a training."""
    stretch = torch.linalg.inv(covariance.root(task.covariance, task.d)) * (task.scale / math.sqrt(task.d))
    return task.words.to(device, dtype), stretch.to(device, dtype)

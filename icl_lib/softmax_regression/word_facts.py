"""What the real text and its vectors come to, for the page that uses them: kept in the store, since they are slow."""

from dataclasses import dataclass

import torch
import xarray

from icl_lib.running.device import DEVICES
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_tuple
from icl_lib.softmax_regression import text, word_vectors


@dataclass(frozen=True)
class WordFacts:
    """Sizes of the text's halves, what they share in runs of `run` words, and the `near` words next to those `shown`.

    Vectors are those of `word_vectors.of_the_text(d, vocabulary)`.
    """

    d: int = 20
    vocabulary: int = 2000
    run: int = 10
    shown: tuple[str, ...] = ("kernel", "tree", "cross", "linear")
    near: int = 4
    device: str = "auto"

    def __post_init__(self) -> None:
        check_integer("vocabulary", self.vocabulary, 2)
        check_integer("d", self.d, 1, self.vocabulary - 1)
        check_integer("run", self.run, 1)
        check_tuple("shown", self.shown, "words")
        for word in self.shown:
            check_instance("shown", word, str)
        check_integer("near", self.near, 1, self.vocabulary - 1)
        check_choice("device", self.device, DEVICES)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """`words` and the share `known` of them in the vocabulary (part,), `shared`, and `nearest` (shown,) as text.

        Raises `ValueError` for a word to be shown that is not in the vocabulary.
        """
        halves, found = text.load(), word_vectors.of_the_text(self.d, self.vocabulary)
        return xarray.Dataset(
            {
                "words": ("part", [len(half) for half in halves]),
                "known": ("part", [len(found.train) / len(halves.train), len(found.test) / len(halves.test)]),
                "shared": text.shared_runs(halves, self.run),
                "nearest": ("shown", [self._nearest(found, word) for word in self.shown]),
            },
            {"part": list(text.Text._fields), "shown": list(self.shown)},
        )

    def _nearest(self, found: word_vectors.Vectors, word: str) -> str:
        check_choice("shown", word, found.words)
        numbers = word_vectors.nearest(found.vectors, found.words.index(word), self.near)
        return ", ".join(found.words[k] for k in numbers)

"""How tight each bound is: the worst left/right that an adversarial search finds, for one inequality."""

from dataclasses import dataclass

import torch
import xarray

from icl_lib.bounds import statements
from icl_lib.bounds.search import Ascent, Family, worst_ratio
from icl_lib.running.device import DEVICES
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_tuple


@dataclass(frozen=True)
class Tightness:
    """Search the `families` (n, R_low, R_high) of settings, one after the other, for the worst ratio of `inequality`.

    `restarts` climbs of `steps` updates each, in `d` dimensions and float64.
    """

    inequality: str
    families: tuple[tuple[int, float, float], ...]
    d: int = 2
    restarts: int = 64
    steps: int = 200
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("inequality", self.inequality, [one.key for one in statements.ALL])
        check_tuple("families", self.families, "(n, R_low, R_high)")
        for family in self.families:
            check_instance("families", family, tuple)
            try:
                n, low, high = family
                Family(n, low, high, self.d)
            except (TypeError, ValueError) as error:
                raise type(error)(f"families must hold (n, R_low, R_high), got {family}: {error}") from None
        self.ascent.__post_init__()
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    @property
    def ascent(self) -> Ascent:
        """What one search spends."""
        return Ascent(self.restarts, self.steps)

    @property
    def searched(self) -> list[Family]:
        """The families as the search takes them."""
        return [Family(n, low, high, self.d) for n, low, high in self.families]

    def compute(self, device: torch.device) -> xarray.Dataset:
        """The worst ratio of each family and where it was found: `ratio` and `R` over `family`, with `n`.

        Raises `InequalityViolated` where a ratio exceeds 1 by more than 1e-9.
        """
        inequality = statements.by_key(self.inequality)
        # Each family has a stream of its own, so that leaving one out moves no other.
        names = [f"init/{self.inequality}/{n}/{low}/{high}" for n, low, high in self.families]
        found = [
            worst_ratio(inequality, family, self.ascent, stream(self.seed, name, device=device))
            for family, name in zip(self.searched, names, strict=True)
        ]
        data = {"ratio": ("family", [w.ratio for w in found]), "R": ("family", [w.R for w in found])}
        return xarray.Dataset(data, coords={"n": ("family", [n for n, _, _ in self.families])})

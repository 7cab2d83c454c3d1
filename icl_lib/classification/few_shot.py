"""Few-shot contexts of real data: each point a row of a table, its class under a name that is new in every context."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Generator, Tensor

from icl_lib.classification import real_data
from icl_lib.classification.class_counts import check_concentration, class_counts
from icl_lib.classification.contexts import BALANCES, Examples
from icl_lib.running.validation import check_choice, check_integer


class Pool(NamedTuple):
    """What contexts are drawn from: unit vectors (N, d), and the rows of each class (classes, most), filled with −1."""

    x: Tensor
    rows: Tensor


@dataclass(frozen=True)
class FewShot:
    """Contexts of `classes` classes of a table, drawn from one side of a split in two halves, on the unit sphere in ℝᵈ.

    `data` is a table of `real_data.SOURCES`, `split` the number of its split, `side` that to draw from. How rows become
    points is fitted on the side `"fit"` only. A context has `n` different rows, equally many of each class or shares
    ~ Dirichlet(α, …, α) with α = `concentration_of_counts`, and its query is another row, of a class drawn uniformly.
    Its classes are a draw of those of the side, in an order of chance. If `rotated`, every context is turned by an
    orthogonal matrix of its own, so that no direction is preferred.

    Raises `TypeError` or `ValueError` for what is out of range. See `sec-digits-data`.
    """

    data: str
    n: int
    d: int
    classes: int
    split: int = 0
    side: str = "fit"
    concentration_of_counts: float | None = None
    rotated: bool = False

    def __post_init__(self) -> None:
        check_choice("data", self.data, real_data.SOURCES)
        check_choice("side", self.side, real_data.SIDES)
        check_integer("classes", self.classes, 2, real_data.load(self.data).classes)
        for name, least in (("n", 1), ("d", 1), ("split", 0)):
            check_integer(name, getattr(self, name), least)
        if not isinstance(self.rotated, bool):
            raise TypeError(f"rotated must be True or False, got {self.rotated!r}")
        check_concentration(self.concentration_of_counts, self.n, self.classes)
        if self.n > self.classes * self.most:
            raise ValueError(
                f"n must be at most {self.classes * self.most}, as each of the {self.classes} classes of {self.data!r} "
                f"has {self.most} points in a context at most, got {self.n}"
            )
        _ = self.pool

    @property
    def balance(self) -> str:
        """The query's class is drawn uniformly, and so is the context's where its counts are equal."""
        return BALANCES[2]

    @property
    def draws_alike(self) -> bool:
        """Never: rows are looked up."""
        return False

    @cached_property
    def pool(self) -> Pool:
        """The points that contexts are drawn from."""
        table = real_data.load(self.data)
        sides = real_data.halves(table, self.classes, self.split)
        rows = sides[self.side]
        labels = table.label[rows]
        of_classes = [rows[labels == c] for c in labels.unique()]
        filled = torch.nn.utils.rnn.pad_sequence(of_classes, batch_first=True, padding_value=-1)
        return Pool(real_data.on_sphere(self.data, table, sides["fit"], self.d), filled)

    @cached_property
    def most(self) -> int:
        """The points that a class may have in a context, all rows of the smallest one on a side but for a query."""
        table = real_data.load(self.data)
        on_both_sides = 1 if table.classes >= 2 * self.classes else 2
        return int(table.label.bincount().min()) // on_both_sides - 1

    def of_repetition(self, repetition: int) -> Self:
        """The same from the split that is so many further on."""
        return replace(self, split=self.split + repetition)

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query each."""
        asked = torch.randint(self.classes, (batch, 1), generator=generator)
        found = self._drawn(batch, asked, generator, device, dtype)
        return found._replace(x_query=found.x_query.squeeze(1), y_query=found.y_query.squeeze(1))

    def sample_every_query(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query of each class: x_query (batch, C, d), y_query (batch, C, C)."""
        asked = torch.arange(self.classes).expand(batch, -1)
        return self._drawn(batch, asked, generator, device, dtype)

    def _drawn(
        self, batch: int, asked: Tensor, generator: Generator, device: torch.device | str | None, dtype: torch.dtype
    ) -> Examples:
        check_integer("batch", batch, 1)
        rows = self._rows(batch, generator)
        counts = class_counts(batch, self.n, self.classes, self.concentration_of_counts, generator, self.most).long()
        ends = counts.cumsum(1)
        places = torch.arange(self.n).expand(batch, -1).contiguous()
        labels = torch.searchsorted(ends, places, right=True)
        among = places - (ends - counts).gather(1, labels)
        context, queries = (_at(rows, which, k) for which, k in ((labels, among), (asked, counts.gather(1, asked))))
        names = torch.eye(self.classes, dtype=dtype)
        x, x_query = (self.pool.x[chosen] for chosen in (context, queries))
        if self.rotated:
            turn = _rotations(batch, self.d, generator)
            x, x_query = x @ turn, x_query @ turn
        return Examples(*(part.to(device, dtype) for part in (x, names[labels], x_query, names[asked])))

    def _rows(self, batch: int, generator: Generator) -> Tensor:
        """For every class of each context, in an order of chance, different rows in an order of chance (B, C, k)."""
        pool = self.pool
        available = len(pool.rows)
        order = torch.rand(batch, available, generator=generator).argsort(1)[:, : self.classes]
        keys = torch.rand(batch, self.classes, pool.rows.shape[1], generator=generator)
        rows = pool.rows[order]
        wanted = min(self.most + 1, self.n + 1)
        chosen = keys.masked_fill_(rows < 0, 2.0).topk(wanted, largest=False).indices
        return rows.gather(2, chosen)


def _at(rows: Tensor, labels: Tensor, places: Tensor) -> Tensor:
    """The rows (B, C, k) at classes and places (B, m)."""
    return rows.flatten(1).gather(1, labels * rows.shape[2] + places)


def _rotations(batch: int, d: int, generator: Generator) -> Tensor:
    """Uniformly distributed orthogonal matrices (B, d, d): QR with a positive diagonal (Mezzadri, 2007)."""
    Q, R = torch.linalg.qr(torch.randn(batch, d, d, generator=generator, dtype=torch.float64))
    return Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)

"""Data that nobody made up: tables that scikit-learn bundles, pinned by digest, in halves to fit and to test on."""

import hashlib
from functools import cache
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.streams import stream
from icl_lib.running.validation import check_choice, check_finite, check_integer

SIDES = ("fit", "test")
# A direction in which the rows to fit on vary by less than this part of the widest is rounding.
RANK = 1e-12


class _Source(NamedTuple):
    """How a table is loaded, the SHA-256 of its bytes, and whether its columns have units of their own."""

    loader: str
    digest: str
    units: bool


SOURCES = {
    "digits": _Source("load_digits", "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443", False),
    "wine": _Source("load_wine", "3a28849ef2366c4b9d4e382b3fa5624a66f693c04d7fdcf43c529bbb0bb338d7", True),
    "breast cancer": _Source(
        "load_breast_cancer", "25e2eb7b7a8745b1bde5ba18bc4969983d2e2f403291ecd5bde4a29ef30c3859", True
    ),
}


class Table(NamedTuple):
    """Rows x (N, p) in float64 and their classes (N,), integers from 0."""

    x: Tensor
    label: Tensor

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.label.max()) + 1

    def rows_of(self, classes: Tensor) -> Tensor:
        """The rows of some classes, as numbers in their order."""
        return torch.isin(self.label, classes).nonzero().squeeze(1)


@checked()
def load(name: str) -> Table:
    """One of the tables in `SOURCES`: 8 × 8 pixels of handwritten digits, measurements of wines and of tumours.

    Raises `ValueError` for an unknown name, and `RuntimeError` where scikit-learn is missing or has other data.
    See `sec-digits-data`.
    """
    check_choice("name", name, SOURCES)
    return _loaded(name)


@cache
def _loaded(name: str) -> Table:
    source = SOURCES[name]
    try:
        from sklearn import __version__, datasets
    except ImportError as error:
        raise RuntimeError(f"the table {name!r} comes with scikit-learn: pip install scikit-learn") from error
    x, label = getattr(datasets, source.loader)(return_X_y=True)
    found = _digest_of(x, label)
    if found != source.digest:
        raise RuntimeError(
            f"the table {name!r} of scikit-learn {__version__} has the SHA-256 {found}, "
            f"and numbers here belong to {source.digest}: pip install -r requirements.txt installs the version that "
            "has it"
        )
    return Table(torch.from_numpy(x), torch.from_numpy(label))


def _digest_of(x: numpy.ndarray, label: numpy.ndarray) -> str:
    """The SHA-256 of rows as 64-bit floats and classes as 64-bit integers, little-endian."""
    return hashlib.sha256(x.astype("<f8").tobytes() + label.astype("<i8").tobytes()).hexdigest()


def halves(table: Table, classes: int, split: int) -> dict[str, Tensor]:
    """The rows of each of the two `SIDES`, which share none; splits 2k and 2k + 1 are one split, its sides exchanged.

    Where there are 2 · `classes` classes or more each side has half of the classes, else half of the rows of each.
    Raises `ValueError` for more classes than a side has. See `sec-digits-data`.
    """
    check_integer("classes", classes, 2, table.classes)
    check_integer("split", split, 0)
    generator = stream(0, "init/split", split // 2)
    if table.classes >= 2 * classes:
        order = torch.randperm(table.classes, generator=generator)
        parts = [table.rows_of(half) for half in order.tensor_split(2)]
    else:
        shuffled = [_shuffled(table.rows_of(torch.tensor(c)), generator) for c in range(table.classes)]
        parts = [torch.cat([rows.tensor_split(2)[k] for rows in shuffled]).sort().values for k in range(2)]
    return dict(zip(SIDES, parts if split % 2 == 0 else parts[::-1], strict=True))


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def on_sphere(name: str, table: Table, fitted_on: Tensor, d: int) -> Tensor:
    """All rows as unit vectors (N, d): scaled and rotated as the rows `fitted_on` say, d directions kept, normed.

    With d = p columns nothing is rotated. Tables whose columns have units are centred and scaled to the deviation 1;
    of others raw rows are normed as they are, and only rotated ones are centred. Raises `ValueError` for a d above the
    rank of the rows `fitted_on`. See `sec-digits-data`.
    """
    check_choice("name", name, SOURCES)
    p = table.x.shape[1]
    check_integer("d", d, 1, p)
    x, known = table.x, table.x[fitted_on]
    if SOURCES[name].units:
        deviation = known.std(0)
        x, known = ((part - known.mean(0)) / deviation for part in (x, known))
    if d < p:
        values, vectors = torch.linalg.eigh(torch.cov(known.T, correction=0))
        rank = int((values > RANK * values[-1]).sum())
        if d > rank:
            raise ValueError(f"d must be at most the rank {rank} of the {len(known)} rows that are fitted, got {d}")
        directions = vectors[:, -d:].flip(1)
        # An eigenvector has no sign of its own: the largest entry shall be positive.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        x = (x - known.mean(0)) @ (directions * largest.sign())
    unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    check_finite("rows", unit)
    return unit

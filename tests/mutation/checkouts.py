"""A checkout with one page and a library that may be spoilt, and nbval's verdict on it."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tools import commands, references
from tools.catalogue import load
from tools.check import Checker
from tools.errors import BookError
from tools.layout import Layout
from tools.notebooks import read_chapter
from tools.processes import Children
from tools.progress import Progress
from tools.timings import Timings

REPOSITORY = Path(__file__).resolve().parents[2]
PROFILE = "smoke"


@dataclass(frozen=True)
class Change:
    """`old` becomes `new` at its one place in a file of the library, named by as much of its path as is needed."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the library of the checkout at `root`."""
        (path,) = (root / "icl_lib").rglob(self.file)
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"old must stand once in {self.file}, got {self.old!r} {text.count(self.old)} times")
        path.write_text(text.replace(self.old, self.new))


# What another processor or another order of summation may do.
NOISE = [
    Change("alignment.py", "vector_norm(p - q, dim=-1)", "vector_norm(p - q, dim=-1) * (1 + 1e-7)"),
    # In the data, so that it reaches every formula alike: an identity between two of them holds to 1e-14 anywhere.
    Change("documents.py", "(self.scale / math.sqrt(self.d))", "((1 + 1e-7) * self.scale / math.sqrt(self.d))"),
    Change("linear_regression.py", "x = 2 * torch.rand(", "x = (2 + 2e-7) * torch.rand("),
]


@dataclass(frozen=True)
class Checkout:
    """A folder for the checkout, the processes that judge it, and matplotlib's list of fonts, which is slow to make."""

    root: Path
    children: Children
    fonts: Path

    @property
    def layout(self) -> Layout:
        """The folders of the checkout."""
        return Layout(self.root, PROFILE)

    def write(self, page: str, **parameters: int) -> None:
        """Make the checkout: the library as it is, and one page with its reference; `parameters` are the page's own."""
        _write_checkout(page, self.root, parameters)
        shutil.copytree(self.fonts, self.layout.build / "home" / "matplotlib")

    def check(self, page: str, changes: Iterable[Change] = (), *, by_digits: bool = False) -> None:
        """Let nbval run the reference of one page, with nothing reused, on a library with `changes`.

        Raises `BookError` where the reference fails.
        """
        if not self.root.joinpath("book").exists():
            self.write(page)
        for change in changes:
            change.apply(self.root)
        chapter = read_chapter(load(self.layout).page(page))
        checker = Checker(self.layout, 1, Progress(), self.children, by_digits)
        if found := checker.rerun([chapter], Timings(1)):
            raise BookError("\n".join(map(str, found)))

    def assert_found(self, page: str, change: Change) -> None:
        """The reference of the page fails in a cell of it."""
        with pytest.raises(BookError, match=f"chapter {page}, code cell"):
            self.check(page, [change])

    def own_reference(self, page: str, **parameters: int) -> bytes:
        """The reference that this machine writes, which must hold here to the last digit."""
        self.write(page, **parameters)
        catalogue = load(self.layout)
        commands.reference(self.layout, catalogue, [catalogue.page(page)], 1)
        self.check(page, by_digits=True)
        return self._reference(page).read_bytes()

    def assert_found_by_digits(self, page: str, change: Change, reference: bytes, **parameters: int) -> None:
        """An `own_reference` fails in a cell of the page."""
        self.write(page, **parameters)
        self._reference(page).write_bytes(reference)
        with pytest.raises(BookError, match=f"chapter {page}, code cell"):
            self.check(page, [change], by_digits=True)

    def _reference(self, page: str) -> Path:
        return references.path_of(self.layout, page)


def _write_checkout(page: str, root: Path, parameters: Mapping[str, int]) -> None:
    shutil.copytree(REPOSITORY / "icl_lib", root / "icl_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "requirements.txt", root)
    for name in (f"book/{page}.md", f"book/reference/{PROFILE}/{page}.ipynb"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    (root / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": page}))
    profile = yaml.safe_load((REPOSITORY / "book" / "profiles.yml").read_text())["profiles"][PROFILE]
    own = {PROFILE: {"parameters": {page: {**profile["parameters"].get(page, {}), **parameters}}}}
    (root / "book" / "profiles.yml").write_text(yaml.safe_dump({"profiles": own}))

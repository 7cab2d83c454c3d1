"""A real text that comes with the lock: the prose of scikit-learn's own documentation, in two halves.

It is what stands in the docstrings of the package and in the descriptions of its data sets. Files are read, not
imported. A line counts once in the whole text, so that what is repeated from file to file is in one half only.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import NamedTuple

from icl_lib.running.checked import checked

PACKAGE = "sklearn"
# The version in requirements.txt, and the SHA-256 of the text that it gives.
LOCKED = "1.9.1"
DIGEST = "a5385e30cbb47931f33ff559acd2e0f79ed430d72c388039a6afaac550c6af0d"
# Not the package's own prose: its tests, what it took from others, and what a wheel for Windows has another text of.
LEFT_OUT = {"tests", "externals", "_distributor_init.py"}
WORD = re.compile("[a-z]{2,}")

Line = tuple[str, ...]


class Text(NamedTuple):
    """The words of the two halves, in the order in which they are read."""

    train: list[str]
    test: list[str]


@functools.cache
def load() -> Text:
    """The text, every second file in the order of their paths in the test half, the others in the training half.

    Raises `ModuleNotFoundError` where scikit-learn is not installed, and `RuntimeError` where its text is not that of
    the lock. See `sec-words`.
    """
    text = divided(list(_documentation(_folder())))
    found = hashlib.sha256("\n".join([" ".join(text.train), " ".join(text.test)]).encode()).hexdigest()
    if found != DIGEST:
        raise RuntimeError(
            f"the text must be that of scikit-learn {LOCKED} with the digest {DIGEST}, got scikit-learn "
            f"{version('scikit-learn')} with {found}: install the version of the lock, pip install -r requirements.txt"
        )
    return text


def _folder() -> Path:
    """Where the package lies; nothing of it is imported."""
    try:
        return Path(str(distribution("scikit-learn").locate_file(PACKAGE)))
    except PackageNotFoundError:
        raise ModuleNotFoundError(
            "the words of this book's real text are those of scikit-learn, which is not installed: "
            "pip install -r requirements.txt, or pip install icl-lib[book]"
        ) from None


def _documentation(folder: Path) -> Iterator[str]:
    """What each file says, in the order of their paths, whatever the system sorts by."""
    files = [path for path in folder.rglob("*.py") if not LEFT_OUT & set(path.relative_to(folder).parts)]
    files += (folder / "datasets" / "descr").glob("*.rst")
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        said = path.read_text(encoding="utf-8")
        yield said if path.suffix == ".rst" else docstrings(said)


@checked()
def docstrings(source: str) -> str:
    """The docstrings of a module, its classes and functions, a blank line between two, in the order of the file.

    Raises `ValueError` where that is not Python. See `sec-words`.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"source must be Python, got {error.msg} in line {error.lineno}") from None
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found.append((first.lineno, ast.get_docstring(node, clean=False) or ""))
    return "\n\n".join(told for _, told in sorted(found))


@checked()
def prose(documentation: str) -> list[Line]:
    """The words of each line: runs of two letters a to z or more, in lower case.

    Left out are examples of code, from a line that starts with `>>>` to the next blank one, and what starts with two
    dots: directives, comments and references. See `sec-words`.
    """
    lines, in_example = [], False
    for line in map(str.strip, documentation.splitlines()):
        in_example = bool(line) and (in_example or line.startswith(">>>"))
        words = () if in_example or line.startswith("..") else tuple(WORD.findall(line.lower()))
        if words:
            lines.append(words)
    return lines


@checked()
def divided(documents: list[str]) -> Text:
    """The two halves of a text of many documents; a line that has been there is left out. See `sec-words`."""
    halves, seen = Text([], []), set[Line]()
    for index, document in enumerate(documents):
        for line in prose(document):
            if line not in seen:
                halves[index % 2].extend(line)
            seen.add(line)
    return halves


@checked(counts=("length",))
def shared_runs(text: Text, length: int) -> float:
    """Which share of the test half's runs of `length` words stands in the training half too. See `sec-words`."""
    in_train, in_test = set(_runs(text.train, length)), list(_runs(text.test, length))
    if not in_test:
        raise ValueError(f"length must be at most the {len(text.test)} words of the test half, got {length}")
    return sum(run in in_train for run in in_test) / len(in_test)


def _runs(words: list[str], length: int) -> Iterator[Line]:
    return zip(*(words[k:] for k in range(length)), strict=False)

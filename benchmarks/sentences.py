"""Plain sentences from the docstrings of scikit-learn, by the part of the package that says them.

Files are read, not imported. A sentence counts once.
"""

import ast
import hashlib
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

LEFT_OUT = {"tests", "externals"}
# Starts with a capital, has words and the marks of prose only, ends with a full stop.
PLAIN = re.compile(r"[A-Z][A-Za-z ,;:'()-]+\.")
BETWEEN = re.compile(r"(?<=\.)\s+")
WORDS = (6, 30)


class Sentence(NamedTuple):
    """What is said, the part of the package that says it, and the number of the file."""

    said: str
    part: str
    file: int


def load() -> list[Sentence]:
    """All sentences, in the order of files. Raises `SystemExit` where scikit-learn is missing."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise SystemExit("the text is that of scikit-learn, which is not installed: pip install scikit-learn")
    folder = Path(spec.origin).parent
    files = [path for path in folder.rglob("*.py") if not LEFT_OUT & set(path.relative_to(folder).parts)]
    found: dict[str, Sentence] = {}
    for number, path in enumerate(sorted(files, key=lambda path: path.relative_to(folder).as_posix())):
        part = path.relative_to(folder).with_suffix("").parts[0]
        for said in plain_sentences(path.read_text(encoding="utf-8")):
            found.setdefault(said, Sentence(said, part, number))
    return list(found.values())


def plain_sentences(source: str) -> list[str]:
    """The plain sentences of the docstrings of a module, its classes and functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    found = []
    for paragraph in (one for text in documented for one in text.split("\n\n")):
        for said in BETWEEN.split(" ".join(paragraph.split())):
            if PLAIN.fullmatch(said) and "--" not in said and WORDS[0] <= len(said.split()) <= WORDS[1]:
                found.append(said)
    return found


def digest(sentences: list[Sentence]) -> dict[str, str]:
    """The version of scikit-learn and the SHA-256 of the sentences."""
    text = "\n".join(f"{one.part}\t{one.said}" for one in sentences)
    return {"scikit-learn": version("scikit-learn"), "sha256": hashlib.sha256(text.encode()).hexdigest()}


class Occurrence(NamedTuple):
    """A word of a class where it stands: the number of the sentence."""

    word: str
    part: str
    sentence: int


def word_classes(
    sentences: list[Sentence], allowed: set[str], classes: int, most: int, least_count: int = 2, share: float = 0.5
) -> list[Occurrence]:
    """Words that belong to a part of the package, `most` a part at most, for the `classes` parts with most of them.

    A word belongs to a part if that has at least `least_count` sentences with it, and more than `share` of all. It
    stands in `allowed` and has four letters or more. Each word occurs once, in a sentence that no other word has.
    """
    places: dict[str, list[int]] = {}
    for number, one in enumerate(sentences):
        for word in sorted(set(re.findall("[a-z]+", one.said.lower()))):
            if word in allowed and len(word) >= 4:
                places.setdefault(word, []).append(number)
    owned: dict[str, list[tuple[int, str, list[int]]]] = {}
    for word, numbers in places.items():
        parts = [sentences[number].part for number in numbers]
        part = max(sorted(set(parts)), key=parts.count)
        if parts.count(part) >= least_count and parts.count(part) > share * len(parts):
            inside = [number for number in numbers if sentences[number].part == part]
            owned.setdefault(part, []).append((-len(inside), word, inside))
    used: set[int] = set()
    found: dict[str, list[Occurrence]] = {}
    for part, words in sorted(owned.items()):
        for _, word, inside in sorted(words):
            free = [number for number in inside if number not in used]
            if free and len(found.get(part, [])) < most:
                used.add(free[0])
                found.setdefault(part, []).append(Occurrence(word, part, free[0]))
    largest = sorted(found, key=lambda part: (-len(found[part]), part))[:classes]
    return [one for part in sorted(largest) for one in found[part]]

"""Digest of all that can change what a module computes: its code and that of the library's modules that it reaches."""

import ast
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from icl_lib.running.graph import PACKAGE, Graph, code

LIBRARY = Path(__file__).resolve().parents[1]


def _state() -> dict[Path, tuple[int, int]]:
    """When each module of the library was written, and how long it is."""
    stats = {path: path.stat() for path in LIBRARY.rglob("*.py")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


_AT_START = _state()


def check_unchanged() -> None:
    """Raise `RuntimeError` where a module of the library was written after this process had imported the library.

    What it computes would be that of the old text, and be kept under the digest of the new one.
    """
    now = _state()
    if changed := sorted(path.name for path in {**_AT_START, **now} if _AT_START.get(path) != now.get(path)):
        raise RuntimeError(f"{', '.join(changed)} changed after this process started: start it again")


def library_digest(modules: Iterable[str], root: Path | None = None) -> str:
    """SHA-256 over the code of `modules` and of all they reach in the package, in the order of their names."""
    graph = Graph(root or LIBRARY.parent)
    digest = hashlib.sha256()
    for name in sorted(graph.reached(modules)):
        digest.update(f"{name}\0{graph.code(name)}\0".encode())
    return digest.hexdigest()


def module_digest(name: str) -> str:
    """Digest of all that can change what the imported module `name` computes: its code and what that reaches here.

    Raises `ValueError` for a module without a file, which is what a notebook is: a change of it would go unseen.
    """
    if name.split(".")[0] == PACKAGE:
        return library_digest([name])
    file = getattr(sys.modules[name], "__file__", None)
    if file is None:
        raise ValueError(f"an experiment must be defined in a module with a file, got one of {name}")
    source = Path(file).read_text(encoding="utf-8")
    reached = Graph(LIBRARY.parent).named(ast.parse(source))
    return hashlib.sha256(f"{code(source)}\0{library_digest(reached)}".encode()).hexdigest()

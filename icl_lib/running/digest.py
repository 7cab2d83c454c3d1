"""Digest of the library's own modules that a module reaches: what makes a stored result stale."""

import ast
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = __name__.split(".")[0]
LIBRARY = Path(__file__).resolve().parents[1]


def modules_reached(source: str, root: Path) -> set[str]:
    """Names of the package's modules that Python text imports, directly or through one another.

    `root` is the folder that holds the package. A module's parent packages count as reached.
    """
    reached: set[str] = set()
    todo = _imported(source, root)
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo |= _imported(_file(name, root).read_text(), root) | set(_parents(name))
    return reached


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
    root = root or LIBRARY.parent
    names = modules_reached("\n".join(f"import {name}" for name in modules), root)
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{code(_file(name, root).read_text())}\0".encode())
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
    source = Path(file).read_text()
    reached = modules_reached(source, LIBRARY.parent)
    return hashlib.sha256(f"{code(source)}\0{library_digest(reached)}".encode()).hexdigest()


def code(source: str) -> str:
    """The syntax tree of `source` without docstrings: words about the code are edited without computing anything anew.

    Comments and layout are not in the tree. Nothing in the library reads a docstring back.
    """
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in [node for node in ast.walk(tree) if isinstance(node, documented)]:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    # Text again, as a dump of the tree looks different in each version of Python.
    return ast.unparse(tree)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _file(name: str, root: Path) -> Path:
    path = root.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(source: str, root: Path) -> set[str]:
    """Modules of the package named in import statements; `from p import x` names p, and p.x where that is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE and _file(name, root).is_file()}

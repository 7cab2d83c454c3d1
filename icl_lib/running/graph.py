"""Which module of the library imports which, read from source: what makes a stored result or an executed page stale.

Nothing is imported, so the library of any checkout can be read. This module itself imports nothing slow: the pipeline
asks it too.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

PACKAGE = __name__.split(".")[0]
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Graph:
    """The modules of the library below `root`, the folder that holds the package."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._imports: dict[str, set[str]] = {}

    @cached_property
    def modules(self) -> dict[str, Path]:
        """File of each module, by dotted name."""
        found = {}
        for path in sorted((self.root / PACKAGE).rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def named(self, tree: ast.AST, package: str = "") -> set[str]:
        """The modules that a piece of code names: in imports, and in strings, which an importer may be given.

        `package` is the one that relative imports start from. A module's parent packages are named with it, since
        importing it runs them too.
        """
        return dotted_names(tree, package) & set(self.modules)

    def reached(self, names: Iterable[str]) -> set[str]:
        """Modules that these import, directly or through one another; they themselves among them.

        Raises `SyntaxError`, with the file's name, for a module that is no Python.
        """
        reached: set[str] = set()
        pending = {name for long in names for name in with_parents(long) if name in self.modules}
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending |= self._imported_by(name)
        return reached

    def code(self, name: str) -> str:
        """The code of a module, without docstrings, comments and layout."""
        return code(self.modules[name].read_text(encoding="utf-8"))

    def _imported_by(self, name: str) -> set[str]:
        if name not in self._imports:
            path = self.modules[name]
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            self._imports[name] = self.named(tree, package)
        return self._imports[name]


# By the text itself: a build asks for the same modules for every page, before and after it.
@cache
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


def dotted_names(tree: ast.AST, package: str = "") -> set[str]:
    """All that may be a module's name in a piece of code, with its parents: in imports, and in strings.

    Relative imports start from `package`.
    """
    dotted: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            dotted |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            dotted.add(node.value)
    return {name for long in dotted if not long.startswith(".") for name in with_parents(long) if name}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")
    return ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])


def with_parents(name: str) -> list[str]:
    """`a.b.c` → a, a.b, a.b.c."""
    if not isinstance(name, str):
        raise TypeError(f"name must be the dotted name of a module, got {name!r} of type {type(name).__name__}")
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]

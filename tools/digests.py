"""What a chapter's outputs depend on, by content: its code and parameters, the library it reaches, the versions."""

import ast
import platform
import re
from collections.abc import Iterable
from functools import cached_property
from importlib import metadata
from pathlib import Path

from tools.errors import BookError
from tools.files import digest_file

LIBRARY = "icl_lib"
# Folders of files outside the library, by the module that reads them.
READ = {"icl_lib.display.benchmark_results": "benchmarks/results"}


class ModuleGraph:
    """The modules of the library at `root` and which of them import which, read from source and never imported."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder that holds the library's folder."""
        self.root = root
        self._imports: dict[str, set[str]] = {}

    @cached_property
    def modules(self) -> dict[str, Path]:
        """File of each module, by dotted name."""
        found = {}
        for path in sorted((self.root / LIBRARY).rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    @cached_property
    def _data(self) -> dict[str, str]:
        """Digests of the files that are no modules: any module may read them."""
        files = [path for path in (self.root / LIBRARY).rglob("*") if path.is_file()]
        data = [path for path in files if path.suffix not in (".py", ".pyc")]
        return {path.relative_to(self.root).as_posix(): digest_file(path) for path in sorted(data)}

    def reached(self, sources: Iterable[str]) -> dict[str, str]:
        """Digest of every library file that the sources import, directly or not, by its path below `root`.

        With the files of `READ` that one of these modules reads.
        """
        pending: set[str] = set()
        for source in sources:
            tree = _parse_cell(source)
            pending |= set(self.modules) if tree is None else self._named(tree, package="")
        reached: set[str] = set()
        while pending:
            name = pending.pop()
            if name not in reached:
                reached.add(name)
                pending |= self._imported_by(name)
        if not reached:
            return {}
        files = {self.modules[name].relative_to(self.root).as_posix(): self.modules[name] for name in reached}
        files |= {name: path for module in reached for name, path in self._read_by(module).items()}
        return {**{name: digest_file(path) for name, path in sorted(files.items())}, **self._data}

    def _read_by(self, module: str) -> dict[str, Path]:
        """Files outside the library that a module reads, by their path below `root`."""
        if module not in READ:
            return {}
        found = sorted(path for path in (self.root / READ[module]).rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path for path in found}

    def _imported_by(self, name: str) -> set[str]:
        if name not in self._imports:
            path = self.modules[name]
            try:
                tree = ast.parse(path.read_text())
            except SyntaxError as error:
                raise BookError(f"{path}, line {error.lineno}: {error.msg}") from None
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            self._imports[name] = self._named(tree, package)
        return self._imports[name]

    def _named(self, tree: ast.AST, package: str) -> set[str]:
        """The library's modules that a piece of code names: in imports, and in strings given to an importer."""
        dotted: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                dotted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, package)
                dotted |= {base} | {f"{base}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                dotted.add(node.value)
        return {name for long in dotted for name in _with_parents(long) if name in self.modules}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")
    return ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])


def _with_parents(name: str) -> list[str]:
    """`a.b.c` → a, a.b, a.b.c: importing a module runs its packages too."""
    if not name.startswith(LIBRARY):
        return []
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _parse_cell(source: str) -> ast.AST | None:
    """The tree of a cell, without IPython's own lines where it has some; None where it cannot be read as Python."""
    for text in (source, re.sub(r"^[ \t]*[%!?].*$", "", source, flags=re.MULTILINE)):
        try:
            return ast.parse(text)
        except SyntaxError:
            continue
    return None


def installed_versions(requirements: Path) -> dict[str, str]:
    """The version in use of Python and of each package that the lock names; `missing` where it is not installed."""
    try:
        lock = requirements.read_text()
    except OSError as error:
        raise BookError(f"cannot read the lock {requirements}: {error.strerror}") from None
    names = {_canonical(name) for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, flags=re.MULTILINE)}
    found = dict.fromkeys(sorted(names), "missing")
    for distribution in metadata.distributions():
        # The folder's name holds the version too, and opening hundreds of metadata files is what takes the time.
        name, version = _from_folder(distribution)
        if name in found and found[name] == "missing":
            found[name] = version
    return {"python": platform.python_version(), **found}


def _from_folder(distribution: metadata.Distribution) -> tuple[str, str]:
    folder = getattr(distribution, "_path", None)
    if folder is not None and (match := re.fullmatch(r"(.+?)-([^-]+)\.dist-info", Path(folder).name)):
        return _canonical(match[1]), match[2]
    return _canonical(distribution.metadata["Name"] or ""), distribution.version


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

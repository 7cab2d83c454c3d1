"""What a chapter's outputs depend on, by content: its code and parameters, the library it reaches, the versions."""

import ast
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from icl_lib.running.graph import PACKAGE as LIBRARY
from icl_lib.running.graph import Graph
from tools.errors import BookError
from tools.files import digest, digest_file, read_text, visible
from tools.install import canonical, lacking

# Packages with modules of their names from which numbers come: what lies before them on the path would be imported.
IMPORTED = ("torch", "numpy", "scipy", "matplotlib", "xarray", "pandas")
# Folders of files outside the library, by the module that reads them.
READ = {"icl_lib.display.benchmark_results": "benchmarks/results"}


class Library:
    """The library at `root` as chapters depend on it: its modules by their code, and the files that they may read."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder that holds the library's folder."""
        self.root = root
        self._graph = Graph(root)

    @cached_property
    def _data(self) -> dict[str, str]:
        """Digests of the files that are no modules: any module may read them."""
        data = [path for path in visible(self.root / LIBRARY) if path.suffix not in (".py", ".pyc")]
        return {path.relative_to(self.root).as_posix(): digest_file(path) for path in data}

    def reached(self, sources: Iterable[str]) -> dict[str, str]:
        """Digest of every library file that the sources import, directly or not, by its path below `root`.

        A module counts by its code: docstrings and comments change nothing. With the files of `READ` that one of these
        modules reads. Raises `BookError` for a module that is no Python.
        """
        named: set[str] = set()
        for source in sources:
            tree = _parse_cell(source)
            named |= set(self._graph.modules) if tree is None else self._graph.named(tree)
        try:
            reached = sorted(self._graph.reached(named))
            if not reached:
                return {}
            code = {self._name(self._graph.modules[name]): digest(self._graph.code(name)) for name in reached}
        except SyntaxError as error:
            raise BookError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
        read = {self._name(path): digest_file(path) for name in reached for path in self._read_by(name)}
        return {**dict(sorted((code | read).items())), **self._data}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _read_by(self, module: str) -> list[Path]:
        """Files outside the library that a module reads."""
        if module not in READ:
            return []
        return visible(self.root / READ[module])


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
    lock = re.findall(r"^([A-Za-z0-9][\w.-]*)==", read_text(requirements), flags=re.MULTILINE)
    names = {canonical(name) for name in lock}
    found = dict.fromkeys(sorted(names), "missing")
    for distribution in metadata.distributions():
        # The folder's name holds the version too, and opening hundreds of metadata files is what takes the time.
        name, version = _from_folder(distribution)
        if name in found and found[name] == "missing":
            found[name] = version if _is_imported_from(name, distribution) else "another one on the path"
    return {"python": platform.python_version(), **found}


def _is_imported_from(name: str, distribution: metadata.Distribution) -> bool:
    """Whether a module called like its package is that of the distribution, and not one that comes before it."""
    spec = PathFinder.find_spec(name) if name in IMPORTED else None
    return spec is None or spec.origin is None or Path(spec.origin).is_relative_to(str(distribution.locate_file("")))


def differing(requirements: Path, versions: Mapping[str, str]) -> str:
    """Where an environment is not that of the lock, in words; empty where it is."""
    names = [wanted.partition("==") for wanted in lacking(read_text(requirements), dict(versions))]
    told = [f"{name} is {versions[canonical(name)]}, not {version}" for name, _, version in names]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return f"other packages than those of {requirements.name}: {', '.join(told[:3])}{more}" if told else ""


def _from_folder(distribution: metadata.Distribution) -> tuple[str, str]:
    folder = getattr(distribution, "_path", None)
    if folder is not None and (match := re.fullmatch(r"(.+?)-([^-]+)\.dist-info", Path(folder).name)):
        return canonical(match[1]), match[2]
    return canonical(distribution.metadata["Name"] or ""), distribution.version

"""Digest of all that can change what a module computes: its code and that of the modules that it reaches.

Those are the library's, and others that are not installed, such as a file beside a script. Of installed packages the
versions belong to the key of a result. Files that a module reads as data are not seen.
"""

import ast
import functools
import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from icl_lib.running.graph import PACKAGE, Graph, code, dotted_names, with_parents

LIBRARY = Path(__file__).resolve().parents[1]
# Between the start of a process, which the system tells to a hundredth of a second, and its first import.
START_SECONDS = 0.02


def _start() -> float:
    """When this process was started, by the clock of files; where the system does not tell, now."""
    try:
        ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        age = 0.0
    return time.time() - age + START_SECONDS


_STARTED = _start()


@functools.cache
def _graph() -> Graph:
    # Once a process: `check_unchanged` holds that its text is that of the start.
    return Graph(LIBRARY.parent)


def changed_since_start(files: Iterable[Path]) -> list[str]:
    """The names of those files that were written, or put in their place, after this process had started.

    What the process has imported of them may be another text, even where the old one is back.
    """
    return sorted({path.name for path in files if not path.is_file() or path.stat().st_ctime > _STARTED})


def check_unchanged(files: Iterable[Path]) -> None:
    """Raise `RuntimeError` where one of `files` has changed since this process was started.

    What it computes would be kept under the digest of a text that did not compute it.
    """
    if changed := changed_since_start(files):
        raise RuntimeError(f"{', '.join(changed)} changed after this process started: start it again")


def library_digest(modules: Iterable[str], root: Path | None = None) -> str:
    """SHA-256 over the code of `modules` and of all they reach in the package, in the order of their names."""
    graph = Graph(root) if root else _graph()
    digest = hashlib.sha256()
    for name in sorted(graph.reached(modules)):
        digest.update(f"{name}\0{graph.code(name)}\0".encode())
    return digest.hexdigest()


def module_digest(name: str) -> str:
    """Digest of all that can change what the imported module `name` computes: its code and what that reaches.

    Raises `ValueError` for a module whose code another process cannot find by its name, which are a notebook and the
    script that was started: a change of it would go unseen.
    """
    if name.split(".")[0] == PACKAGE:
        return library_digest([name])
    outside, inside = _reached(name)
    held = [f"{other}\0{_code(path)}\0" for other, path in sorted(outside.items())]
    return hashlib.sha256(f"{''.join(held)}{library_digest(inside)}".encode()).hexdigest()


def files_of(name: str) -> list[Path]:
    """The files whose code `module_digest(name)` covers."""
    outside, inside = _reached(name)
    graph = _graph()
    return [*outside.values(), *(graph.modules[module] for module in graph.reached(inside))]


def _reached(name: str) -> tuple[dict[str, Path], set[str]]:
    """What the module `name` reaches: the files outside the library by their modules, and the library's modules."""
    if name.split(".")[0] == PACKAGE:
        return {}, {name}
    if name == "__main__" or _file_of(name) is None:
        raise ValueError(f"an experiment must be defined in a module of its own, with a file, got one of {name}")
    graph = _graph()
    outside: dict[str, Path] = {}
    inside: set[str] = set()
    pending = set(with_parents(name))
    while pending:
        module = pending.pop()
        file = None if module in outside or module.split(".")[0] == PACKAGE else _file_of(module)
        if file is None:
            continue
        outside[module] = file
        if file.suffix == ".py":
            tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            inside |= graph.named(tree, package)
            pending |= dotted_names(tree, package)
    return outside, inside


def _file_of(name: str) -> Path | None:
    """The file of a module that is not installed; None for one that is, and where there is none. Imports nothing."""
    if name in sys.modules:
        named = getattr(sys.modules[name], "__file__", None)
    else:
        path, spec = None, None
        for long in with_parents(name):
            spec = PathFinder.find_spec(long, path)
            path = None if spec is None else spec.submodule_search_locations
            if spec is None or (path is None and long != name):
                return None
        named = spec.origin if spec and spec.has_location else None
    if named is None or Path(named).resolve().is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()):
        return None
    file = Path(named).resolve()
    folder = file.parents[name.count(".") + (file.stem == "__init__")]
    is_installed = folder.name in ("site-packages", "dist-packages") or any(folder.glob("*.dist-info"))
    return None if is_installed else file


def _code(path: Path) -> str:
    """The code of a file, as far as it is Python; else a digest of its bytes."""
    if path.suffix == ".py":
        return code(path.read_text(encoding="utf-8"))
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Tests in a child of a process that is warm, with modules of the library replaced by other code."""

import contextlib
import gc
import importlib.util
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What tests import beside the library: imported once, and not by every child.
HEAVY = (
    *("torch", "torch.func", "numpy", "scipy.optimize", "scipy.stats", "scipy.special", "scipy.linalg", "xarray"),
    *("pandas", "scipy.io", "sklearn.linear_model", "joblib", "hypothesis", "hypothesis.strategies"),
    # Imported by the first comparison of two tensors, with all of sympy.
    *("torch.testing", "torch.distributed.tensor"),
    *("matplotlib.pyplot", "mpmath", "IPython.display"),
)


def warm_up() -> None:
    """Import what is slow; numerical libraries get one thread, since threads do not live on in a child."""
    for name in HEAVY:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    # Plugins for browsers, notebooks and workers, of which these tests need none.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--version"])
    # What is there already no child has to look through for garbage.
    gc.freeze()


class Unfinished(Exception):
    """A child has ended before its work."""


def in_child(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` gives as JSON, done in a child.

    Raises `Unfinished` where the child ends before, or takes more CPU than `seconds`.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_child(work, seconds, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        text = told.read()
    os.waitpid(child, 0)
    if not text:
        raise Unfinished(f"a child has ended without a word, within {seconds:g} s of CPU or at them")
    return json.loads(text)


def _be_child(work: Callable[[], Any], seconds: float, writing: int) -> None:
    limit = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    try:
        text = json.dumps(work()).encode()
        with os.fdopen(writing, "wb") as told:
            told.write(text)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def replace_modules(sources: Mapping[str, str]) -> None:
    """From now on these modules, which nothing may have imported, have this code."""
    if imported := set(sources) & set(sys.modules):
        raise RuntimeError(f"modules must be replaced before they are imported, got {sorted(imported)}")
    sys.meta_path.insert(0, _Finder(sources))


class _Finder:
    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self.sources:
            return None
        file = path_of(name)
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file, self))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: Path, finder: _Finder) -> None:
        super().__init__(name, str(file))
        self.finder = finder

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.finder.sources[fullname], self.path, "exec")


def path_of(module: str) -> Path:
    """The file of a module of the library."""
    return ROOT / f"{module.replace('.', '/')}.py"


def run_tests(names: Sequence[str], plugin: object, *options: str) -> int:
    """Run tests in this process; gives pytest's status."""
    os.chdir(ROOT)
    # What the parent has imported pytest cannot rewrite any more.
    ignored = "ignore::pytest.PytestAssertRewriteWarning"
    words = ["-q", "-p", "no:cacheprovider", "-W", ignored, *options, *names]
    return int(pytest.main(words, plugins=[plugin]))

"""The environment that every kernel of the pipeline runs in, the same for papermill and for nbval."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import cache_from_source
from pathlib import Path

from icl_lib.running.graph import PACKAGE as LIBRARY
from icl_lib.running.processor import emulated
from tools.errors import BookError
from tools.files import write_if_changed
from tools.layout import Layout

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Left to the kernel, or what would change the pictures.
REMOVED = (
    *("MPLBACKEND", "MATPLOTLIBRC", "ICL_PICTURES"),
    *("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONDEVMODE", "PYTHONSAFEPATH"),
    *("PYTHONUTF8", "PYTHONIOENCODING", "OMP_DISPLAY_ENV"),
    # Kernels, settings and paths of another environment.
    *("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "PYTHONHOME"),
    *("PYTEST_ADDOPTS", "PYTEST_PLUGINS"),
)
IPYTHON_CONFIG = b"""c = get_config()
c.IPKernelApp.log_level = "ERROR"
c.HistoryManager.hist_file = ":memory:"
"""
TOOLS = Path(__file__).resolve().parents[1]


def device() -> str:
    """The device that chapters are asked to use."""
    return os.environ.get("ICL_DEVICE") or "cpu"


def threads() -> str:
    """The number of threads of one kernel's numerical libraries."""
    return os.environ.get(THREADS[0]) or "1"


def processor() -> dict[str, str]:
    """The variables by which kernels compute as another processor would.

    Raises `BookError` for an unknown value.
    """
    try:
        return emulated()
    except ValueError as error:
        raise BookError(str(error)) from None


def store(layout: Layout) -> Path | None:
    """Folder of the results: `_build/results` unless `ICL_STORE` names another, None where that is `off`.

    A kernel stands in a folder of its own, so a relative path is one from the checkout.
    """
    named = os.environ.get("ICL_STORE")
    if named == "off":
        return None
    return layout.root / named if named else layout.results


def variables(folders: Sequence[Path]) -> dict[str, str]:
    """The variables of every process that the pipeline starts: it imports from `folders` before anywhere else."""
    found = {name: value for name, value in os.environ.items() if name not in REMOVED}
    path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The digest covers the library of this checkout, so no process must import another.
    found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path))
    return found | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}


def environment(layout: Layout, output: Path, results: str | None = None) -> dict[str, str]:
    """Environment variables for a kernel that writes figure data and claims to `output`.

    `results` replaces the folder of `store` (`off`: nothing is reused).
    """
    home = layout.build / "home"
    found = variables([layout.root, TOOLS]) | dict.fromkeys(THREADS, threads())
    found |= {
        "ICL_STORE": results or str(store(layout) or "off"),
        "ICL_OUTPUT": str(output),
        "ICL_DEVICE": device(),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if progress := os.environ.get("ICL_PROGRESS"):
        found["ICL_PROGRESS"] = str(layout.root / progress)
    return found


def _drop_doubtful_bytecode(library: Path) -> None:
    """Remove bytecode that Python would trust although its source may be newer.

    Python compares sizes and whole seconds. A source written again in the second in which it was compiled, to the same
    length, would be run as it was before.
    """
    for source in library.rglob("*.py"):
        cached = Path(cache_from_source(source))
        if cached.is_file() and cached.stat().st_mtime < source.stat().st_mtime + 2:
            cached.unlink(missing_ok=True)


def prepare(layout: Layout) -> None:
    """Make the home of the kernels: quiet logs, no history on disk, matplotlib's list of fonts.

    Matplotlib builds that list when it is first imported and says so on stderr, which would fail the first chapter.
    """
    home = layout.build / "home"
    write_if_changed(home / "ipython" / "profile_default" / "ipython_kernel_config.py", IPYTHON_CONFIG)
    (home / "runtime").mkdir(parents=True, exist_ok=True)
    _drop_doubtful_bytecode(layout.root / LIBRARY)
    fonts = home / "matplotlib"
    if any(fonts.glob("fontlist-*.json")):
        return
    fonts.mkdir(parents=True, exist_ok=True)
    warm = subprocess.run(
        [sys.executable, "-c", "import matplotlib.font_manager"],
        env=environment(layout, home),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if warm.returncode:
        raise BookError(f"cannot import matplotlib with {sys.executable}: {warm.stderr.strip().splitlines()[-1]}")

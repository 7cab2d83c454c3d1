"""The environment that every kernel of the pipeline runs in, the same for papermill and for nbval."""

import os
import subprocess
import sys
from pathlib import Path

from tools.errors import BookError
from tools.files import write_if_changed
from tools.layout import Layout

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Left to the kernel, or what would change the pictures.
REMOVED = (
    *("MPLBACKEND", "MATPLOTLIBRC", "ICL_PICTURES"),
    *("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONINSPECT"),
)
IPYTHON_CONFIG = b"""c = get_config()
c.IPKernelApp.log_level = "ERROR"
c.HistoryManager.hist_file = ":memory:"
"""
TOOLS = Path(__file__).resolve().parents[1]


def device() -> str:
    """The device that chapters are asked to use."""
    return os.environ.get("ICL_DEVICE", "cpu")


def threads() -> str:
    """The number of threads of one kernel's numerical libraries."""
    return os.environ.get(THREADS[0], "1")


def environment(layout: Layout, output: Path, store: str | None = None) -> dict[str, str]:
    """Environment variables for a kernel that writes figure data and claims to `output`.

    `store` replaces the result store, which is that of the build unless `ICL_STORE` names another (`off`: nothing is
    reused).
    """
    home = layout.build / "home"
    variables = {name: value for name, value in os.environ.items() if name not in REMOVED}
    for name in THREADS:
        variables.setdefault(name, threads())
    path = [str(layout.root), str(TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables |= {
        "ICL_STORE": store or os.environ.get("ICL_STORE") or str(layout.results),
        "ICL_OUTPUT": str(output),
        "ICL_DEVICE": device(),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONHASHSEED": "0",
        # The digest covers the library of this checkout, so the kernel must not import another.
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
    }
    return variables


def prepare(layout: Layout) -> None:
    """Make the home of the kernels: quiet logs, no history on disk, matplotlib's list of fonts.

    Matplotlib builds that list when it is first imported and says so on stderr, which would fail the first chapter.
    """
    home = layout.build / "home"
    write_if_changed(home / "ipython" / "profile_default" / "ipython_kernel_config.py", IPYTHON_CONFIG)
    (home / "runtime").mkdir(parents=True, exist_ok=True)
    fonts = home / "matplotlib"
    if any(fonts.glob("fontlist-*.json")):
        return
    fonts.mkdir(parents=True, exist_ok=True)
    warm = subprocess.run(
        [sys.executable, "-c", "import matplotlib.font_manager"],
        env=environment(layout, home),
        capture_output=True,
        text=True,
        check=False,
    )
    if warm.returncode:
        raise BookError(f"cannot import matplotlib with {sys.executable}: {warm.stderr.strip().splitlines()[-1]}")

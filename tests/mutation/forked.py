"""nbval and its kernel in processes forked from one that has imported what chapters import: a run takes a second.

The command, the plugins, the kernel and its protocol are those of `make book`; only how a process starts differs.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from tools.kernels import THREADS
from tools.processes import Children, Ended

# Of the library nothing: each run imports that of its own checkout.
PRELOADED = (
    *("torch", "torch._dynamo", "numpy", "scipy.optimize", "scipy.stats", "pandas", "xarray", "h5netcdf", "joblib"),
    *("matplotlib.pyplot", "myst_nb", "IPython", "ipykernel.kernelapp", "jupyter_client"),
    *("pytest", "nbval.plugin", "xdist.plugin"),
)
PYTEST = [sys.executable, "-m", "pytest"]


class ForkedChildren(Children):
    """Runs `python -m pytest …`, and nothing else, in a fork."""

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
        """As `Children.run`, but lines are told when all is over, and memory is not measured."""
        if list(command[: len(PYTEST)]) != PYTEST:
            raise ValueError(f"command must be {PYTEST} …, got {command}")
        start = time.perf_counter()
        # The first cell that fails decides.
        arguments = ([*command[len(PYTEST) :], "-x"], cwd, dict(environment), log)
        child = multiprocessing.get_context("forkserver").Process(target=_pytest, args=arguments)
        child.start()
        child.join()
        for line in log.read_text().splitlines() if on_line is not None else ():
            on_line(line)
        return Ended(child.exitcode or 0, time.perf_counter() - start, 0)


def start_server() -> None:
    """Start the process that is forked. It has one thread: another would be lost in the fork, with what it holds."""
    forkserver.set_forkserver_preload(list(PRELOADED))
    with pytest.MonkeyPatch.context() as patch:
        for name in THREADS:
            patch.setenv(name, "1")
        # Matplotlib reads it when it is imported, which for a kernel of its own is after the kernel has set it.
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        forkserver.ensure_running()


def _pytest(arguments: list[str], cwd: Path, environment: dict[str, str], log: Path) -> None:
    """Become `python -m pytest`, with kernels that are forked from here."""
    from jupyter_client.provisioning import local_provisioner

    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(cwd)
    _take(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    local_provisioner.launch_kernel = ForkedKernel
    # What is imported already lives as long as the process: pytest need not look through it for garbage.
    gc.freeze()
    status = pytest.main(arguments)
    sys.stdout.flush()
    os._exit(int(status))


def _take(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


class ForkedKernel:
    """What jupyter_client asks of the `subprocess.Popen` of a kernel."""

    stdin = stdout = stderr = None

    def __init__(self, cmd: list[str], env: dict[str, str], cwd: str | None = None, **_: Any) -> None:
        """Fork a kernel from this process, which has no thread yet."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _kernel(cmd[cmd.index("-f") :], env, cwd)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        # Signals go to the kernel's group: from the first moment it must not be ours.
        os.setpgid(self.pid, self.pid)

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        """The exit status, when it has ended."""
        return self._reap(0)

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """End it politely."""
        self.send_signal(signal.SIGTERM)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _kernel(arguments: list[str], environment: Mapping[str, str], cwd: str | None) -> None:
    """Become `python -m ipykernel_launcher`."""
    from ipykernel import kernelapp

    _take(environment)
    if cwd:
        os.chdir(cwd)
    # The loop that was running in the parent is the parent's.
    asyncio.set_event_loop(asyncio.new_event_loop())
    kernelapp.launch_new_instance(argv=arguments)
    os._exit(0)

"""Processes that start warm: forked from one that has imported what chapters import.

`Warm` starts that process, the keeper (`python -m tools.warm`), and asks it for children. A child is a process of its
own in a session of its own: it runs a module as `python -m` would, with its own folder, variables and log, and imports
the library of its own checkout, of which the keeper holds nothing. The keeper has one thread and has computed nothing.
When whoever started it is gone, in whatever way, it ends its children and itself.
"""

import asyncio
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from tools.errors import BookError
from tools.processes import GRACE_SECONDS, Ended

LIBRARY = "icl_lib"
PRELOADED = (
    *(
        "torch",
        "torch._dynamo",
        "torch.optim",
        "numpy",
        "scipy.optimize",
        "scipy.stats",
        "pandas",
        "xarray",
        "scipy.io",
    ),
    # What the first result, the first sweep and the first classifier import would be imported in every child.
    *("dask.array", "distributed", "sklearn.linear_model", "sklearn.neighbors", "sklearn.datasets"),
    *("joblib", "matplotlib.pyplot", "matplotlib.backends.backend_svg", "myst_nb", "IPython"),
    *("ipykernel.kernelapp", "jupyter_client", "nbclient", "papermill.execute", "pytest", "nbval.plugin"),
)
# Read when a module is imported or the interpreter starts: all children of a keeper share them.
SHARED = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"),
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE"),
)
# What a kernel of its own sets before matplotlib is imported.
BACKEND = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
POLL_SECONDS = 0.05


@dataclass
class Warm:
    """Children of one keeper, which is started with the first of them."""

    _keeper: subprocess.Popen[str] | None = None
    _shared: dict[str, str | None] = field(default_factory=dict)
    _answers: dict[int, SimpleQueue[dict[str, Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _gone: bool = False
    _listener: threading.Thread | None = None

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
        """Run `python -m module arguments` to its end; what it prints goes to `log`, each line also to `on_line`.

        Raises `InterruptedError` after `stop`, and `BookError` where the keeper has ended by itself.
        """
        start = time.perf_counter()
        log.write_bytes(b"")
        job = {"module": module, "arguments": list(arguments), "cwd": str(cwd), "environment": dict(environment)}
        number, answers = self._ask({**job, "log": str(log)}, environment)
        with log.open(encoding="utf-8", errors="replace") as printed:
            while True:
                with contextlib.suppress(Empty):
                    answer = answers.get(timeout=POLL_SECONDS)
                    break
                _tell(printed, on_line)
            _tell(printed, on_line)
        with self._lock:
            del self._answers[number]
        if answer["status"] is None:
            self._refuse()
        return Ended(answer["status"], time.perf_counter() - start, answer["cpu_seconds"], answer["peak_bytes"])

    def _ask(self, job: dict[str, Any], environment: Mapping[str, str]) -> tuple[int, SimpleQueue[dict[str, Any]]]:
        shared = {name: environment.get(name) for name in SHARED}
        with self._lock:
            if self._stopped or self._gone:
                self._refuse()
            if self._keeper is None:
                self._shared = shared
                self._keeper = self._start(environment)
            if shared != self._shared:
                raise ValueError(f"environment must have the {', '.join(SHARED)} of the first child, got {shared}")
            number = len(self._answers) and max(self._answers) + 1
            answers = self._answers[number] = SimpleQueue()
            self._send({"number": number, **job})
        return number, answers

    def _refuse(self) -> NoReturn:
        if self._stopped:
            raise InterruptedError("stopped")
        raise BookError("the process from which kernels are forked has ended; its last words stand above; run again")

    def _start(self, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tools.warm"],
            cwd=Path(__file__).resolve().parents[1],
            env={**environment, **BACKEND},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(keeper,), daemon=True)
        self._listener.start()
        return keeper

    def _send(self, message: dict[str, Any]) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        # A keeper that is gone answers through `_listen`.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self._keeper.stdin, flush=True)

    def _listen(self, keeper: subprocess.Popen[str]) -> None:
        assert keeper.stdout is not None
        for line in keeper.stdout:
            answer = json.loads(line)
            with self._lock:
                self._answers[answer["number"]].put(answer)
        # Nobody will answer any more.
        with self._lock:
            self._gone = True
            for answers in self._answers.values():
                answers.put({"status": None})

    def stop(self) -> None:
        """End every child and the keeper; refuse new ones."""
        with self._lock:
            self._stopped = True
            keeper = self._keeper
        if keeper is None:
            return
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(2 * GRACE_SECONDS)
        keeper.kill()
        keeper.wait()
        if self._listener is not None:
            self._listener.join()
        keeper.stdout.close()


def _tell(printed: Any, on_line: Callable[[str], None] | None) -> None:
    """Hand on the lines that are whole."""
    while on_line is not None:
        at = printed.tell()
        line = printed.readline()
        if not line.endswith("\n"):
            printed.seek(at)
            return
        on_line(line.rstrip("\n"))


def keep() -> None:
    """Be the keeper: import, then fork a child for each line of stdin until there are no more."""
    for name in PRELOADED:
        __import__(name)
    for name in [name for name in sys.modules if name.split(".")[0] == LIBRARY]:
        del sys.modules[name]
    gc.collect()
    # What is imported lives as long as the process, and the collector would copy its pages.
    gc.freeze()
    running: dict[int, int] = {}
    rest, open_ = b"", True
    while open_:
        readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
        if readable:
            data = os.read(sys.stdin.fileno(), 1 << 16)
            open_ = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                job = json.loads(line)
                running[_fork(job)] = job["number"]
        _reap(running)
    _end(running)


def _fork(job: Mapping[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _become(job)
            status = _module(job["module"])
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    return child


def _become(job: Mapping[str, Any]) -> None:
    """Take the session, streams, folder, variables and path of a process of its own."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:0] = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [job["module"], *job["arguments"]]
    from jupyter_client.provisioning import local_provisioner

    vars(local_provisioner)["launch_kernel"] = ForkedKernel


def _module(name: str) -> int:
    """Run a module as the main one; gives the exit status."""
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return int(end.code or 0)
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _reap(running: dict[int, int]) -> None:
    """Answer for each child that has ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    while running:
        child, status, usage = os.wait4(-1, os.WNOHANG)
        if not child:
            return
        if child in running:
            answer = {
                "number": running.pop(child),
                "status": os.waitstatus_to_exitcode(status),
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * unit,
            }
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(answer), flush=True)


def _end(running: dict[int, int]) -> None:
    """End all children: first politely, so that each can end its kernel, then not."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, number)
        deadline = time.monotonic() + seconds
        while running and time.monotonic() < deadline:
            _reap(running)
            time.sleep(POLL_SECONDS)


class ForkedKernel:
    """What jupyter_client asks of the `subprocess.Popen` of a kernel."""

    stdin = stdout = stderr = None

    def __init__(self, cmd: list[str], env: dict[str, str], cwd: str | None = None, **_: Any) -> None:
        """Fork a kernel from this process, which has no thread yet."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                # A kernel ends when its parent is gone; by a variable it would know only if it had just been imported.
                watch = f"--IPKernelApp.parent_handle={os.getppid()}"
                _kernel([*cmd[cmd.index("-f") :], watch], env, cwd)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        # Signals go to the kernel's group: from the first moment it must not be ours.
        with contextlib.suppress(PermissionError, ProcessLookupError):
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

    os.setpgid(0, 0)
    # The parent may have caught signals that are the kernel's now.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    if cwd:
        os.chdir(cwd)
    # The loop that was running in the parent is the parent's.
    asyncio.set_event_loop(asyncio.new_event_loop())
    kernelapp.launch_new_instance(argv=arguments)
    os._exit(0)


if __name__ == "__main__":
    keep()

"""Child processes that are measured, watched and never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.warm import Warm

GRACE_SECONDS = 5.0
GUARD = str(Path(__file__).with_name("guard.py"))
# A keeper imports for two to five seconds, and so does each process that does not start warm.
WORTHWHILE = 4


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit status, wall and CPU seconds, memory of its largest process in bytes."""

    status: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass
class Children:
    """The children that run now; `stop` ends them all and refuses new ones."""

    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _warm: "Warm | None" = None

    def expect(self, count: int) -> None:
        """So many modules are going to be run: where that pays, they start warm."""
        if self._warm is None and count >= WORTHWHILE and sys.platform == "linux":
            from tools.warm import Warm

            self._warm = Warm()

    def run_module(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
        """`run` of `python -m module arguments`, in a fork that starts warm or in a fresh process."""
        where: Any = {"cwd": cwd, "environment": environment, "log": log, "on_line": on_line}
        if self._warm is not None:
            return self._warm.run(module, arguments, **where)
        return self.run([sys.executable, "-m", module, *arguments], **where)

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
        """Run a command to its end; what it prints goes to `log`, and each line of stdout also to `on_line`.

        The child leads a session of its own, so that an interrupt reaches it through `stop` only.
        """
        start = time.perf_counter()
        with log.open("wb", buffering=0) as errors:
            with self._lock:
                if self._stopped:
                    raise InterruptedError("stopped")
                child = subprocess.Popen(
                    [sys.executable, "-I", "-S", GUARD, *command],
                    cwd=cwd,
                    env=dict(environment),
                    # Never written to: it ends with this process, in whatever way that ends, and the guard sees it.
                    stdin=subprocess.PIPE,
                    stdout=errors if on_line is None else subprocess.PIPE,
                    stderr=errors,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,
                )
                self._running.add(child)
            try:
                if on_line is not None and child.stdout is not None:
                    for line in child.stdout:
                        errors.write(line.encode())
                        on_line(line.rstrip("\n"))
                    child.stdout.close()
                return self._wait(child, start)
            except BaseException:
                # Nobody else would wait for it.
                self._end(child)
                for pipe in filter(None, (child.stdin, child.stdout)):
                    pipe.close()
                raise

    def _wait(self, child: subprocess.Popen[str], start: float) -> Ended:
        # wait4 tells the memory of this child and of those that it waited for; no other call tells it per child.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.stdin is not None
        child.stdin.close()
        with self._lock:
            self._running.discard(child)
        unit = 1 if sys.platform == "darwin" else 1024
        seconds = time.perf_counter() - start
        return Ended(child.returncode, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)

    def _end(self, child: subprocess.Popen[str]) -> None:
        """End one child and all that it has started."""
        with self._lock:
            running = child in self._running
            self._running.discard(child)
        if running:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE_SECONDS)
                    return

    def stop(self) -> None:
        """End every child: first politely, so that it can end its kernel, then not."""
        with self._lock:
            self._stopped = True
        self._signal(signal.SIGTERM)
        if self._warm is not None:
            self._warm.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                if not self._running:
                    return
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock:
            for child in self._running:
                try:
                    os.killpg(child.pid, number)
                except ProcessLookupError:
                    continue

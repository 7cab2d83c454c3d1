"""Lines that say which page is at which step, and for how long."""

import sys
import threading
import time

HEARTBEAT_SECONDS = 15.0


class Progress:
    """Prints one line as a step starts and one as it ends; long steps report where they are."""

    def __init__(self) -> None:
        """The clock starts now."""
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._cells: dict[str, tuple[int, int]] = {}
        self._spoken = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line at once."""
        with self._lock:
            self._spoken = time.monotonic()
            print(text, file=sys.stdout, flush=True)

    def complain(self, text: str) -> None:
        """Print at once what is wrong."""
        with self._lock:
            self._spoken = time.monotonic()
            sys.stdout.flush()
            print(text, file=sys.stderr, flush=True)

    def start(self, page: str, step: str, why: str = "") -> None:
        """A step of a page starts."""
        self._started[page] = time.monotonic()
        self.say(f"{step:<8} {page} ..." + (f"  ({why})" if why else ""))

    def cell(self, page: str, number: int, total: int) -> None:
        """A page has come to a cell."""
        self._cells[page] = (number, total)

    def end(self, page: str, step: str, seconds: float) -> None:
        """A step of a page has ended well."""
        self._forget(page)
        self.say(f"{step:<8} {page} done, {seconds:.1f} s")

    def failed(self, page: str) -> None:
        """A step of a page has failed: nothing of it runs any more."""
        self._forget(page)
        self.say(f"failed   {page}")

    def _forget(self, page: str) -> None:
        self._started.pop(page, None)
        self._cells.pop(page, None)

    def heartbeat(self) -> None:
        """After a silence, say what runs."""
        now = time.monotonic()
        if now - self._spoken < HEARTBEAT_SECONDS:
            return
        for page, start in sorted(self._started.items()):
            number, total = self._cells.get(page, (0, 0))
            self.say(f"running  {page}: cell {number} of {total}, {now - start:.0f} s")

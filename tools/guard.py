"""Runs a command, and ends it when whoever started this is gone: `python guard.py COMMAND…`.

Whoever starts it holds the other end of its stdin, leads it in a session of its own, and gets the command's status.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0


def _end_with_stdin() -> None:
    """When nobody holds the other end any more, end the whole session: first politely, then not."""
    while os.read(0, 1):
        continue
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run the command; gives its exit status, and ends as it did where a signal ended it."""
    # Signals go to the whole session: this process waits for the command, whatever that makes of them.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    status = child.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A file that one process at a time holds, as far as the file system knows of locks, whoever of a group made it."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# What file systems without locks answer: Lustre without the option `flock`, and some network mounts.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def open_shared(path: Path, flags: int) -> int:
    """A descriptor of a file that everybody who may write into its folder may write, made where it is missing."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)
    # Whatever the umask of the one who makes it.
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, 0o666)
    return descriptor


@contextlib.contextmanager
def held(
    path: Path, on_wait: Callable[[], None] = lambda: None, without: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Inside, no other process and no other thread holds the lock at `path`; `on_wait` is called where one does.

    Where the file system has no locks, `without` is called and nobody is waited for.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            without()
        elif error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        # Not removed: who waits for it would hold another file than who comes next.
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return open_shared(path, os.O_RDWR)
    except PermissionError:
        # Made by somebody else, for himself: to lock it, reading is enough.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

"""The one error of the pipeline that a reader of a terminal sees."""

import errno
from collections.abc import Iterable

_NOT_YOURS = (
    "make it yours (sudo chown -R $USER and the folder, after a sudo make), or take a folder that you may write"
)
_IN_THE_WAY = "a file stands where a folder belongs, or a folder where a file does: move it away"
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NOT_YOURS),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY), _IN_THE_WAY),
    **dict.fromkeys((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS), "this file system has no locks: build elsewhere"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: take fewer JOBS, or raise ulimit -n"),
}


class BookError(Exception):
    """One clear message that names the thing, what is wrong with it and what is allowed; shown without a traceback."""


def remedy(error: OSError) -> str:
    """What the system said, and what to do about it."""
    return f"{error.strerror or error}; {REMEDIES.get(error.errno or 0, 'mend that and run again')}"


def listing(names: Iterable[object]) -> str:
    """Names as `a, b, c`, in order, for a message; `nothing` where there are none."""
    return ", ".join(sorted(str(name) for name in names)) or "nothing"

"""The one error of the pipeline that a reader of a terminal sees."""

from collections.abc import Iterable


class BookError(Exception):
    """One clear message that names the thing, what is wrong with it and what is allowed; shown without a traceback."""


def listing(names: Iterable[object]) -> str:
    """Names as `a, b, c`, in order, for a message; `nothing` where there are none."""
    return ", ".join(sorted(str(name) for name in names)) or "nothing"

"""The one error of the pipeline that a reader of a terminal sees."""


class BookError(Exception):
    """One clear message that names the thing, what is wrong with it and what is allowed; shown without a traceback."""


def listing(names: object) -> str:
    """Names as `a, b, c`, in order, for a message; `nothing` where there are none."""
    if not isinstance(names, list | tuple | set | frozenset | dict):
        raise TypeError(f"names must be a collection, got {names!r}")
    return ", ".join(sorted(str(name) for name in names)) or "nothing"

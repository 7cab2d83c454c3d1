"""What came of a call: a right answer, a refusal that names the argument, or a fault."""

import dataclasses
import inspect
import math
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Seconds of the processor that one call may take.
LIMIT = 5.0
RIGHT, REFUSED = "right", "refused by name"
SILENT, FOREIGN, ODD, HUNG = "nan or infinity in silence", "foreign error", "odd type accepted", "without end"
FAULTS = (SILENT, FOREIGN, ODD, HUNG)
OUTCOMES = (RIGHT, REFUSED, *FAULTS)


class WithoutEnd(BaseException):
    """A call has used up its time. Not an `Exception`, so that no function takes it for its own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Inside, no more than so many seconds of this process: what else the machine does counts for nothing."""

    def stop(*_: object) -> None:
        raise WithoutEnd

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def called(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """The result, an iterator taken to its end."""
    signature = inspect.signature(function)
    ordered = {name: given[name] for name in signature.parameters if name in given}
    bound = inspect.BoundArguments(signature, ordered)  # type: ignore[arg-type]
    found = function(*bound.args, **bound.kwargs)
    return list(found) if inspect.isgenerator(found) else found


def outcome(
    function: Callable[..., Any], given: Mapping[str, Any], argument: str, odd: bool, limit: float = LIMIT
) -> tuple[str, str]:
    """One of `OUTCOMES`, and what was seen, of a call whose `argument` was spoilt."""
    try:
        with limited(limit):
            found = called(function, given)
            told = repr(found)
    except WithoutEnd:
        return HUNG, f"more than {limit} s"
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return (REFUSED if refused_by_name(function, error, argument, given) else FOREIGN), told
    if not finite(found, getattr(function, "result", "finite"), getattr(function, "contents", True)):
        return SILENT, told
    return (ODD if odd else RIGHT), told


def refused_by_name(function: Callable[..., Any], error: Exception, argument: str, given: Mapping[str, Any]) -> bool:
    """Whether it is an error of the library's that names an argument, what is allowed and what it got."""
    documented = type(error).__name__ in (inspect.getdoc(function) or "")
    if type(error) not in (ValueError, TypeError) and not documented:
        return False
    told = str(error)
    names = {*inspect.signature(function).parameters, *_parts(given.get(argument))}
    named = any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", told.split(" must")[0]) for name in names)
    return documented or (named and " must " in told)


def _parts(value: Any) -> list[str]:
    """The names of the parts of an argument, which an error may name instead of it."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return list(getattr(value, "_fields", ()))


def finite(found: Any, result: str, contents: bool) -> bool:
    """Whether a result holds no nan and no infinity; −∞ of a `"log"`, an infinity of `"any"`, is as it should be."""
    if isinstance(found, Tensor):
        if not found.is_floating_point() or not contents:
            return True
        infinite = torch.isinf(found) & (result == "any") | torch.isneginf(found) & (result == "log")
        return bool((torch.isfinite(found) | infinite).all())
    if isinstance(found, float):
        return math.isfinite(found) or (result == "any" and math.isinf(found)) or (result == "log" and found < 0)
    if isinstance(found, Mapping):
        return all(finite(part, result, contents) for part in found.values())
    if isinstance(found, list | tuple):
        return all(finite(part, result, contents) for part in found)
    if dataclasses.is_dataclass(found) and not hasattr(found, "__post_init__"):
        return all(finite(getattr(found, field.name), result, contents) for field in dataclasses.fields(found))
    return True

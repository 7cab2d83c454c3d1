"""One argument at a time replaced by what a caller might give by mistake."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor


class Spoil(NamedTuple):
    """A spoilt value: what was done, the value, and whether it is of a type that a function must refuse."""

    kind: str
    value: Any
    odd: bool = False


def spoils(value: Any) -> list[Spoil]:
    """What can be made of one valid argument."""
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, bool):
        return [Spoil("wrong type", wrong, True) for wrong in (1, "yes", None, 0.0)]
    if isinstance(value, int):
        return _of_integer(value)
    if isinstance(value, float):
        return _of_float(value)
    if isinstance(value, str):
        return [Spoil("unknown word", "nonsense"), Spoil("empty", ""), *_wrong(3, None, b"linear", ["linear"])]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [*_of_parts(value), *_wrong(3, None, "text")]
    if isinstance(value, torch.dtype):
        wrong = (torch.float16, torch.int64, torch.bool, torch.complex64, "float64", None)
        return [Spoil("wrong dtype", one, True) for one in wrong]
    if isinstance(value, list | tuple):
        return [Spoil("empty", type(value)()), *_wrong(3, "text"), *_of_entries(value)]
    if isinstance(value, Mapping):
        return [Spoil("empty", {}), *_wrong(3, None, "text")]
    # Of what may be None every type may be allowed that is not this one.
    return _wrong(object()) if value is None else _wrong(3, "text", 1.5)


def _wrong(*values: Any) -> list[Spoil]:
    return [Spoil("wrong type", value, True) for value in values]


def _of_integer(value: int) -> list[Spoil]:
    numbers = [Spoil("zero", 0), Spoil("negative", -1), Spoil("negative", -(10**12)), Spoil("one", 1)]
    huge = [Spoil("huge", 10**12), Spoil("huge", 2**63), Spoil("huge", 10**400)]
    wrong = _wrong(True, 1.5, float(value), str(value), None, torch.tensor(value), numpy.float64(2), 2j, [value])
    return [*numbers, *huge, *wrong, *_wrong(math.nan, math.inf)]


def _of_float(value: float) -> list[Spoil]:
    numbers = [Spoil("zero", 0.0), Spoil("negative", -value), Spoil("whole", 2), Spoil("tiny", 1e-300)]
    huge = [Spoil("huge", 1e300), Spoil("huge", -1e300), Spoil("huge", 10**400), Spoil("large", 1e6)]
    infinite = [Spoil("nan", math.nan), Spoil("infinite", math.inf), Spoil("infinite", -math.inf)]
    return [*numbers, *huge, *infinite, *_wrong(True, str(value), None, torch.tensor([value, value]), 2j, [value])]


def _of_tensor(value: Tensor) -> list[Spoil]:
    found = [
        Spoil("integers", (3 * value).round().to(torch.int64), True),
        Spoil("booleans", value > 0, True),
        Spoil("half", value.to(torch.float16), True),
        Spoil("half", value.to(torch.bfloat16), True),
        Spoil("complex", value.to(torch.complex64), True),
        Spoil("mixed", value.to(torch.float32 if value.dtype == torch.float64 else torch.float64)),
        Spoil("zero", torch.zeros_like(value)),
        Spoil("negative", -value),
        Spoil("equal", torch.ones_like(value)),
        Spoil("huge", value * (1e300 if value.dtype == torch.float64 else 1e36)),
        Spoil("large", value * 1e4),
        Spoil("tiny", value * (1e-300 if value.dtype == torch.float64 else 1e-36)),
        Spoil("batch", torch.stack([value, value])),
        Spoil("clashing batch", value.expand(5, *value.shape)),
        Spoil("clashing batch", value.expand(7, 5, *value.shape)),
        *_wrong(value.tolist(), value.detach().numpy(), None, 3.0, "text"),
    ]
    if value.dim():
        found += [Spoil("rank", value[0]), Spoil("empty", value[..., :0]), Spoil("empty", value[:0])]
        found += [Spoil("size", torch.cat([value, value[..., :1]], -1)), Spoil("size", value[..., :1])]
        found += [Spoil("size", torch.cat([value, value[:1]], 0)), Spoil("rank", value.flatten())]
    return found + [Spoil("nan" if number != number else "infinite", _with(value, number)) for number in NUMBERS]


NUMBERS = (math.nan, math.inf, -math.inf)


def _with(value: Tensor, number: float) -> Tensor:
    """The tensor with one entry replaced."""
    found = value.clone(memory_format=torch.contiguous_format)
    found.view(-1)[found.numel() // 2] = number
    return found


def _of_parts(value: Any) -> Iterator[Spoil]:
    """A named tuple with one field spoilt."""
    for name in value._fields:
        part = getattr(value, name)
        if isinstance(part, Tensor):
            for spoil in _of_tensor(part):
                yield Spoil(spoil.kind, value._replace(**{name: spoil.value}), spoil.odd)


def _of_entries(value: Any) -> list[Spoil]:
    """A list or tuple with its first entry spoilt."""
    if not value:
        return []
    return [Spoil(one.kind, type(value)([one.value, *value[1:]]), one.odd) for one in spoils(value[0])]


def all_spoils(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    may_be_none: Iterable[str],
    variadic: Iterable[str] = (),
    anything: Iterable[str] = (),
) -> list[tuple[str, Spoil]]:
    """Every argument, also those with a default, with all that can be made of it."""
    found = [(argument, spoil) for argument, value in {**defaults, **given}.items() for spoil in spoils(value)]
    allowed = set(may_be_none)
    kept = [
        (argument, spoil)
        for argument, spoil in found
        if (spoil.value is not None or argument not in allowed)
        and (isinstance(spoil.value, list) or argument not in variadic)
        and not (argument in anything and spoil.odd and isinstance(spoil.value, list | tuple))
    ]
    return sorted(kept, key=lambda one: (one[0], one[1].kind))

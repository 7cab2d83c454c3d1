"""What a public function asks of its tensors and promises of its result, in one line above it.

`@checked("A: ... n d, x: ... d")` holds the tensors of a call to their shapes, to one floating dtype and one device,
and to finite contents, and the other arguments to their annotations where those name a class. Where the result is not
finite it raises `ValueError` instead, naming the argument that is most extreme. Sizes of one name are equal (`d_` is
`d`), one may be given (`k=2`), all are at least 1, and what stands for `...` in several tensors broadcasts, up to a
semicolon. `x0?` may be None, `tasks.A` is a part of `tasks`, and `weights.0` its first entry.

Only the call from outside is checked. Within one, and within a training's steps, a function costs what its body costs.
"""

import functools
import inspect
import math
import threading
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from icl_lib.running.validation import (
    LARGEST_COUNT,
    check_alike,
    check_broadcast,
    check_count,
    check_device,
    check_dtype,
    check_finite,
    check_instance,
    check_integer,
    check_last_dimensions,
    check_number,
    is_finite,
)

P = ParamSpec("P")
R = TypeVar("R")
# What numbers too large or too small raise of themselves.
OUT_OF_RANGE = (OverflowError, ZeroDivisionError, torch.linalg.LinAlgError)


class _Here(threading.local):
    inside = False


_here = _Here()


class _Asked(NamedTuple):
    """What is asked of a tensor: path, whether it may be missing, sizes, those given, with which it broadcasts."""

    path: str
    optional: bool
    leading: bool
    sizes: tuple[str, ...]
    given: dict[str, int]
    group: int


def checked(
    layout: str = "",
    *,
    counts: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    result: str = "finite",
    lowest: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
    contents: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the calls of a function, as the module says.

    `counts` are integers of at least 1, `numbers` finite ones. A logarithm may be −∞: in the result where `result` is
    `"log"`, in the arguments called `lowest`; with `"any"` the result is not looked at. Without `contents` no entry of
    a tensor is looked at, neither of an argument nor of the result; those `unread` the function looks at itself.
    """
    asked = parsed(layout)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if _here.inside:
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            _check_kinds(function, given)
            _check_scalars(given, counts, numbers)
            _check_tensors(asked, given)
            if contents:
                _check_contents(asked, given, lowest, unread)
            _here.inside = True
            try:
                found = function(*args, **kwargs)
            except OUT_OF_RANGE as error:
                raise too_extreme(function.__name__, given) from error
            finally:
                _here.inside = False
            if contents and result != "any" and not _all_finite(found, result == "log"):
                raise too_extreme(function.__name__, given)
            return found

        # By which tests make arguments that fit.
        vars(call).update(layout=layout, result=result, contents=contents)
        return call

    return decorate


@functools.cache
def parsed(layout: str) -> tuple[_Asked, ...]:
    """What a layout asks, tensor by tensor."""
    return tuple(
        _asked(part, group)
        for group, parts in enumerate(layout.split(";"))
        for part in filter(None, map(str.strip, parts.split(",")))
    )


def _asked(part: str, group: int) -> _Asked:
    name, _, sizes = part.partition(":")
    dims = sizes.split()
    leading = dims[:1] == ["..."]
    named = [dim.partition("=")[::2] for dim in dims[leading:]]
    fixed = {size: int(value) for size, value in named if value}
    return _Asked(name.removesuffix("?"), name.endswith("?"), leading, tuple(size for size, _ in named), fixed, group)


def check_tensors(layout: str, **given: Any) -> None:
    """Hold tensors to a layout as `checked` does, within a call too."""
    _check_tensors(parsed(layout), given)
    _check_contents(parsed(layout), given, (), ())


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(function).items() if name != "return"}


def _check_kinds(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Hold arguments to the classes that their annotations name; single numbers are left to the function."""
    for name, hint in _hints(function).items():
        if name in given:
            _check_kind(name, given[name], hint)


def _check_kind(name: str, value: Any, hint: Any) -> None:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if Any in parts or (value is None and type(None) in parts):
        return
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    if torch.dtype in kinds:
        check_dtype(name, value)
    elif torch.device in kinds:
        check_device(name, value)
    elif all(isinstance(kind, type) for kind in kinds) and not {int, float, Tensor} & set(kinds):
        check_instance(name, value, kinds)
        if len(parts) == 1 and issubclass(kinds[0], Sequence | Mapping):
            _check_entries(name, value, typing.get_args(hint))


def _check_entries(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    """Hold the entries of a sequence, or the values of a mapping, to their class."""
    if not kinds:
        return
    wanted = kinds[1] if isinstance(value, Mapping) else kinds[0]
    if isinstance(value, tuple) and len(kinds) > 1 and kinds[1] is not ...:
        return
    for entry in value.values() if isinstance(value, Mapping) else value:
        if wanted is float:
            check_number(name, entry)
        elif wanted is int:
            check_integer(name, entry, -LARGEST_COUNT)
        elif isinstance(wanted, type) and wanted not in (Tensor, Any):
            check_instance(name, entry, wanted)


def _check_scalars(given: Mapping[str, Any], counts: tuple[str, ...], numbers: tuple[str, ...]) -> None:
    for name in counts:
        if name in given:
            check_count(name, given[name])
    for name in numbers:
        if name in given:
            check_number(name, given[name])


def _check_tensors(asked: tuple[_Asked, ...], given: Mapping[str, Any]) -> None:
    known = {size: value for one in asked for size, value in one.given.items()}
    before: dict[str, Tensor] = {}
    batches: dict[int, dict[str, tuple[int, ...]]] = {}
    for one in asked:
        tensor = _at(one.path, given)
        if tensor is None and (one.optional or one.path.partition(".")[0] not in given):
            continue
        _check_one(one, tensor, known, before)
        if one.leading:
            batches.setdefault(one.group, {})[one.path] = tuple(tensor.shape[: tensor.dim() - len(one.sizes)])
        before[one.path] = tensor
    for group in batches.values():
        check_broadcast(group)


def _check_contents(
    asked: tuple[_Asked, ...], given: Mapping[str, Any], lowest: tuple[str, ...], unread: tuple[str, ...]
) -> None:
    for one in asked:
        tensor = _at(one.path, given)
        if tensor is not None and one.path not in unread:
            check_finite(one.path, tensor, lowest=one.path in lowest)


def _at(path: str, given: Mapping[str, Any]) -> Any:
    first, *rest = path.split(".")
    value = given.get(first)
    for name in rest:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif name.isdecimal():
            value = value[int(name)] if isinstance(value, tuple) and int(name) < len(value) else None
        else:
            value = getattr(value, name, None)
    return value


def _check_one(one: _Asked, tensor: Tensor, known: dict[str, int], before: Mapping[str, Tensor]) -> None:
    """Shape, dtype and device of one tensor; `known` sizes grow by those that it is the first to have."""
    check_last_dimensions(one.path, tensor, **{size: known.get(size.rstrip("_")) for size in one.sizes})
    if not one.leading and tensor.dim() != len(one.sizes):
        raise ValueError(f"{one.path} must have shape ({', '.join(one.sizes)}), got {tuple(tensor.shape)}")
    for size, length in zip(one.sizes, tensor.shape[tensor.dim() - len(one.sizes) :], strict=True):
        if known.setdefault(size.rstrip("_"), length) != length:
            told = ", ".join(size.rstrip("_") for size in one.sizes)
            raise ValueError(
                f"{one.path} must have shape (..., {told}) with sizes of one name equal, got {tuple(tensor.shape)}"
            )
    check_dtype(f"dtype of {one.path}", tensor.dtype)
    for path, other in before.items():
        check_alike(one.path, tensor, path, other)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    if isinstance(value, Mapping):
        return _leaves(list(value.values()))
    if is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "__post_init__"):
        return _leaves([getattr(value, field.name) for field in fields(value)])
    return [value]


def _all_finite(result: Any, lowest: bool) -> bool:
    for leaf in _leaves(result):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not is_finite(leaf, lowest=lowest):
            return False
        if isinstance(leaf, float) and not (math.isfinite(leaf) or (lowest and leaf == -math.inf)):
            return False
    return True


def too_extreme(function: str, given: Mapping[str, Any]) -> ValueError:
    """The error that names the argument whose size is farthest from 1."""
    sizes = {name: _farthest(value) for name, value in given.items()}
    name = max(sizes, key=lambda name: abs(math.log(sizes[name])))
    value = given[name]
    told = f"{value}" if isinstance(value, int | float) else f"numbers of the size {sizes[name]:.3g}"
    return ValueError(f"{name} must be such that {function} is finite, got {told}")


def _farthest(value: Any) -> float:
    """The largest size of a number in an argument, or the least where that is farther from 1; 1 where there is none."""
    found = [1.0]
    for leaf in _leaves(value):
        if isinstance(leaf, Tensor) and leaf.numel() and leaf.is_floating_point():
            largest = float(leaf.detach().abs().max())
            found.append(largest if math.isfinite(largest) else math.inf)
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            found.append(min(abs(leaf), 1e308))
    return max((size for size in found if size > 0), key=lambda size: abs(math.log(size)))

"""Checks on arguments: one error that names the argument, its value and what is allowed."""

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor


def check_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> None:
    """Raise `TypeError` unless `value` is an integer, `ValueError` unless minimum ≤ value (≤ maximum)."""
    allowed = f"an integer >= {minimum}" if maximum is None else f"an integer in [{minimum}, {maximum}]"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    if value < minimum or (maximum is not None and value > maximum):
        raise ValueError(f"{name} must be {allowed}, got {value}")


def check_number(
    name: str, value: Any, *, above: float = -math.inf, minimum: float = -math.inf, maximum: float = math.inf
) -> None:
    """Raise unless `value` is a finite real number with above < value and minimum ≤ value ≤ maximum."""
    limits = [f"> {above:g}"] * (above > -math.inf)
    limits += [f">= {minimum:g}"] * (minimum > -math.inf) + [f"<= {maximum:g}"] * (maximum < math.inf)
    allowed = " ".join(["a finite number", " and ".join(limits)]).strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    if not (math.isfinite(value) and value > above and minimum <= value <= maximum):
        raise ValueError(f"{name} must be {allowed}, got {value}")


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise `ValueError` unless `value` is one of the strings `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_tuple(name: str, value: Any, what: str) -> None:
    """Raise `TypeError` unless `value` is a tuple (which a config that is hashed must hold), `ValueError` if empty."""
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple of {what}, got {value!r} of type {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must hold at least one entry, got none")


def check_last_dimensions(name: str, tensor: Tensor, **sizes: int | None) -> None:
    """Raise unless the last dimensions of `tensor` are `sizes` in order; `None` leaves a size (≥ 1) open."""
    wanted = "(..., " + ", ".join(k if v is None else f"{k}={v}" for k, v in sizes.items()) + ")"
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor of shape {wanted}, got {type(tensor).__name__}")
    tail = tuple(tensor.shape[-len(sizes) :])
    fits = len(tail) == len(sizes) and all(t >= 1 and v in (None, t) for t, v in zip(tail, sizes.values(), strict=True))
    if not fits:
        raise ValueError(f"{name} must have shape {wanted} with sizes >= 1, got {tuple(tensor.shape)}")

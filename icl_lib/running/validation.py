"""Checks on arguments: one error that names the argument, its value and what is allowed."""

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)
# No size, and no number of steps, is larger: one more digit by mistake must not fill the memory or run for years.
LARGEST_COUNT = 10**7


def check_integer(name: str, value: Any, minimum: int, maximum: int | None = None) -> None:
    """Raise `TypeError` unless `value` is an integer, `ValueError` unless minimum ≤ value (≤ maximum)."""
    allowed = f"an integer >= {minimum}" if maximum is None else f"an integer in [{minimum}, {maximum}]"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    if value < minimum or (maximum is not None and value > maximum):
        raise ValueError(f"{name} must be {allowed}, got {value}")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise as `check_integer` does, and `ValueError` for a size or a number of steps above `LARGEST_COUNT`."""
    check_integer(name, value, minimum)
    if value > LARGEST_COUNT:
        raise ValueError(f"{name} must be an integer <= {LARGEST_COUNT}, got {value}")


def check_number(
    name: str, value: Any, *, above: float = -math.inf, minimum: float = -math.inf, maximum: float = math.inf
) -> None:
    """Raise unless `value` is a finite real number with above < value and minimum ≤ value ≤ maximum."""
    limits = [f"> {above:g}"] * (above > -math.inf)
    limits += [f">= {minimum:g}"] * (minimum > -math.inf) + [f"<= {maximum:g}"] * (maximum < math.inf)
    allowed = " ".join(["a finite number", " and ".join(limits)]).strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    # An integer may be too long for a float.
    finite = abs(value) <= sys.float_info.max
    if not (finite and value > above and minimum <= value <= maximum):
        raise ValueError(f"{name} must be {allowed}, got {_short(value)}")


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise `ValueError` unless `value` is one of the strings `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_limit(name: str, value: Any) -> None:
    """Raise unless `value` is a number or an infinity: a limit may lie nowhere."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {_short(value)} of type {type(value).__name__}")
    if value != value:
        raise ValueError(f"{name} must be a number, got nan")


def check_filled(name: str, value: Collection[Any]) -> None:
    """Raise `ValueError` for a collection without an entry."""
    if not value:
        raise ValueError(f"{name} must hold at least one entry, got none")


def check_sign(name: str, value: Any) -> None:
    """Raise unless `value` is the integer 1 or -1."""
    check_integer(name, value, -1, 1)
    if value == 0:
        raise ValueError(f"{name} must be 1 or -1, got 0")


def check_tuple(name: str, value: Any, what: str) -> None:
    """Raise `TypeError` unless `value` is a tuple (which a config that is hashed must hold), `ValueError` if empty."""
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple of {what}, got {value!r} of type {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must hold at least one entry, got none")


def check_last_dimensions(name: str, tensor: Tensor, **sizes: int | None) -> None:
    """Raise unless the last dimensions of `tensor` are `sizes` in order; `None` leaves a size (≥ 1) open."""
    wanted = f"({', '.join(['...', *(k if v is None else f'{k}={v}' for k, v in sizes.items())])})"
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor of shape {wanted}, got {type(tensor).__name__}")
    tail = tuple(tensor.shape[max(0, tensor.dim() - len(sizes)) :])
    fits = len(tail) == len(sizes) and all(t >= 1 and v in (None, t) for t, v in zip(tail, sizes.values(), strict=True))
    if not fits:
        raise ValueError(f"{name} must have shape {wanted} with sizes >= 1, got {tuple(tensor.shape)}")


def check_instance(name: str, value: Any, kinds: type | tuple[type, ...]) -> None:
    """Raise `TypeError` unless `value` is an instance of one of `kinds`."""
    if not isinstance(value, kinds):
        allowed = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{name} must be of type {allowed}, got {_short(value)} of type {type(value).__name__}")


def check_size(name: str, tensor: Tensor, largest: float) -> None:
    """Raise `ValueError` unless no entry of `tensor` is larger in size than `largest`."""
    size = float(tensor.detach().abs().max())
    if not size <= largest:
        raise ValueError(f"{name} must hold numbers of at most {largest:g} in size, got {size:g}")


def check_alike(name: str, tensor: Tensor, like: str, other: Tensor) -> None:
    """Raise `TypeError` unless a tensor has the dtype and the device of the one called `like`."""
    if (tensor.dtype, tensor.device) != (other.dtype, other.device):
        wanted = f"of {other.dtype} on {other.device} as {like} is"
        raise TypeError(f"{name} must be {wanted}, got {tensor.dtype} on {tensor.device}")


def check_device(name: str, device: Any) -> None:
    """Raise `ValueError` or `TypeError` unless `device` is a device, or a text that PyTorch takes for one."""
    check_instance(name, device, (torch.device, str))
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(f"{name} must be a device such as 'cpu' or 'cuda', got {device!r}") from None


def check_keys(name: str, mapping: Mapping[str, Any], *keys: str) -> None:
    """Raise `ValueError` unless `mapping` holds all of `keys`."""
    if missing := [key for key in keys if key not in mapping]:
        raise ValueError(
            f"{name} must hold {', '.join(map(repr, keys))}, got none called {', '.join(map(repr, missing))}"
        )


def check_dtype(name: str, dtype: Any) -> None:
    """Raise `TypeError` unless `dtype` is that of single or double precision."""
    if dtype not in FLOATING:
        raise TypeError(f"{name} must be torch.float32 or torch.float64, got {dtype}")


def check_broadcast(batches: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `ValueError` unless the leading dimensions of the tensors called so broadcast together."""
    together: tuple[int, ...] = ()
    for name, batch in batches.items():
        try:
            together = tuple(torch.broadcast_shapes(together, batch))
        except RuntimeError:
            raise ValueError(
                f"{name} must have leading dimensions that broadcast with {together}, got {batch}"
            ) from None


def check_finite(name: str, tensor: Tensor, *, lowest: bool = False) -> None:
    """Raise `ValueError` unless all entries of `tensor` are finite, or −∞ where `lowest` allows it."""
    if not is_finite(tensor, lowest=lowest):
        raise ValueError(f"{name} must hold finite numbers, got nan or infinity")


def is_finite(tensor: Tensor, *, lowest: bool = False) -> bool:
    """Whether all entries are finite, or −∞ where `lowest` allows it."""
    try:
        # One quick look; a sum that overflows, or has −∞ where it may, needs the second.
        total = float(tensor.detach().sum())
    except RuntimeError:
        # Under a transform of torch.func a tensor stands for many, and has no contents to look at.
        return True
    if math.isfinite(total):
        return True
    return bool((torch.isfinite(tensor) | (lowest & torch.isneginf(tensor))).all())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

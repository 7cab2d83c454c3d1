"""A stand-in for a CUDA graph: what a step does is recorded and done again on the same memory, without its Python."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        result = function(*arguments, **named)
        self.calls.append((function, arguments, named, result))
        return result


class Tape:
    """A recorder as `capture.cuda_graph` is one. Recording runs the step here, so the first replay is empty."""

    def __init__(self) -> None:
        self.replays = 0
        self.generators: Sequence[Generator] = ()
        self._recording = _Recording()

    def __call__(self, step: Callable[[], None], generators: Sequence[Generator]) -> Callable[[], None]:
        self.generators = generators
        with self._recording:
            step()
        return self._replay

    def _replay(self) -> None:
        self.replays += 1
        if self.replays == 1:
            return
        for function, arguments, named, result in self._recording.calls:
            again = function(*arguments, **named)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

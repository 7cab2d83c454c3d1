from typing import Any

import pytest
import torch

from icl_lib.running.streams import PURPOSES, stream


def first(root: int, purpose: str, repetition: int = 0) -> tuple[float, ...]:
    return tuple(torch.randn(4, generator=stream(root, purpose, repetition)).tolist())


def test_a_stream_is_the_same_every_time() -> None:
    assert first(0, "train", 3) == first(0, "train", 3)


def test_streams_of_other_roots_purposes_and_repetitions_differ() -> None:
    names = [(root, p, r) for root in (0, 1, 11) for p in (*PURPOSES, "test/far") for r in (0, 1, 10)]
    assert len({first(*name) for name in names}) == len(names)


def test_what_one_stream_has_drawn_moves_no_other() -> None:
    expected = first(0, "test", 1)
    torch.randn(1000, generator=stream(0, "train", 1))
    torch.manual_seed(7)
    assert first(0, "test", 1) == expected


def test_a_stream_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.randn(10, generator=stream(0, "init"))
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_names_are_errors() -> None:
    with pytest.raises(ValueError, match="purpose must be one of 'init', 'train', 'tune', 'test', got 'trian'"):
        stream(0, "trian")
    with pytest.raises(ValueError, match="root must be an integer >= 0, got -1"):
        stream(-1, "init")
    one: Any = 1.0
    with pytest.raises(TypeError, match="repetition must be an integer"):
        stream(0, "init", one)

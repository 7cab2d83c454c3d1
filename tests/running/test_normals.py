"""Normals drawn in double precision: their law, their independence, and how a stream gives them."""

import math

import numpy
import pytest
import torch
from scipy.stats import kstest, norm

from icl_lib.running.normals import standard_normal
from icl_lib.running.streams import stream

COUNT = 1_000_000


@pytest.fixture(scope="module")
def drawn() -> numpy.ndarray:
    return standard_normal(2, COUNT // 2, generator=stream(0, "test"), dtype=torch.float64).numpy()


def test_their_law_is_the_standard_normal(drawn: numpy.ndarray) -> None:
    assert kstest(drawn.ravel(), norm.cdf).pvalue > 0.01
    # Far out, where the statistic of Kolmogorov and Smirnov sees little: counts beyond ±t against their own error.
    for t in (2, 3, 4):
        for beyond in (drawn > t, drawn < -t):
            expected = COUNT * norm.sf(t)
            assert abs(beyond.sum() - expected) < 4 * math.sqrt(expected)
    # 1.01 times as wide is found.
    assert kstest(1.01 * drawn.ravel(), norm.cdf).pvalue < 1e-6


def test_moments_up_to_the_eighth(drawn: numpy.ndarray) -> None:
    for power, mean, second in ((1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105), (6, 15, 10_395), (8, 105, 2_027_025)):
        error = math.sqrt((second - mean**2) / COUNT)
        assert abs((drawn**power).mean() - mean) < 4 * error, power


def test_neighbours_and_the_two_of_a_pair_are_independent(drawn: numpy.ndarray) -> None:
    flat = drawn.ravel()
    pairs = [(drawn[0], drawn[1]), (flat[:-1], flat[1:]), (flat[:-2], flat[2:])]
    for one, other in pairs:
        for f, g in ((one, other), (one**2 - 1, other**2 - 1), (one**2 - 1, other)):
            product = f * g
            assert abs(product.mean()) < 4 * product.std() / math.sqrt(len(product))
    # The sum of the squares of a pair is exponential, their angle uniform, and neither tells of the other.
    squares, angle = (drawn**2).sum(0), numpy.arctan2(drawn[1], drawn[0])
    assert kstest(numpy.exp(-squares / 2), "uniform").pvalue > 0.01
    assert kstest(angle / (2 * math.pi) + 0.5, "uniform").pvalue > 0.01
    assert abs(numpy.corrcoef(squares, numpy.cos(angle))[0, 1]) < 4 / math.sqrt(COUNT / 2)


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (3, 5), (2, 0), (4, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_stream_gives_the_same_again_and_then_others(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generators = [stream(3, "test") for _ in range(2)]
    first, again = (standard_normal(*shape, generator=generator, dtype=dtype) for generator in generators)
    assert (first.shape, first.dtype) == (torch.Size(shape), dtype)
    assert torch.equal(first, again)
    assert not first.numel() or not torch.equal(standard_normal(*shape, generator=generators[0], dtype=dtype), first)


def test_no_bits_give_an_infinite_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for bits in (-(2**63), -1, 0, 2**63 - 1):
        monkeypatch.setattr(torch.Tensor, "random_", lambda tensor, *_, bits=bits, **__: tensor.fill_(bits))
        assert float(standard_normal(4, generator=stream(0, "test"), dtype=torch.float64).abs().max()) < 6.8


def test_in_single_precision_they_are_those_of_pytorch() -> None:
    expected = torch.randn(5, generator=stream(1, "test"))
    assert torch.equal(standard_normal(5, generator=stream(1, "test")), expected)


def test_another_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match=r"dtype must be torch\.float32 or torch\.float64, got torch\.float16"):
        standard_normal(2, generator=stream(0, "test"), dtype=torch.float16)

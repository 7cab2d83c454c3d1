"""Tasks drawn a block at a time are the tasks drawn at once, to the last bit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.running.streams import stream
from icl_lib.softmax_regression import closeness as experiment
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression.blocks import Block, block_sizes, blocks
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import QUERIES, SoftmaxRegression


def at_once(task: SoftmaxRegression, count: int) -> Block:
    drawn = task.sample(count, stream(0, "test"))
    A, A_query, x = drawn.A.double(), drawn.A_query.double(), drawn.x.double()
    return Block(sr.centred_readout(A, sr.predict(A, x)), A_query, sr.predict(A_query, x))


@pytest.mark.parametrize("query", QUERIES)
@given(n=st.integers(1, 20), d=st.integers(1, 6), count=st.integers(1, 60), words=st.integers(1, 300))
def test_blocks_hold_the_tasks_of_the_sampler(query: str, n: int, d: int, count: int, words: int) -> None:
    task = SoftmaxRegression(n, d, 1.5, query)
    found = list(blocks(task, count, stream(0, "test"), words))
    for name, expected in at_once(task, count)._asdict().items():
        assert torch.equal(torch.cat([getattr(block, name) for block in found]), expected), name


@given(n=st.integers(1, 10**6), d=st.integers(1, 100), count=st.integers(1, 2000), words=st.integers(1, 10**5))
def test_blocks_are_bounded_by_their_words(n: int, d: int, count: int, words: int) -> None:
    sizes = block_sizes(SoftmaxRegression(n, d), count, words)
    assert sum(sizes) == count
    # Sixteen normals are the least that can be drawn apart, and a last part too small joins the one before it.
    assert max(sizes) * n * d <= max(words * d, 16 * n * d) + 16


@pytest.mark.parametrize(
    ("d", "count", "words", "sizes"),
    [
        (3, 20, 16, [20]),
        (3, 22, 16, [16, 6]),
        (3, 36, 16, [16, 20]),
        (4, 8, 4, [4, 4]),
        (4, 4, 4, [4]),
        (4, 9, 4, [4, 5]),
    ],
)
def test_a_last_block_of_fewer_than_sixteen_normals_joins_the_one_before(
    d: int, count: int, words: int, sizes: list[int]
) -> None:
    assert block_sizes(SoftmaxRegression(1, d), count, words) == sizes


@pytest.mark.parametrize("query", QUERIES)
def test_measures_do_not_depend_on_blocks(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one task each, where the neighbour of the shuffled control lies in another block."""
    config = Closeness(16, 3, query, tuning=40, test=40)
    M = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for words in (1, 16 * 7, 10**6):
        monkeypatch.setattr(experiment, "blocks", partial(blocks, words=words))
        found.append((experiment.tune_rate(config, 0), experiment.test_repetition(config, 0, M, 0.4, 0.5)))
    for rate, measures in found[1:]:
        assert rate == found[0][0]
        for name, value in measures.items():
            torch.testing.assert_close(value, found[0][1][name], rtol=1e-12, atol=0)
    assert found[0][1]["control_shuffled_cos"].max() < 0.9


def test_bad_counts_are_errors() -> None:
    task = SoftmaxRegression(3, 2)
    with pytest.raises(ValueError, match="count must be an integer >= 1, got 0"):
        next(blocks(task, 0, stream(0, "test")))
    with pytest.raises(ValueError, match="words must be an integer >= 1, got 0"):
        next(blocks(task, 3, stream(0, "test"), words=0))
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        replace(task, n=0)

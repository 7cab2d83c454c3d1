"""Documents of real words, the layer trained on them, and that no word or window is on both sides."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from icl_lib.running.streams import stream
from icl_lib.softmax_regression import problem, text, word_documents, word_vectors
from icl_lib.softmax_regression.rival_summaries import beside_step
from icl_lib.softmax_regression.rivals import RIVALS, Rivals
from icl_lib.softmax_regression.summaries import loss_ratio
from icl_lib.softmax_regression.text import Text
from icl_lib.softmax_regression.word_closeness import WordCloseness, matrix_gradient, train_matrices
from icl_lib.softmax_regression.word_documents import SOURCES, WordDocuments

CPU = torch.device("cpu")
CACHES = (word_vectors.of_the_text, word_documents._words, word_documents._covariance, word_documents._tables)
SMALL = WordCloseness(5, 3, vocabulary=60, repetitions=2, steps=40, batch=50, tuning=60, test=60)


def _clear() -> None:
    for cache in CACHES:
        cache.cache_clear()


def _invented(seed: int, count: int) -> list[str]:
    """Words of which the next is likely to be a neighbour of the last."""
    steps = torch.randint(-3, 4, (count,), generator=torch.Generator().manual_seed(seed)).cumsum(0) % 80
    return [f"w{chr(97 + k // 26)}{chr(97 + k % 26)}" for k in steps.tolist()]


@pytest.fixture(autouse=True)
def invented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(text, "load", lambda: Text(_invented(0, 3000), _invented(1, 2000)))
    _clear()
    yield
    _clear()


def _rows(A: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in A.reshape(-1, A.shape[-1]).tolist()}


def test_independent_words_are_trained_on_or_tested_on_never_both() -> None:
    train, test = (WordDocuments(9, 3, part=part, vocabulary=60) for part in ("train", "test"))
    assert len(train.words) == len(test.words) == 30
    drawn = [_rows(task.sample(200, stream(0, "test"), dtype=torch.float64).A) for task in (train, test)]
    assert drawn == [_rows(train.words), _rows(test.words)]
    assert not drawn[0] & drawn[1]


def test_windows_are_runs_of_the_half_that_they_belong_to() -> None:
    for part, half in zip(("train", "test"), word_vectors.of_the_text(3, 60)[2:], strict=True):
        task = WordDocuments(7, 3, "windows", part, vocabulary=60)
        torch.testing.assert_close(task.words, word_vectors.of_the_text(3, 60).vectors[half], rtol=0, atol=0)
        runs = {tuple(run.flatten().tolist()) for run in task.words.unfold(0, 7, 1).mT}
        tasks = task.sample(300, stream(0, "test"), dtype=torch.float64)
        for A in (tasks.A, tasks.A_query):
            assert {tuple(one.flatten().tolist()) for one in A} <= runs
        # The first window and the last can be drawn.
        starts = task._places(100_000, stream(0, "test"), None)[:, 0]
        assert (int(starts.min()), int(starts.max())) == (0, len(task.words) - 7)


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_that_is_trained_or_tuned_sees_the_test_half(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, source=source, steps=2)
    one = config.compute(CPU)
    monkeypatch.setattr(text, "load", lambda: Text(_invented(0, 3000), _invented(2, 500)))
    _clear()
    assert config.compute(CPU).identical(one)


@pytest.mark.parametrize("source", SOURCES)
def test_logits_have_the_scale_and_the_query_the_weights_of_the_document(source: str) -> None:
    task = WordDocuments(6, 3, source, scale=1.5, vocabulary=60)
    tasks = task.sample(40_000, stream(0, "test"), dtype=torch.float64)
    logits = (task.words - task.words.mean(0)) @ tasks.x[:5000].mT
    assert logits.square().mean().sqrt().item() == pytest.approx(1.5, rel=0.02)
    for A, b in ((tasks.A, tasks.b), (tasks.A_query, tasks.b_query)):
        torch.testing.assert_close(b, problem.predict(A, tasks.x))
    assert not torch.equal(tasks.A, tasks.A_query)
    torch.testing.assert_close(task.covariance, torch.cov(task.words.mT, correction=0))
    # That of the training words, also where it is tested.
    torch.testing.assert_close(replace(task, part="test").covariance, task.covariance, rtol=0, atol=0)


def test_the_gradient_of_the_matrix_is_that_of_autograd() -> None:
    tasks = WordDocuments(6, 3, vocabulary=60).sample(8, stream(0, "train"), dtype=torch.float64)
    M = torch.randn(3, 3, generator=stream(1, "init"), dtype=torch.float64).requires_grad_()
    h = problem.centred_readout(tasks.A, tasks.b)
    loss = 6 * problem.loss(tasks.A_query, h @ M.mT, tasks.b_query).mean()
    (slope,) = torch.autograd.grad(loss, M)
    torch.testing.assert_close(matrix_gradient(tasks, M.detach()), slope)


def test_training_lowers_the_loss_and_repetitions_do_not_mix() -> None:
    trained = train_matrices(SMALL, CPU)
    alone = train_matrices(replace(SMALL, repetitions=1), CPU)
    torch.testing.assert_close(trained[:1], alone, rtol=1e-5, atol=1e-7)
    tasks = SMALL.documents("tune", 0, 200)
    h = problem.centred_readout(tasks.A, tasks.b)
    before, after = (
        problem.loss(tasks.A_query, h @ M.mT, tasks.b_query).mean()
        for M in (0 * trained[0].double(), trained[0].double())
    )
    assert after < 0.95 * before


def test_the_best_multiple_has_the_least_loss_on_all_tuning_tasks() -> None:
    c = SMALL.best_multiple(torch.eye(3, dtype=torch.float64))

    def loss(rate: float) -> float:
        drawn = [SMALL.documents("tune", r, SMALL.tuning) for r in range(2)]
        steps = [(t, rate * problem.centred_readout(t.A, t.b)) for t in drawn]
        return sum(float(problem.loss(t.A_query, w, t.b_query).mean()) for t, w in steps)

    assert loss(c) < min(loss(0.95 * c), loss(1.05 * c))
    assert SMALL.compute(CPU).rate.values.tolist() == [c, c]
    matrices = torch.stack([2 * torch.eye(3, dtype=torch.float64)] * 2)
    assert SMALL.best_multiple(matrices) == pytest.approx(c / 2, rel=1e-6)


def test_the_regression_is_the_best_linear_guess_of_the_weights() -> None:
    tasks = [SMALL.documents("tune", r, SMALL.tuning) for r in range(2)]
    h = torch.cat([problem.centred_readout(t.A, t.b) for t in tasks])
    rest = torch.cat([t.x for t in tasks]) - h @ SMALL.preconditioners()["regression"].mT
    assert (rest.mT @ h).abs().max() < 1e-10 * len(h)


@pytest.mark.parametrize("source", SOURCES)
def test_a_layer_on_words_is_held_against_every_rival(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICL_STORE", "off")
    found = Rivals(replace(SMALL, source=source), tuning=30).compute(CPU)
    assert found.rival.values.tolist() == list(RIVALS)
    loss = found.loss.mean("repetition")
    assert loss.sel(rival="truth") < 1e-20
    beside = beside_step(found)
    assert loss_ratio(beside).values.tolist() == (found.loss_sa / found.loss.sel(rival="step")).values.tolist()
    assert beside.model_cos.isel(step=-1).values.tolist() == found.model_cos.sel(rival="step").values.tolist()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": 3, "source": "paragraphs"}, "source must be one of 'independent', 'windows', got 'paragraphs'"),
        ({"n": 3, "part": "tune"}, "part must be one of 'train', 'test', got 'tune'"),
        ({"n": 3, "d": 30, "vocabulary": 60}, r"d must be an integer in \[1, 29\], got 30"),
        ({"n": 3, "scale": 0.0}, "scale must be a finite number > 0, got 0.0"),
    ],
)
def test_bad_settings_are_one_error(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WordDocuments(**settings)  # type: ignore[arg-type]


def test_windows_are_no_longer_than_the_text() -> None:
    task = WordDocuments(5000, 3, "windows", vocabulary=60)
    with pytest.raises(ValueError, match=r"n must be at most the \d+ words of half of the text, got 5000"):
        task.sample(1, stream(0, "test"))

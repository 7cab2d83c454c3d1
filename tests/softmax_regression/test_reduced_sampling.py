"""The reduced sampler against explicit documents: the same distribution, the same expected gradient, less noise."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds
from scipy.stats import ks_2samp
from torch import Tensor

from icl_lib.running.streams import stream
from icl_lib.running.training import Adam, train
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout
from icl_lib.softmax_regression.reduced_sampling import ReducedTasks

CPU = torch.device("cpu")
CASES = [(2, 1, 1.0), (5, 3, 1.0), (25, 20, 1.0), (25, 4, 2.5), (100, 8, 0.3)]
TASKS = 6000
# With fixed seeds a p-value is a fixed number; over some 140 of them the least should be about 1/140.
LEAST_P = 1e-4

# h (B, d), the query's logits for w (B, n), its target (B, n), and w (B, d).
Seen = tuple[Tensor, Tensor, Tensor, Tensor]


def directions(h: Tensor, kind: str) -> Tensor:
    """w = M h for a fixed random M, or a w that knows nothing of the document."""
    M = normal(5, h.shape[-1], h.shape[-1])
    return h @ M.T if kind == "M h" else M[0].expand_as(h)


def explicit(task: SoftmaxRegression, kind: str) -> Seen:
    tasks = task.sample(TASKS, stream(1, "test"), dtype=torch.float64)
    h = centred_readout(tasks.A, tasks.b)
    w = directions(h, kind)
    return h, (tasks.A_query @ w.unsqueeze(-1)).squeeze(-1), tasks.b_query, w


def reduced(task: SoftmaxRegression, kind: str, spoil: float = 1.0) -> Seen:
    tasks = reduced_sampling.draw(task, TASKS, [stream(1, "train")], CPU, torch.float64)
    if spoil != 1:
        tasks = tasks._replace(across=spoil * tasks.across)
    w = directions(tasks.h, kind)
    return tasks.h[0], reduced_sampling.logits(tasks, w)[0], tasks.target[0], w[0]


def statistics(seen: Seen) -> Iterator[tuple[str, Tensor]]:
    """One number a task: marginals, and the joint moments that loss and gradient are made of."""
    h, z, b, w = seen
    f = torch.softmax(z, -1)
    slope = f * (f - b - (f * (f - b)).sum(-1, keepdim=True))
    yield from (("h", h[:, 0]), ("‖h‖", h.norm(dim=-1)), ("⟨h, w⟩", (h * w).sum(-1)))
    yield from (("z", z[:, 0]), ("Σz", z.sum(-1)), ("‖z‖", z.norm(dim=-1)), ("z z'", z[:, 0] * z[:, -1]))
    yield from (("b", b[:, 0]), ("‖b‖", b.norm(dim=-1)), ("⟨z, b⟩", (z * b).sum(-1)), ("f", f[:, 0]))
    yield from (("loss", (f - b).square().sum(-1)), ("⟨slope, z⟩", (slope * z).sum(-1)), ("h z", h[:, 0] * z[:, 0]))


@pytest.mark.parametrize("kind", ["M h", "fixed w"])
@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize(("n", "d", "scale"), CASES)
def test_both_samplers_have_one_distribution(n: int, d: int, scale: float, query: str, kind: str) -> None:
    task = SoftmaxRegression(n, d, scale, query)
    for (name, one), (_, other) in zip(statistics(explicit(task, kind)), statistics(reduced(task, kind)), strict=True):
        error = ((one.var() + other.var()) / TASKS).sqrt()
        assert abs(one.mean() - other.mean()) < 4.5 * error + 1e-12, f"mean of {name}"
        assert ks_2samp(one, other).pvalue > LEAST_P, f"distribution of {name}"


@pytest.mark.parametrize("query", ["held", "same"])
def test_a_sampler_that_is_wrong_by_a_tenth_is_told_apart(query: str) -> None:
    task = SoftmaxRegression(25, 4, 1.0, query)
    right = dict(statistics(explicit(task, "M h")))
    least = {name: ks_2samp(right[name], v).pvalue for name, v in statistics(reduced(task, "M h", spoil=1.1))}
    assert min(least.values()) < LEAST_P / 100


def test_words_of_a_document_are_exchangeable_and_the_logits_correlate_with_the_target() -> None:
    """The moments over words: means, and the covariance of z with log b, which the direction x̂ carries."""
    for query in ("held", "same"):
        covariance = []
        for h, z, b, _ in (
            explicit(SoftmaxRegression(10, 3, 1.0, query), "M h"),
            reduced(SoftmaxRegression(10, 3, 1.0, query), "M h"),
        ):
            log_b = b.log() - b.log().mean(-1, keepdim=True)
            per_task = ((z - z.mean(-1, keepdim=True)) * log_b).mean(-1)
            covariance.append((per_task.mean(), per_task.std() / TASKS**0.5))
            assert h.isfinite().all()
        (m1, e1), (m2, e2) = covariance
        assert abs(m1 - m2) < 4 * (e1**2 + e2**2).sqrt()


def reduced_loss(tasks: ReducedTasks, M: Tensor) -> Tensor:
    """Σ over repetitions and tasks of (n/2)‖softmax(A_q M h) − b‖²."""
    f = torch.softmax(reduced_sampling.logits(tasks, tasks.h @ M.mT), -1)
    return f.shape[-1] / 2 * (f - tasks.target).square().sum()


sizes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 3), st.integers(1, 5))


# 20 is beyond the scale at which exponentials are safe without a softmax, in float64.
@given(sizes, st.sampled_from([0.3, 1.0, 20.0]), st.sampled_from(["held", "same"]), seeds)
def test_the_gradient_is_that_of_the_loss(size: tuple[int, int, int, int], scale: float, query: str, seed: int) -> None:
    n, d, R, B = size
    words, inputs = normal(seed, R, 3 if query == "held" else 2, B, n), normal(seed + 1, R, 2, B, d)
    tasks = reduced_sampling.assemble(SoftmaxRegression(n, d, scale, query), words, inputs)
    M = normal(seed + 2, R, d, d).requires_grad_()
    (expected,) = torch.autograd.grad(reduced_loss(tasks, M), M)
    found = reduced_sampling.matrix_gradient(tasks, M.detach())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(1 + expected.abs().max()))


def explicit_gradients(task: SoftmaxRegression, M: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """The gradient over M of each explicit task's (n/2)‖f − b‖², (batch, d, d), by autograd: each task has its M."""
    A, b, A_query, b_query, _ = task.sample(batch, generator, dtype=torch.float64)
    own = M.expand(batch, *M.shape).clone().requires_grad_()
    w = own @ centred_readout(A, b).unsqueeze(-1)
    f = torch.softmax((A_query @ w).squeeze(-1), -1)
    return torch.autograd.grad(task.n / 2 * (f - b_query).square().sum(), own)[0]


def reduced_gradients(task: SoftmaxRegression, M: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """The same for reduced tasks: a task a repetition."""
    documents = 2 if task.query == "same" else 3
    words = torch.randn(batch, documents, 1, task.n, generator=generator, dtype=torch.float64)
    inputs = torch.randn(batch, 2, 1, task.d, generator=generator, dtype=torch.float64)
    tasks = reduced_sampling.assemble(task, words, inputs)
    return reduced_sampling.matrix_gradient(tasks, M.expand(batch, *M.shape))


@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize(("n", "d"), [(25, 3), (10, 8)])
def test_expected_gradients_agree_and_the_reduced_one_is_less_noisy(n: int, d: int, query: str) -> None:
    task = SoftmaxRegression(n, d, 1.0, query)
    M = 0.3 * torch.eye(d).double() + 0.1 * normal(3, d, d)
    full = explicit_gradients(task, M, 20_000, stream(2, "test"))
    less = reduced_gradients(task, M, 20_000, stream(2, "train"))
    error = ((full.var(0) + less.var(0)) / len(full)).sqrt()
    assert ((full.mean(0) - less.mean(0)) / error).abs().max() < 4.5
    assert ((full.mean(0) - less.mean(0)) / error).square().mean() < 1 + 4 * (2 / d**2) ** 0.5
    assert (full.mean(0) / error).abs().max() > 10, "the comparison would not see the gradient"
    assert less.var(0).sum() < 0.96 * full.var(0).sum()


@pytest.mark.parametrize("query", ["held", "same"])
def test_models_trained_on_either_are_indistinguishable_on_explicit_tasks(query: str) -> None:
    task, R, batch = SoftmaxRegression(25, 4, 1.0, query), 8, 50
    start = {"M": 0.02 * normal(0, R, 4, 4)}
    # At a constant rate the noisier explicit gradient ends on a slightly higher plateau; a falling one leaves none.
    optimiser = Adam(0.04, 80, "cosine")

    def trained(gradients: Callable[[SoftmaxRegression, Tensor, int, torch.Generator], Tensor], root: int) -> Tensor:
        generators = [stream(root, "train", r) for r in range(R)]

        def slope(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
            pairs = zip(parameters["M"], generators, strict=True)
            return {"M": torch.stack([gradients(task, M, batch, g).mean(0) for M, g in pairs])}

        return train(start, slope, optimiser, [optimiser.steps])["M"][0]

    models = trained(explicit_gradients, 1), trained(reduced_gradients, 2)
    tests = task.sample(3000, stream(0, "test"), dtype=torch.float64)
    h = centred_readout(tests.A, tests.b)

    def losses(M: Tensor) -> Tensor:
        f = torch.softmax(torch.einsum("bnd,rbd->rbn", tests.A_query, h @ M.mT), -1)
        return (f - tests.b_query).square().sum(-1).mean(-1)

    one, other = (losses(M) for M in models)
    error = ((one.var() + other.var()) / R).sqrt()
    assert losses(start["M"]).mean() > 1.3 * one.mean(), "training must have done something"
    assert abs(one.mean() - other.mean()) < 3.5 * error
    entries = ((models[0].var(0) + models[1].var(0)) / R).sqrt()
    assert ((models[0].mean(0) - models[1].mean(0)) / entries).abs().max() < 4.5


@pytest.mark.parametrize("query", ["held", "same"])
@pytest.mark.parametrize(("n", "d", "scale"), [(1, 1, 1.0), (1, 4, 1.0), (30, 1, 1.0), (5, 3, 1e-6), (5, 3, 1e4)])
def test_the_edges_are_finite(n: int, d: int, scale: float, query: str) -> None:
    tasks = reduced_sampling.draw(SoftmaxRegression(n, d, scale, query), 50, [stream(0, "train")], CPU, torch.float32)
    gradient = reduced_sampling.matrix_gradient(tasks, torch.ones(1, d, d))
    assert gradient.isfinite().all()
    if n == 1:
        assert not gradient.any()


@pytest.mark.parametrize("query", ["held", "same"])
def test_each_repetition_draws_from_its_own_stream(query: str) -> None:
    task = SoftmaxRegression(6, 3, 1.0, query)

    def drawn(*repetitions: int) -> ReducedTasks:
        return reduced_sampling.draw(task, 4, [stream(0, "train", r) for r in repetitions], CPU, torch.float32)

    together, alone = drawn(0, 1, 2), drawn(1)
    for a, b in zip((*together[:-1], *(together.residual or ())), (*alone[:-1], *(alone.residual or ())), strict=True):
        assert torch.equal(a[1:2], b)


def test_an_empty_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="batch must be an integer >= 1, got 0"):
        reduced_sampling.draw(SoftmaxRegression(3, 2), 0, [stream(0, "train")], CPU, torch.float32)

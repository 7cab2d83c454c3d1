"""The reduced sampler against explicit documents: tasks, gradients and trained layers have the same distribution."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds
from scipy.stats import ks_2samp
from torch import Tensor

from icl_lib.alignment import model_cos, preds_diff
from icl_lib.running.streams import stream
from icl_lib.running.training import Adam, train
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.descent_rate import best_rate
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.problem import centred_readout, predict
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


class Coordinates(NamedTuple):
    """The normals of reduced tasks, (R, 2, B, n), (R, 3, B, d) and (R, B, n), and what they make."""

    words: Tensor
    inputs: Tensor
    own: Tensor
    tasks: ReducedTasks


def coordinates(task: SoftmaxRegression, seed: int, R: int, B: int) -> Coordinates:
    words, inputs, own = (
        normal(seed, R, 2, B, task.n),
        normal(seed + 1, R, 3, B, task.d),
        normal(seed + 3, R, B, task.n),
    )
    tasks = reduced_sampling.assemble(task, (task.query,), words.clone(), inputs, own if task.query == "held" else None)
    return Coordinates(words, inputs, own, tasks[task.query])


def unit(v: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """v over its length; 0 for 0, and for what is no longer than `least`."""
    length = v.norm(dim=-1, keepdim=True)
    return torch.where(length > least, v / length, torch.zeros_like(v))


def off(v: Tensor, *axes: Tensor) -> Tensor:
    """v without its parts along orthonormal vectors."""
    return v - sum(axis * (axis * v).sum(-1, keepdim=True) for axis in axes)


def outer(v: Tensor, w: Tensor) -> Tensor:
    return v.unsqueeze(-1) * w.unsqueeze(-2)


def documents_of(task: SoftmaxRegression, given: Coordinates, M: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Documents A, A_q (R, B, n, d) and x* that have these coordinates, for the directions M h and the slope there.

    They are filled up by the fewest words that give Zᵀs = ‖s‖ξ' in the components in which no logit depends.
    """
    x, xi, rest = given.inputs.unbind(1)
    x_hat = unit(x)
    x_star = x * (task.scale / task.d**0.5)
    across = unit(off(given.tasks.h @ M.mT, x_hat))
    free = off(rest, x_hat, across)
    g, zeta = given.words.unbind(1)
    u = unit(torch.softmax((x_star * x_hat).sum(-1, keepdim=True) * g, -1) - 1 / task.n)
    if task.query == "held":
        A = outer(g, x_hat) + outer(u, off(xi, x_hat))
        A_query = outer(given.own, x_hat) + outer(zeta, across) + outer(unit(slope), free)
        return A, A_query, x_star
    # With two words a slope has no part off u but rounding.
    kept = unit(off(slope, u), 1e-9 * slope.norm(dim=-1, keepdim=True))
    A = outer(g, x_hat) + outer(u, off(xi, x_hat)) + outer(off(zeta, u), across) + outer(kept, free)
    return A, A, x_star


sizes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 3), st.integers(1, 5))


# 20 is beyond the scale at which exponentials are safe without a softmax, in float64.
@given(sizes, st.sampled_from([0.3, 1.0, 20.0]), st.sampled_from(["held", "same"]), seeds)
def test_the_gradient_is_that_of_documents(
    size: tuple[int, int, int, int], scale: float, query: str, seed: int
) -> None:
    """By autograd on documents that have the coordinates: a statement without chance in it."""
    n, d, R, B = size
    task = SoftmaxRegression(n, d, scale, query)
    given, M = coordinates(task, seed, R, B), normal(seed + 2, R, d, d)
    f = torch.softmax(reduced_sampling.logits(given.tasks, given.tasks.h @ M.mT), -1)
    slope = f * (f - given.tasks.target - (f * (f - given.tasks.target)).sum(-1, keepdim=True))
    A, A_query, x = documents_of(task, given, M, slope)
    b, b_query = (predict(document, x) for document in (A, A_query))
    M.requires_grad_()
    h = centred_readout(A, b)
    torch.testing.assert_close(given.tasks.h, h, rtol=1e-9, atol=1e-9)
    predicted = torch.softmax((A_query @ (h @ M.mT).unsqueeze(-1)).squeeze(-1), -1)
    (expected,) = torch.autograd.grad(n / 2 * (predicted - b_query).square().sum(), M)
    found = reduced_sampling.matrix_gradient(given.tasks, M.detach())
    # The length of the slope off u is the root of a difference of squares, exact to √ε of the slope.
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7 * float(1 + expected.abs().max()))


def explicit_gradients(task: SoftmaxRegression, M: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """The gradient over M of each explicit task's (n/2)‖f − b‖², (batch, d, d), by autograd: each task has its M."""
    A, b, A_query, b_query, _ = task.sample(batch, generator, dtype=torch.float64)
    own = M.expand(batch, *M.shape).clone().requires_grad_()
    w = own @ centred_readout(A, b).unsqueeze(-1)
    f = torch.softmax((A_query @ w).squeeze(-1), -1)
    return torch.autograd.grad(task.n / 2 * (f - b_query).square().sum(), own)[0]


def reduced_gradients(task: SoftmaxRegression, M: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """The same for reduced tasks: a task a repetition, in the dtype of M."""
    words = torch.randn(batch, 2, 1, task.n, generator=generator).to(M)
    inputs = torch.randn(batch, 3, 1, task.d, generator=generator).to(M)
    own = torch.randn(batch, 1, task.n, generator=generator).to(M) if task.query == "held" else None
    tasks = reduced_sampling.assemble(task, (task.query,), words, inputs, own)[task.query]
    return reduced_sampling.matrix_gradient(tasks, M.expand(batch, *M.shape))


def moments(gradients: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What is averaged over tasks for the first and the second moment of every entry and pair of entries."""
    flat = gradients.flatten(1)
    yield "first moment", flat
    pairs = torch.triu_indices(flat.shape[1], flat.shape[1])
    yield "second moment", flat[:, pairs[0]] * flat[:, pairs[1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("query", ["held", "same"])
def test_gradients_have_one_law(query: str, dtype: torch.dtype) -> None:
    """Both moments, entry by entry, and the distribution of projections, with a matrix in no special position."""
    task, count = SoftmaxRegression(12, 4, 1.0, query), 40_000
    M = 0.3 * torch.eye(4).double() + 0.1 * normal(3, 4, 4)
    full = explicit_gradients(task, M, count, stream(2, "test"))
    drawn = reduced_gradients(task, M.to(dtype), count, stream(2, "train")).double()
    for (name, one), (_, other) in zip(moments(full), moments(drawn), strict=True):
        error = ((one.var(0) + other.var(0)) / count).sqrt()
        z = (one.mean(0) - other.mean(0)) / error
        assert z.abs().max() < 4.5, name
        # Entries are correlated, so their mean square scatters by more than that of so many independent ones.
        assert 0.4 < z.square().mean() < 2, name
        assert (one.mean(0) / error).abs().max() > 10, f"the comparison would not see the {name}"
    for direction in normal(4, 6, 16):
        one, other = ((g.flatten(1) @ direction).float() for g in (full, drawn))
        assert ks_2samp(one, other).pvalue > LEAST_P


@pytest.mark.parametrize("query", ["held", "same"])
def test_without_the_rest_the_gradient_is_too_quiet(query: str) -> None:
    """The control: the conditional mean of the gradient has the right first moment and fails on the second."""
    task, count = SoftmaxRegression(10, 8, 1.0, query), 10_000
    M = (0.3 * torch.eye(8).double() + 0.1 * normal(3, 8, 8)).expand(count, 8, 8)
    words, inputs = normal(5, count, 2, 1, 10), normal(6, count, 3, 1, 8)
    own = normal(7, count, 1, 10) if query == "held" else None
    tasks = reduced_sampling.assemble(task, (query,), words, inputs, own)[query]
    whole = reduced_sampling.matrix_gradient(tasks, M)
    quiet = reduced_sampling.matrix_gradient(tasks._replace(rest=torch.zeros_like(tasks.rest)), M)
    error = ((whole.var(0) + quiet.var(0)) / count).sqrt()
    assert ((whole.mean(0) - quiet.mean(0)) / error).abs().max() < 4.5
    assert quiet.square().sum((1, 2)).mean() < 0.9 * whole.square().sum((1, 2)).mean()


@pytest.mark.parametrize("query", ["held", "same"])
def test_models_trained_on_either_are_indistinguishable_on_explicit_tasks(query: str) -> None:
    task, R, batch = SoftmaxRegression(25, 4, 1.0, query), 16, 25
    start = {"M": 0.02 * normal(0, R, 4, 4)}
    # At a constant rate the noise of the gradient stays in the layer, so a sampler that is too quiet shows.
    optimiser = Adam(0.04, 80)

    def trained(gradients: Callable[[SoftmaxRegression, Tensor, int, torch.Generator], Tensor], root: int) -> Tensor:
        generators = [stream(root, "train", r) for r in range(R)]

        def slope(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
            pairs = zip(parameters["M"], generators, strict=True)
            return {"M": torch.stack([gradients(task, M, batch, g).mean(0) for M, g in pairs])}

        return train(start, slope, optimiser, [optimiser.steps])["M"][0]

    models = trained(explicit_gradients, 1), trained(reduced_gradients, 2)
    tests = task.sample(3000, stream(0, "test"), dtype=torch.float64)
    h = centred_readout(tests.A, tests.b)
    rate = best_rate(tests.A_query, h, tests.b_query)
    f_gd = predict(tests.A_query, rate * h)

    def measures(M: Tensor) -> dict[str, Tensor]:
        w = h @ M.mT
        f = predict(tests.A_query, w)
        return {
            "loss": (f - tests.b_query).square().sum(-1).mean(-1),
            "Preds Diff": preds_diff(f, f_gd.expand_as(f)).mean(-1),
            "1 - Model Cos": 1 - model_cos(f, w, f_gd, rate * h).mean(-1),
        }

    untrained = measures(start["M"])
    for name, one, other in ((name, *(measures(M)[name] for M in models)) for name in untrained):
        error = ((one.var() + other.var()) / R).sqrt()
        assert untrained[name].mean() > 1.3 * one.mean(), f"training must have done something to {name}"
        assert abs(one.mean() - other.mean()) < 3.5 * error, name
        assert error < 0.2 * one.mean(), f"the comparison would not see {name}"
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_queries_from_one_draw_are_those_of_each_alone(dtype: torch.dtype) -> None:
    task, size, given = SoftmaxRegression(9, 4), 7, {}
    for queries in (("held", "same"), ("same", "held"), ("held",), ("same",)):
        words, inputs, own = (
            reduced_sampling.draw_normals(shape, [stream(0, purpose, r) for r in range(3)], CPU, dtype)
            for shape, purpose in (
                ((2, size, 9), "train"),
                ((3, size, 4), "train/inputs/4"),
                ((size, 9), "train/query"),
            )
        )
        before = [part.clone() for part in (words, inputs, own)]
        drawn = reduced_sampling.assemble(task, queries, words, inputs, own)
        assert all(torch.equal(part, kept) for part, kept in zip((words, inputs, own), before, strict=True))
        assert set(drawn) == set(queries)
        for query, tasks in drawn.items():
            M = 0.3 * torch.eye(4, dtype=dtype).expand(3, 4, 4)
            parts = [*(part for part in tasks if isinstance(part, Tensor)), *(tasks.residual or ())]
            found = [part.clone() for part in parts] + [reduced_sampling.matrix_gradient(tasks, M)]
            for one, other in zip(given.setdefault(query, found), found, strict=True):
                assert torch.equal(one, other)
    # They share their context.
    assert torch.equal(given["held"][0], given["same"][0])
    assert not torch.equal(given["held"][2], given["same"][2])

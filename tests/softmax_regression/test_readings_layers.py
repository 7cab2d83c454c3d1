import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds

from icl_lib.alignment import model_cos, model_diff
from icl_lib.attention import self_attention, softmax_regression_tokens
from icl_lib.constructions import softmax_regression_step
from icl_lib.softmax_regression import word_sensitivity as ws
from icl_lib.softmax_regression.layers import (
    TokenWeights,
    logits,
    readout,
    softmax_directions,
    softmax_logits,
    stacked_direction,
    step_values,
    token_direction,
)
from icl_lib.softmax_regression.problem import centred_readout, gradient, predict, step

sizes = {"n": st.integers(1, 8), "d": st.integers(1, 5), "seed": seeds}


def document(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A, b and a query document, three tasks of each, in float64."""
    return normal(seed, 3, n, d), torch.softmax(normal(seed + 1, 3, n), -1), normal(seed + 2, 3, n + 1, d)


@given(**sizes)
def test_readout_of_the_steps_values_is_the_gradient(n: int, d: int, seed: int) -> None:
    A, b, _ = document(n, d, seed)
    torch.testing.assert_close(readout(A, step_values(A, b)), centred_readout(A, b))
    torch.testing.assert_close(step_values(A, b, torch.zeros(3, d).double()), step_values(A, b))
    x0 = normal(seed + 3, 3, d)
    torch.testing.assert_close(readout(A, step_values(A, b, x0)), -n * gradient(A, x0, b))


@given(**sizes, K=st.integers(1, 4), rate=st.floats(0.1, 30))
def test_layers_with_multiples_of_the_identity_are_steps(n: int, d: int, seed: int, K: int, rate: float) -> None:
    A, b, _ = document(n, d, seed)
    x = step(A, b, rate)
    for _ in range(K - 1):
        x = step(A, b, rate, x)
    M = (rate / n) * torch.eye(d).double()
    torch.testing.assert_close(stacked_direction([M] * K, A, b), x, rtol=1e-9, atol=1e-9)


def test_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="matrices must hold at least one layer"):
        stacked_direction([], *document(2, 2, 0)[:2])


@given(**sizes)
def test_token_direction_is_the_layer_on_tokens(n: int, d: int, seed: int) -> None:
    A, b, A_query = document(n, d, seed)
    weights = TokenWeights(*(normal(seed + k, d + 2, d + 2) for k in range(4, 8)))
    tokens = softmax_regression_tokens(A, b, A_query)
    documents_only = torch.arange(tokens.shape[-2]) < n
    layer = self_attention(tokens, weights.W_Q, weights.W_K, weights.W_V, kind="linear", mask=documents_only)
    written = (layer @ weights.P.mT)[..., n:, d]
    w = token_direction(tokens[..., :n, :], weights, d)
    torch.testing.assert_close(logits(A_query, w[..., :d]), written, rtol=1e-9, atol=1e-9)


def test_the_constructed_weights_write_the_step() -> None:
    n, d, rate = 7, 3, 5.0
    A, b, A_query = document(n, d, 0)
    weights = TokenWeights(*softmax_regression_step(n, d, rate), torch.eye(d + 2).double())
    w = token_direction(softmax_regression_tokens(A, b, A_query)[..., :n, :], weights, d)
    torch.testing.assert_close(w[..., :d], step(A, b, rate))


@given(**sizes, heads=st.integers(1, 3))
def test_softmax_layer_is_attention_on_tokens(n: int, d: int, seed: int, heads: int) -> None:
    A, b, A_query = document(n, d, seed)
    B, gain = normal(seed + 3, heads, d, d), normal(seed + 4, heads)
    tokens = softmax_regression_tokens(A, b, A_query)
    documents_only = torch.arange(tokens.shape[-2]) < n
    W_V = torch.zeros(d + 2, d + 2).double()
    W_V[d, d] = 1
    expected = torch.zeros(3, n + 1).double()
    for h in range(heads):
        W_Q = torch.nn.functional.pad(B[h].mT, (0, 2, 0, 2))
        W_K = torch.nn.functional.pad(torch.eye(d).double(), (0, 2, 0, 2))
        layer = self_attention(tokens, W_Q, W_K, W_V, kind="softmax", mask=documents_only)
        expected += gain[h] * layer[..., n:, d]
    torch.testing.assert_close(softmax_logits(A_query, A, b, B, gain), expected)


@given(**sizes, heads=st.integers(1, 3))
def test_softmax_directions_are_the_derivative(n: int, d: int, seed: int, heads: int) -> None:
    A, b, A_query = document(n, d, seed)
    B, gain = normal(seed + 3, heads, d, d), normal(seed + 4, heads)
    slope = torch.func.grad(lambda rows: softmax_logits(rows, A, b, B, gain).sum())(A_query)
    torch.testing.assert_close(softmax_directions(A_query, A, b, B, gain), slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("heads", "order"), [(1, 1), (2, 2)])
def test_softmax_attention_tends_to_the_step(heads: int, order: int) -> None:
    n, d, rate = 25, 20, 10.0
    A, b, A_query = document(n, d, 0)
    target = logits(A_query, step(A, b, rate))

    def distance(eps: float) -> float:
        signs = torch.tensor([1.0, -1.0]).double()[:heads]
        B = (signs * eps).view(-1, 1, 1) * torch.eye(d).double()
        found = softmax_logits(A_query, A, b, B, signs * rate / (eps * heads))
        gap = found - target
        return float((gap - gap.mean(-1, keepdim=True)).norm())

    small, smaller = distance(2e-3), distance(1e-3)
    assert abs(small / smaller - 2**order) < 0.05 * 2**order


@given(**sizes)
def test_sensitivities_by_word_are_those_of_autograd(n: int, d: int, seed: int) -> None:
    A, b, A_query = (part[0] for part in document(n, d, seed))
    B, gain = normal(seed + 3, 2, d, d), normal(seed + 4, 2)
    w = normal(seed + 5, d)

    def layer(rows: torch.Tensor) -> torch.Tensor:
        return torch.softmax(softmax_logits(rows, A, b, B, gain), -1)

    full = torch.autograd.functional.jacobian(layer, A_query).flatten()
    full_step = torch.autograd.functional.jacobian(lambda rows: predict(rows, w), A_query).flatten()
    full_linear = torch.autograd.functional.jacobian(lambda rows: rows @ w, A_query).flatten()
    J = ws.of_softmax(layer(A_query), softmax_directions(A_query, A, b, B, gain))
    J_step = ws.of_softmax(predict(A_query, w), w.unsqueeze(-2))
    J_linear = ws.of_logits(logits(A_query, w), w.unsqueeze(-2))
    torch.testing.assert_close(ws.product(J, J_step), full @ full_step)
    torch.testing.assert_close(ws.product(J, J_linear), full @ full_linear)
    tolerance = {"rtol": 1e-9, "atol": 1e-6 * float(1 + full.norm() + full_step.norm())}
    torch.testing.assert_close(ws.model_diff_and_cos(J, J_step)[0], (full - full_step).norm(), **tolerance)


@given(n=st.integers(2, 8), d=st.integers(1, 5), seed=seeds)
def test_one_direction_for_all_words_is_the_plain_metric(n: int, d: int, seed: int) -> None:
    f, f2 = (torch.softmax(normal(seed + k, 3, n), -1) for k in range(2))
    w, w2 = normal(seed + 2, 3, d), normal(seed + 3, 3, d)
    J, J2 = ws.of_softmax(f, w.unsqueeze(-2)), ws.of_softmax(f2, w2.unsqueeze(-2))
    torch.testing.assert_close(ws.model_cos(J, J2), model_cos(f, w, f2, w2))
    torch.testing.assert_close(ws.model_diff_and_cos(J, J2)[0], model_diff(f, w, f2, w2), rtol=1e-6, atol=1e-7)


def test_bad_sensitivities_are_named() -> None:
    with pytest.raises(ValueError, match="w must have one word or 5"):
        ws.of_softmax(torch.ones(5), torch.ones(4, 2))
    flat = ws.of_softmax(torch.ones(5) / 5, torch.zeros(5, 2))
    assert ws.model_cos(flat, flat) == 0


@pytest.mark.parametrize("gap", [10.0, 30.0, 80.0])
def test_a_saturated_softmax_keeps_its_cosine(gap: float) -> None:
    """Where one word takes all but δ, J is δ times a matrix that does not depend on δ."""
    logits, w = torch.tensor([gap, 1.0, 0.5, -1.0]).double(), normal(0, 1, 3)
    J = ws.of_softmax(torch.softmax(logits, -1), w)
    p = torch.softmax(logits[1:], -1)
    limit = torch.cat([torch.cat([torch.ones(1, 1).double(), -p[None]], 1), torch.cat([-p[:, None], p.diag()], 1)])
    other = ws.of_softmax(torch.full((4,), 0.25).double(), normal(1, 1, 3))
    plain = torch.eye(4).double() / 4 - 1 / 16
    expected = (limit * plain).sum() / (limit.norm() * plain.norm()) * torch.cosine_similarity(w, other.w).squeeze()
    torch.testing.assert_close(ws.model_cos(J, other), expected, rtol=0, atol=1e-14 + 20 * math.exp(-gap))
    torch.testing.assert_close(ws.model_cos(J, J), torch.ones(()).double())

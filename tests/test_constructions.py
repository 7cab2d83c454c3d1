import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds

from icl_lib.attention import labelled_tokens, self_attention, softmax_regression_tokens
from icl_lib.constructions import (
    kernel_classifier_step,
    linear_classifier_step,
    linear_regression_step,
    softmax_regression_step,
)
from icl_lib.softmax_regression import problem as sr

lengths = st.one_of(st.integers(1, 40), st.sampled_from([200, 1000]))
dimensions = st.one_of(st.integers(1, 12), st.just(64))


@given(lengths, dimensions, st.floats(1e-3, 100), seeds)
def test_linear_attention_is_the_step_of_softmax_regression(n: int, d: int, rate: float, seed: int) -> None:
    rate *= n
    A, A_query, b = normal(seed, n, d), normal(seed + 1, 7, d), torch.softmax(normal(seed + 2, n), -1)
    layer = self_attention(
        softmax_regression_tokens(A, b, A_query), *softmax_regression_step(n, d, rate), kind="linear"
    )
    expected = A_query @ sr.step(A, b, rate)
    # The rounding of a logit is relative to the sum of the absolute values of its terms.
    size = (A_query.abs() @ (rate / n * A.abs().T @ (b + 1 / n))).max()
    torch.testing.assert_close(layer[n:, d], expected, rtol=0, atol=1e-13 * float(size))
    found, prediction = torch.softmax(layer[n:, d], -1), sr.predict(A_query, sr.step(A, b, rate))
    torch.testing.assert_close(found, prediction, rtol=0, atol=max(1e-12, 1e-13 * float(size)))


def test_without_the_constant_channel_the_step_is_missed() -> None:
    n, d = 25, 4
    A, A_query, b = normal(0, n, d), normal(1, n, d), torch.softmax(normal(2, n), -1)
    W_Q, W_K, W_V = softmax_regression_step(n, d, 10.0)
    W_V[d, d + 1] = 0
    layer = self_attention(softmax_regression_tokens(A, b, A_query), W_Q, W_K, W_V, kind="linear")
    assert (layer[n:, d] - A_query @ sr.step(A, b, 10.0)).abs().max() > 1e-2


@given(lengths, dimensions, st.floats(1e-3, 100), seeds)
def test_linear_attention_is_the_step_of_linear_regression(n: int, d: int, rate: float, seed: int) -> None:
    x, y, x_query = normal(seed, n, d), normal(seed + 1, n, 1), normal(seed + 2, d)
    W = torch.zeros(d, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(0.5 * (x @ W - y[:, 0]).square().mean(), W)
    layer = self_attention(labelled_tokens(x, y, x_query), *linear_regression_step(n, d, rate), kind="linear")
    expected = -rate * slope @ x_query
    scale = rate * x.abs().mean(0) @ x_query.abs() * y.abs().max()
    torch.testing.assert_close(layer[-1, -1], expected, rtol=0, atol=1e-12 * max(1.0, float(scale)))


def classified(n: int, d: int, C: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.nn.functional.normalize(normal(seed, n + 1, d), dim=-1)
    labels = torch.randint(C, (n,), generator=torch.Generator().manual_seed(seed))
    return x[:n], torch.nn.functional.one_hot(labels, C).double(), x[n]


@given(lengths, dimensions, st.integers(2, 6), st.floats(1e-3, 100), seeds)
def test_linear_attention_is_the_step_on_cross_entropy(n: int, d: int, C: int, rate: float, seed: int) -> None:
    x, y, x_query = classified(n, d, C, seed)
    W = torch.zeros(C, d, dtype=torch.float64, requires_grad=True)
    loss = -(y * torch.log_softmax(x @ W.T, -1)).sum(-1).mean()
    (slope,) = torch.autograd.grad(loss, W)
    layer = self_attention(labelled_tokens(x, y, x_query), *linear_classifier_step(n, d, C, rate), kind="linear")
    torch.testing.assert_close(layer[-1, d:], -rate * slope @ x_query, rtol=0, atol=1e-12 * max(1.0, rate))


@given(lengths, dimensions, st.integers(2, 6), st.floats(-20, 20), st.floats(-100, 100), st.booleans(), seeds)
def test_softmax_attention_is_the_adaptive_kernel_step(
    n: int, d: int, C: int, beta: float, rate: float, itself: bool, seed: int
) -> None:
    x, y, x_query = classified(n, d, C, seed)
    kernel = torch.exp(beta * (x @ x_query))
    # A step of functional gradient descent from 0: minus the gradient at x_i is y_i − softmax(0).
    expected = rate * kernel @ (y - 1 / C) / (kernel.sum() + itself * math.exp(beta))
    mask = torch.ones(n + 1, dtype=torch.bool)
    mask[n] = itself
    weights = kernel_classifier_step(d, C, beta, rate)
    layer = self_attention(labelled_tokens(x, y, x_query), *weights, kind="softmax", mask=mask)
    torch.testing.assert_close(layer[-1, d:], expected, rtol=0, atol=1e-12 * max(1.0, abs(rate)))


def test_weights_are_zero_padded_squares_of_the_dtype_asked_for() -> None:
    for weights, size in (
        (softmax_regression_step(5, 3, 1.0, dtype=torch.float32), 5),
        (linear_regression_step(5, 3, 1.0, dtype=torch.float32), 4),
        (linear_classifier_step(5, 3, 4, 1.0, dtype=torch.float32), 7),
        (kernel_classifier_step(3, 4, -2.0, 1.0, dtype=torch.float32), 7),
    ):
        for W in weights:
            assert (W.shape, W.dtype) == ((size, size), torch.float32)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        softmax_regression_step(0, 3, 1.0)
    with pytest.raises(ValueError, match="d must be an integer >= 1, got 0"):
        linear_regression_step(3, 0, 1.0)
    with pytest.raises(ValueError, match="classes must be an integer >= 2, got 1"):
        linear_classifier_step(3, 3, 1, 1.0)
    with pytest.raises(ValueError, match="beta must be a finite number, got inf"):
        kernel_classifier_step(3, 3, math.inf, 1.0)
    with pytest.raises(ValueError, match="rate must be a finite number, got nan"):
        softmax_regression_step(3, 3, math.nan)

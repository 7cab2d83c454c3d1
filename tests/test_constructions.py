import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import normal, seeds

from icl_lib.attention import (
    exponential_activation,
    labelled_tokens,
    query_mask,
    self_attention,
    softmax_regression_tokens,
)
from icl_lib.constructions import (
    activated_classifier_step,
    kernel_classifier_step,
    linear_classifier_step,
    linear_regression_step,
    softmax_regression_step,
    with_projection,
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


@given(lengths, dimensions, st.integers(2, 6), st.floats(-20, 20), st.floats(-100, 100), st.booleans(), seeds)
def test_attention_with_a_kernel_activation_is_the_kernel_step(
    n: int, d: int, C: int, beta: float, rate: float, itself: bool, seed: int
) -> None:
    x, y, x_query = classified(n, d, C, seed)
    rate *= math.exp(-abs(beta))
    expected = rate / n * torch.exp(beta * (x @ x_query)) @ (y - 1 / C)
    weights = activated_classifier_step(n, d, C, rate, beta=beta)
    mask = None if itself else query_mask(n)
    layer = self_attention(labelled_tokens(x, y, x_query), *weights, kind=exponential_activation, mask=mask)
    torch.testing.assert_close(layer[-1, d:], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 30])
def test_any_kernel_may_be_the_activation(n: int) -> None:
    d, C = 3, 4
    x, y, x_query = classified(n, d, C, 0)

    def laplace(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return torch.exp(-torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist"))

    expected = 7.0 / n * torch.exp(-(x - x_query).norm(dim=-1)) @ (y - 1 / C)
    weights = activated_classifier_step(n, d, C, 7.0)
    layer = self_attention(labelled_tokens(x, y, x_query), *weights, kind=laplace)
    torch.testing.assert_close(layer[-1, d:], expected, rtol=0, atol=1e-12)


@given(st.sampled_from([1, 5, 100]), st.integers(1, 12), st.integers(2, 6), st.booleans(), seeds)
def test_a_projection_and_a_scale_change_the_matrices_and_not_the_layer(
    n: int, d: int, C: int, itself: bool, seed: int
) -> None:
    x, y, x_query = classified(n, d, C, seed)
    tokens, mask, e = labelled_tokens(x, y, x_query), None if itself else query_mask(n), d + C
    W_P = torch.linalg.qr(normal(seed + 3, e, e))[0] + 0.1 * normal(seed + 4, e, e) / math.sqrt(e)
    for kind, weights in (
        ("linear", linear_classifier_step(n, d, C, 20.0)),
        (exponential_activation, activated_classifier_step(n, d, C, 1.0, beta=3.0)),
        ("softmax", kernel_classifier_step(d, C, -3.0, 20.0)),
    ):
        four = with_projection(weights, W_P, scale=1 / math.sqrt(e))
        torch.testing.assert_close(four[3] @ four[2], weights[2], rtol=0, atol=1e-13)
        found = self_attention(tokens, *four, kind=kind, mask=mask, scale=1 / math.sqrt(e))
        expected = self_attention(tokens, *weights, kind=kind, mask=mask)
        torch.testing.assert_close(found[-1], expected[-1], rtol=0, atol=1e-12)


def two_points(beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes with a point each on the circle: weights of a masked softmax head of gain 1, and its tokens."""
    x, y = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    angles = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[:-1]
    queries = torch.stack([angles.cos(), angles.sin()], -1)
    tokens = labelled_tokens(x.expand(8, 2, 2), y.expand(8, 2, 2), queries)
    layer = self_attention(tokens, *kernel_classifier_step(2, 2, beta, 1.0), kind="softmax", mask=query_mask(2))
    return layer[:, -1, 2:], tokens


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_the_softmax_head_is_a_functional_step_at_no_single_rate(beta: float) -> None:
    head, tokens = two_points(beta)
    activated = activated_classifier_step(2, 2, 2, 1.0, beta=beta)
    step = self_attention(tokens, *activated, kind=exponential_activation, mask=query_mask(2))[:, -1, 2:]
    # At every query of its own there is a rate, n/Z, and of one rate for all the best still misses by a lot.
    Z = torch.exp(beta * tokens[:, -1, :2]).sum(-1, keepdim=True)
    torch.testing.assert_close(head, 2 / Z * step, rtol=0, atol=1e-12)
    rate = (head * step).sum() / step.square().sum()
    assert (head - rate * step).norm() > 0.01 * head.norm()


def test_the_softmax_head_is_in_no_space_of_the_exponential_kernel() -> None:
    """Of functions of that space the angle may be complex; the head's is infinite at one, as its proof says."""
    beta = 4.0
    # ⟨x₁ − x₂, x_q⟩ = √2 cos(t + π/4), so here β times it is iπ.
    t = torch.arccos(torch.tensor(1j * math.pi / (beta * math.sqrt(2)), dtype=torch.complex128)) - math.pi / 4
    kernel = torch.exp(beta * torch.stack([t.cos(), t.sin()]))
    assert abs(kernel.sum()) < 1e-12 * abs(kernel).max()
    assert abs(kernel[0] - kernel[1]) > abs(kernel).max()


@given(lengths, dimensions, st.integers(2, 6), st.floats(-20, 20), st.booleans(), seeds)
def test_the_softmax_head_is_one_step_at_a_constant_rate_on_the_local_loss(
    n: int, d: int, C: int, beta: float, itself: bool, seed: int
) -> None:
    x, y, x_query = classified(n, d, C, seed)
    kernel = torch.exp(beta * (x @ x_query))
    weights = kernel / (kernel.sum() + itself * math.exp(beta))
    theta = torch.zeros(C, dtype=torch.float64, requires_grad=True)
    local_loss = -(weights @ y * torch.log_softmax(theta, -1)).sum()
    (slope,) = torch.autograd.grad(local_loss, theta)
    layer = self_attention(
        labelled_tokens(x, y, x_query),
        *kernel_classifier_step(d, C, beta, 9.0),
        kind="softmax",
        mask=None if itself else query_mask(n),
    )
    torch.testing.assert_close(layer[-1, d:], -9.0 * slope, rtol=0, atol=1e-11)


def test_weights_are_zero_padded_squares_of_the_dtype_asked_for() -> None:
    for weights, size in (
        (softmax_regression_step(5, 3, 1.0, dtype=torch.float32), 5),
        (linear_regression_step(5, 3, 1.0, dtype=torch.float32), 4),
        (linear_classifier_step(5, 3, 4, 1.0, dtype=torch.float32), 7),
        (kernel_classifier_step(3, 4, -2.0, 1.0, dtype=torch.float32), 7),
        (activated_classifier_step(5, 3, 4, 1.0, dtype=torch.float32), 7),
        (with_projection(linear_classifier_step(5, 3, 4, 1.0, dtype=torch.float32), torch.eye(7)), 7),
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
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        activated_classifier_step(0, 3, 3, 1.0)
    weights = kernel_classifier_step(3, 3, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"W_P must have shape \(\.\.\., e=6, e_=6\)"):
        with_projection(weights, torch.eye(5).double())
    for singular in (torch.zeros(6, 6).double(), torch.ones(6, 6).double()):
        with pytest.raises(ValueError, match="W_P must be a matrix that can be inverted, got one of condition"):
            with_projection(weights, singular)
    with pytest.raises(ValueError, match="scale must not be 0"):
        with_projection(weights, torch.eye(6).double(), scale=0.0)

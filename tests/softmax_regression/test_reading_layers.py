"""The layers of the readings against what their docstrings say, written out by hand."""

import math

import pytest
import torch
from torch import Tensor

from icl_lib.running.streams import stream
from icl_lib.softmax_regression.documents import Documents, SoftmaxRegression
from icl_lib.softmax_regression.problem import gradient
from icl_lib.softmax_regression.reading_layers import Layer, LinearLayer, SoftmaxLayer, StartedTasks, TokenLayer

R, B, N, D = 2, 3, 5, 4
LAYERS: dict[str, Layer] = {
    "linear": LinearLayer(D),
    "not centred": LinearLayer(D, centred=False),
    "tokens": TokenLayer(D),
    "tokens without a channel": TokenLayer(D, channel=False),
    "one softmax head": SoftmaxLayer(D, kernel_scale=0.3),
    "two softmax heads": SoftmaxLayer(D, heads=2, sign=-1, kernel_scale=0.3),
}


@pytest.fixture
def documents() -> Documents:
    return Documents(*(part.double() for part in SoftmaxRegression(N, D).sample(B, stream(0, "test"))))


def generators() -> list[torch.Generator]:
    return [stream(0, "init", r) for r in range(R)]


def trained(layer: Layer) -> dict[str, Tensor]:
    """Parameters as training might leave them."""
    more = torch.Generator().manual_seed(1)
    start = layer.initial(generators())
    return {
        name: 0.3 * (v.double() + torch.randn(v.shape, generator=more, dtype=v.double().dtype))
        for name, v in start.items()
    }


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_direction_is_the_derivative_of_a_words_logit(layer: Layer, documents: Documents) -> None:
    parameters = trained(layer)
    words = documents.A_query.expand(R, B, N, D).clone().requires_grad_()
    logits = layer.logits(parameters, StartedTasks(documents._replace(A_query=words), None))
    assert logits.shape == (R, B, N)
    # A word enters no logit but its own.
    (slopes,) = torch.autograd.grad(logits.sum(), words)
    found = layer.directions(parameters, StartedTasks(documents, None))
    assert found.shape[:2] == (R, B)
    assert found.shape[-2] in (1, N)
    torch.testing.assert_close(found.expand(R, B, N, D), slopes, rtol=1e-9, atol=1e-12)


def test_matrices_start_with_the_variance_that_is_said() -> None:
    drawn = torch.stack([torch.randn(D, D, generator=generator) for generator in generators()])
    expected = drawn * math.sqrt(0.002 / D)
    torch.testing.assert_close(LinearLayer(D).initial(generators())["M"], expected, rtol=1e-5, atol=0)
    one = SoftmaxLayer(D).initial(generators())
    torch.testing.assert_close(one["B"][:, 0] - torch.eye(D), expected, rtol=0, atol=1e-6)
    assert not one["gain"].any()
    two = SoftmaxLayer(D, heads=2, sign=-1).initial(generators())["B"]
    torch.testing.assert_close(two.mean((0, 2, 3)) * D, torch.tensor([-1.0, 1.0]), rtol=0.1, atol=0)


def test_full_matrices_start_with_their_deviation_and_size() -> None:
    for channel in (False, True):
        start = TokenLayer(D, channel=channel, init=0.25).initial(generators())
        assert set(start) == {"W_Q", "W_K", "W_V", "P"}
        again = generators()
        for value in start.values():
            drawn = torch.stack([torch.randn(D + 1 + channel, D + 1 + channel, generator=one) for one in again])
            torch.testing.assert_close(value, 0.25 * drawn)


@pytest.mark.parametrize("x0", [None, 0.7])
def test_a_linear_layer_with_the_identity_is_the_step_from_its_start(x0: float | None, documents: Documents) -> None:
    eta = 0.3
    start = torch.zeros(B, D, dtype=torch.float64) if x0 is None else torch.full((B, D), x0, dtype=torch.float64)
    step = start - eta * N * gradient(documents.A, start, documents.b)
    layer = LinearLayer(D)
    tasks = StartedTasks(documents, None if x0 is None else start)
    M = {"M": eta * torch.eye(D, dtype=torch.float64).expand(1, D, D)}
    torch.testing.assert_close(layer.directions(M, tasks)[0, :, 0], step)
    torch.testing.assert_close(layer.logits(M, tasks)[0], torch.einsum("bnd,bd->bn", documents.A_query, step))


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("own_target", [False, True])
def test_tokens_are_written_out_as_attention_reads_them(channel: bool, own_target: bool, documents: Documents) -> None:
    layer = TokenLayer(D, channel=channel, own_target=own_target)
    parameters = trained(layer)
    centred = documents.b - documents.b.mean(-1, keepdim=True)
    label = documents.b if channel else centred
    more = [torch.ones(B, N, dtype=torch.float64)] if channel else []
    tokens = torch.cat([documents.A, *(part.unsqueeze(-1) for part in (label, *more))], dim=-1)
    blank = torch.zeros(B, N, 1 + channel, dtype=torch.float64)
    queries = tokens if own_target else torch.cat([documents.A_query, blank], dim=-1)
    for r in range(R):
        W_Q, W_K, W_V, P = (parameters[name][r] for name in ("W_Q", "W_K", "W_V", "P"))
        scores = torch.einsum("bqe,bke->bqk", queries @ W_Q.T, tokens @ W_K.T)
        written = (scores @ (tokens @ W_V.T)) @ P.T
        found = layer.logits(parameters, StartedTasks(documents, None))[r]
        torch.testing.assert_close(found, written[..., D])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_softmax_layer_becomes_the_step_as_its_scale_vanishes(heads: int, sign: int, documents: Documents) -> None:
    """Up to a constant of the logits, which the softmax on top does not see."""
    layer, gain = SoftmaxLayer(D, heads=heads, sign=sign, kernel_scale=1e-5), 0.4
    signs = torch.tensor([sign, -sign][:heads], dtype=torch.float64)
    parameters = {
        "B": (signs[:, None, None] * torch.eye(D, dtype=torch.float64)).expand(1, heads, D, D),
        "gain": torch.full((1, heads), gain, dtype=torch.float64),
    }
    found = layer.logits(parameters, StartedTasks(documents, None))[0]
    centred = documents.b - documents.b.mean(-1, keepdim=True)
    step = gain * torch.einsum("bqd,bnd,bn->bq", documents.A_query, documents.A, centred)
    torch.testing.assert_close(
        found - found.mean(-1, keepdim=True), step - step.mean(-1, keepdim=True), rtol=1e-3, atol=1e-4
    )

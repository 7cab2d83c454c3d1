"""A training step taken the way the authors' code of the second paper takes it, written anew in JAX.

A pool of 20 · C · n random points a context, of which a sort picks n/C of each class; 30 · C candidates for the query;
then one program, mapped over contexts, for the whole layer with its four matrices, and Adam with clipped gradients.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy
import torch
from jax import Array, random

from benchmarks.contestants import Steps
from icl_lib.attention import labelled_tokens, query_mask, self_attention
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import cross_entropy
from icl_lib.running.streams import stream

NAMES = ("W_Q", "W_K", "W_V", "W_P")
Weights = dict[str, Array]
Contexts = tuple[Array, Array, Array, Array]
CLIPPING = {"linear": 0.001, "softmax": 1.0}


def contexts(task: SphereClassification, batch: int, key: Array) -> Contexts:
    """x (B, n, d), y (B, n, C), x_query (B, d) and y_query (B, C) of balanced contexts with a balanced query."""
    return jax.vmap(partial(_context, task))(random.split(key, batch))


def _context(task: SphereClassification, key: Array) -> Contexts:
    n, d, classes = task.n, task.d, task.classes
    keys = random.split(key, 4)
    w = _on_sphere(keys[0], classes, d)
    pool = _on_sphere(keys[1], 20 * classes * n, d)
    labels = jax.nn.one_hot(jnp.argmax(pool @ w.T, -1), classes)
    # Those that are among the first n/C of their class come last in the sorted order.
    kept = ((labels * jnp.cumsum(labels, 0)).sum(-1) <= n // classes).astype(int)
    chosen = jnp.argsort(kept)[-n:]
    candidates = _on_sphere(keys[2], 30 * classes, d)
    theirs = jnp.argmax(candidates @ w.T, -1)
    wanted = random.randint(keys[3], (), 0, classes)
    query = jnp.argsort((theirs == wanted).astype(int))[-1]
    return pool[chosen], labels[chosen], candidates[query], jax.nn.one_hot(theirs[query], classes)


def _on_sphere(key: Array, count: int, d: int) -> Array:
    x = random.normal(key, (count, d))
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def loss(weights: Weights, drawn: Contexts, kind: str) -> Array:
    """The mean cross-entropy of the queries of some contexts."""
    x, y, x_query, y_query = drawn
    logits = jax.vmap(partial(_logits, weights, kind))(x, y, x_query)
    return -(jax.nn.log_softmax(logits) * y_query).sum(-1).mean()


def _logits(weights: Weights, kind: str, x: Array, y: Array, x_query: Array) -> Array:
    """The layer of one context, all tokens of it; the query's token is in no key and no value."""
    d, e = x.shape[-1], x.shape[-1] + y.shape[-1]
    tokens = jnp.zeros((len(x) + 1, e)).at[:-1].set(jnp.concatenate([x, y], -1)).at[-1, :d].set(x_query)
    q, k, v = tokens @ weights["W_Q"].T, tokens[:-1] @ weights["W_K"].T, tokens[:-1] @ weights["W_V"].T
    scores = q @ k.T if kind == "linear" else jax.nn.softmax(q @ k.T / e**0.5)
    return (tokens + scores @ v @ weights["W_P"].T)[-1, d:]


def steps(task: SphereClassification, kind: str, batch: int) -> Steps:
    """Contexts and step, each a compiled program that Python calls once a step, as a training loop does."""
    e = task.d + task.classes
    start = {
        name: 0.002 * random.normal(key, (e, e)) / e**0.5
        for name, key in zip(NAMES, random.split(random.key(0), len(NAMES)), strict=True)
    }
    draw, update = jax.jit(partial(contexts, task, batch)), _update(kind)

    def take(count: int) -> Array:
        zeros = jax.tree.map(jnp.zeros_like, start)
        state, key = (start, zeros, zeros, 0), random.key(1)
        with jax.default_matmul_precision("highest"):
            for _ in range(count):
                key, now = random.split(key)
                state = update(state, draw(now))
            return jax.block_until_ready(state[0]["W_P"])

    return take


def draws(task: SphereClassification, batch: int) -> Steps:
    """The contexts alone."""
    draw = jax.jit(partial(contexts, task, batch))

    def take(count: int) -> Array:
        for key in random.split(random.key(1), count):
            drawn = jax.block_until_ready(draw(key))
        return drawn[0]

    return take


def _update(kind: str, rate: float = 1e-4) -> Callable[[Any, Contexts], Any]:
    def update(state: Any, drawn: Contexts) -> Any:
        weights, m, v, t = state
        slope = jax.grad(loss)(weights, drawn, kind)
        norm = jnp.sqrt(sum((g**2).sum() for g in slope.values()))
        slope = jax.tree.map(lambda g: g * jnp.minimum(1, CLIPPING[kind] / norm), slope)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, slope)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, slope)
        moved = jax.tree.map(
            lambda w, m, v: w - rate * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), weights, m, v
        )
        return moved, m, v, t

    return jax.jit(update)


def check(task: SphereClassification, kind: str, batch: int = 64) -> None:
    """Raise `AssertionError` unless contexts are balanced, and the gradient is autograd's on this library's layer."""
    e = task.d + task.classes
    drawn = contexts(task, batch, random.key(2))
    x, y, x_query, y_query = (torch.from_numpy(numpy.array(part, dtype=float)) for part in drawn)
    assert bool((y.sum(1) == task.n // task.classes).double().mean() > 0.9), "contexts are not balanced"
    generator = stream(0, "init")
    weights = [torch.randn(e, e, generator=generator, dtype=torch.float64, requires_grad=True) for _ in NAMES]
    scale = 1.0 if kind == "linear" else e**-0.5
    tokens = labelled_tokens(x, y, x_query)
    layer = self_attention(tokens, *weights, kind=kind, mask=query_mask(task.n), scale=scale)
    expected = torch.autograd.grad(cross_entropy(layer[:, -1, task.d :], y_query).mean(), weights)
    with jax.default_matmul_precision("highest"):
        given = {name: jnp.asarray(w.detach().numpy(), jnp.float32) for name, w in zip(NAMES, weights, strict=True)}
        found = jax.grad(loss)(given, drawn, kind)
    for name, slope in zip(NAMES, expected, strict=True):
        size = float(slope.abs().max())
        ours = torch.from_numpy(numpy.array(found[name], dtype=float))
        torch.testing.assert_close(ours, slope, rtol=1e-3, atol=1e-3 * size)

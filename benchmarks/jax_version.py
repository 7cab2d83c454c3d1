"""The same training in JAX, with care: one compiled program, a scan over steps, a vmap over repetitions."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import Array, random

from benchmarks.contestants import RATE, Steps
from benchmarks.settings import JAX_EXPLICIT, JAX_REDUCED, Setting

Tasks = tuple[Array, ...]


def contestants(setting: Setting, device: torch.device) -> dict[str, Steps]:
    """Explicit tasks, and the reduced ones of this library; nobody where this JAX does not know the device."""
    try:
        (place, *_) = jax.devices(device.type)
    except RuntimeError as error:
        print(f"left out: {JAX_EXPLICIT} and {JAX_REDUCED} ({error})", file=sys.stderr)
        return {}
    found = {JAX_EXPLICIT: _steps(setting, place, partial(draw_explicit, setting), explicit_loss)}
    # The same document's sampler has other fields; one form is enough to tell the frameworks apart.
    if setting.query == "held":
        found[JAX_REDUCED] = _steps(setting, place, partial(draw_reduced, setting), reduced_loss)
    return found


def draw_explicit(setting: Setting, key: Array) -> Tasks:
    """A, b, A_query, b_query of a batch."""
    keys = random.split(key, 3)
    x = random.normal(keys[0], (setting.batch, setting.d)) * setting.d**-0.5
    A = random.normal(keys[1], (setting.batch, setting.n, setting.d))
    b = jax.nn.softmax(jnp.einsum("bnd,bd->bn", A, x))
    if setting.query == "same":
        return A, b, A, b
    A_query = random.normal(keys[2], (setting.batch, setting.n, setting.d))
    return A, b, A_query, jax.nn.softmax(jnp.einsum("bnd,bd->bn", A_query, x))


def explicit_loss(M: Array, tasks: Tasks) -> Array:
    """(n/2)‖softmax(A_q M h) − b‖², the mean over tasks."""
    A, b, A_query, b_query = tasks
    h = jnp.einsum("bnd,bn->bd", A, b - b.mean(-1, keepdims=True))
    return _loss(jnp.einsum("bnd,bd->bn", A_query, h @ M.T), b_query)


def draw_reduced(setting: Setting, key: Array) -> Tasks:
    """h, x̂, g₁, g₂, b and ξ' of a batch with held-out queries: see `icl_lib.softmax_regression.reduced_sampling`."""
    keys = random.split(key, 2)
    g, along, across = random.normal(keys[0], (3, setting.batch, setting.n))
    x, xi, rest = random.normal(keys[1], (3, setting.batch, setting.d))
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    direction, size = x / length, length * setting.d**-0.5
    r = jax.nn.softmax(g * size) - 1 / setting.n
    perpendicular = xi - direction * (direction * xi).sum(-1, keepdims=True)
    h = direction * (r * g).sum(-1, keepdims=True) + jnp.linalg.norm(r, axis=-1, keepdims=True) * perpendicular
    return h, direction, along, across, jax.nn.softmax(along * size), rest


def reduced_loss(M: Array, tasks: Tasks) -> Array:
    """A function with the gradient of the same loss on documents that have these coordinates."""
    h, direction, along, across, target, rest = tasks
    w = h @ M.T
    on_direction = (direction * w).sum(-1, keepdims=True)
    perpendicular = w - on_direction * direction
    # The root's slope at 0, where training may start, must not be infinite.
    size = jnp.sqrt((perpendicular**2).sum(-1, keepdims=True) + 1e-30)
    logits = along * on_direction + across * size
    f = jax.nn.softmax(logits)
    slope = f * (f - target)
    slope = slope - f * slope.sum(-1, keepdims=True)
    unit = perpendicular / size
    free = rest - direction * (direction * rest).sum(-1, keepdims=True) - unit * (unit * rest).sum(-1, keepdims=True)
    # No logit depends on this part, so it enters as a slope and not as a value.
    part = jax.lax.stop_gradient(target.shape[-1] * jnp.linalg.norm(slope, axis=-1, keepdims=True) * free)
    return _loss(logits, target) + jnp.mean((part * w).sum(-1))


def _loss(logits: Array, target: Array) -> Array:
    f = jax.nn.softmax(logits)
    return target.shape[-1] / 2 * jnp.mean(jnp.sum((f - target) ** 2, -1))


def _steps(
    setting: Setting, place: jax.Device, draw: Callable[[Array], Tasks], loss: Callable[[Array, Tasks], Array]
) -> Steps:
    def step(state: Any, _: None) -> tuple[Any, None]:
        M, m, v, t, key = state
        key, now = random.split(key)
        slope = jax.grad(loss)(M, draw(now))
        t, m, v = t + 1, 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        M = M - RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return (M, m, v, t, key), None

    @partial(jax.jit, static_argnums=1)
    def run(state: Any, steps: int) -> Any:
        return jax.vmap(lambda one: jax.lax.scan(step, one, None, length=steps)[0])(state)

    # Of JAX's generators "rbg" is the fastest here; the default, threefry, takes longer.
    keys = random.split(random.key(0, impl="rbg"), setting.repetitions)
    zeros = jnp.zeros((setting.repetitions, setting.d, setting.d))
    start = (zeros, zeros, zeros, jnp.zeros(setting.repetitions), keys)
    placed = jax.device_put(start, place)

    def take(steps: int) -> Array:
        # As PyTorch here: products of float32 matrices in float32, on a GPU too.
        with jax.default_matmul_precision("highest"):
            return jax.block_until_ready(run(placed, steps)[0])

    return take

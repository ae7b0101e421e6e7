"""JAX: the whole step in one jit, with the old parameters' memory given back to it (donated)."""

import os

from contenders import Case
from nets import Start


def step(threads, data, device):
    os.environ["JAX_PLATFORMS"] = "cuda" if device == "gpu" else "cpu"
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    start = Start.read(data)

    def loss(theta, X, y):
        A = X
        for W, b in theta[:-1]:
            A = jnp.maximum(A @ W + b, 0.0)
        Z = A @ theta[-1][0] + theta[-1][1]
        chosen = jnp.take_along_axis(Z, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(Z, axis=1) - chosen)

    def update(theta, m, v, t, X, y):
        J, g = jax.value_and_grad(loss)(theta, X, y)
        t = t + 1.0
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate, scale = start.lr / (1.0 - 0.9**t), 1.0 / jnp.sqrt(1.0 - 0.999**t)
        theta = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) * scale + 1e-8), theta, m, v)
        return theta, m, v, t, J

    compiled = jax.jit(update, donate_argnums=(0, 1, 2, 3))
    theta = [(jnp.asarray(W.T), jnp.asarray(b)) for W, b in zip(start.W, start.b, strict=True)]
    zeros = lambda: jax.tree.map(jnp.zeros_like, theta)  # noqa: E731
    state = [theta, zeros(), zeros(), jnp.zeros(())]
    batches = [(jnp.asarray(X), jnp.asarray(y)) for X, y in zip(start.X, start.y, strict=True)]

    def train(X, y):
        *state[:], J = compiled(*state, X, y)
        return J

    return {
        "step": Case(train, batches, lambda last: jax.block_until_ready((state, last))),
        "read": Case(lambda X, y: float(train(X, y)), list(zip(start.X, start.y, strict=True))),
    }


TASKS = {"step": step}

"""The solver lbfgs: SciPy's L-BFGS-B over theta, with J and its gradient from the recursions on all samples at once."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from deepxp.backend import Backend
from deepxp.estimators.samples import Samples
from deepxp.network import Network
from deepxp.ops.regularization import l2_gradient, l2_penalty
from deepxp.ops.typing import Array
from deepxp.recursions import backward, class_column, evaluate_loss, forward


def objective(net: Network, samples: Samples, alpha: float) -> Callable[[Array], tuple[float, Array]]:
    """theta -> J + alpha / (2 S) sum_l ||W[l]||^2 and its gradient, in float64 on the host.

    S is the sum of the samples' weights.
    """
    labels, weighted, M = samples.labels, samples.w is not None, samples.Y.shape[0]
    gradient, work = net.gradient(), net.memory(M, labels=labels).workspace(M)
    strength, classes = alpha / samples.fill(np.arange(M), work), class_column(net, labels=labels)

    def evaluate(backend: Backend) -> None:
        here, weights = net.on(backend), net.parameters.weights
        forward(here, work)
        evaluate_loss(here, work, classes, weighted=weighted)
        backward(here, work, gradient)
        backend[l2_penalty](weights, strength, work.J)
        backend[l2_gradient](weights, gradient.weights, strength)

    run = net.backend.record(evaluate, work.X)

    def J(theta: Array) -> tuple[float, Array]:
        net.backend.write(net.theta, theta)
        run()
        return float(work.J), net.backend.asnumpy(gradient.g).astype(np.float64)

    return J


def search(
    net: Network,
    samples: Samples,
    alpha: float,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    outputs: int,
    on_iteration: Callable[[int, float], None],
) -> tuple[OptimizeResult, float]:
    """Move the network to where the search ends. Returns what SciPy says of it, and the loss there as
    J / outputs + alpha / (2 S) sum_l ||W[l]||^2; what is searched along is J itself, whose gradient theirs is."""
    count = 0

    def report(intermediate_result: OptimizeResult) -> None:
        nonlocal count
        count += 1
        on_iteration(count, float(intermediate_result.fun))

    with net.backend.active():
        result = minimize(
            objective(net, samples, alpha),
            net.backend.asnumpy(net.theta).astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            callback=report,
            options={"maxiter": max_iter, "maxfun": max_fun, "gtol": tol},
        )
        net.backend.write(net.theta, result.x)
        penalty = net.backend.zeros((), net.dtype)
        net.backend[l2_penalty](net.parameters.weights, alpha / samples.total, penalty)
    return result, (float(result.fun) - float(penalty)) / outputs + float(penalty)

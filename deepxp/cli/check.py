"""`deepxp check`: the gradient against differences of the loss, and the devices against each other."""

from argparse import Namespace
from typing import Any

import numpy as np

from deepxp import agreement, network
from deepxp.backend import backend as backend_of
from deepxp.cli import config
from deepxp.cli.apply import load
from deepxp.cli.folder import model_in
from deepxp.cli.options import Settings
from deepxp.cli.problem import SOFTMAX, SQUARED, encode_for, problem
from deepxp.cli.report import Report, count
from deepxp.cli.train import device_line, network_line
from deepxp.devices import devices
from deepxp.gradcheck import gradcheck
from deepxp.network import Network

LARGE = 200_000  # parameters from which on fewer samples are used
SAMPLES, FEW = 16, 4


def run(arguments: Namespace) -> int:
    """Print both tables; 1 where something differs."""
    settings, report = config.settings(arguments.flags), Report()
    net, X, y, source = _subject(arguments, settings)
    report.line("network", f"{network_line(net)}: {count(net.theta.shape[0], 'parameter')}")
    report.line("data", f"{count(X.shape[1], 'sample')} of {source}")
    report.line("device", device_line(settings.device, net.backend))
    report.line("")
    report.line("the gradient against central differences in float64: ||numeric - dW|| / (||numeric|| + ||dW||)")
    gradient = gradcheck(net, X, y)
    report.line(str(gradient))
    report.line("the gradient is right" if gradient.passed else "THE GRADIENT IS WRONG where it says so")
    report.line("")
    return 0 if _devices_agree(report, net, X, y) and gradient.passed else 1


def _devices_agree(report: Report, net: Network, X: np.ndarray, y: np.ndarray) -> bool:
    """The step on the CPU against the step on the GPU: the network's, or else the first that is usable."""
    gpus = [device for device in devices() if device.name != "cpu"]
    other = net.backend.name if net.backend.name != "cpu" else next((gpu.name for gpu in gpus if gpu.usable), None)
    if other is None:
        report.line("only the cpu is usable here, so there is no other device to compare with")
        for gpu in gpus:
            report.line(gpu.name, gpu.reason)
            report.line("", f"to fix it: {gpu.fix}")
        return True
    found = agreement.compare(net.to("cpu"), backend_of(other), X, y)
    report.line(f"a step on the cpu and on {other}, both against float64, the largest difference of each quantity")
    report.line(str(found))
    if found.first is None:
        report.line(f"cpu and {other} agree")
    else:
        report.line(f"CPU AND {other.upper()} DIFFER, first in {found.first.quantity} of layer {found.first.layer}")
    return found.passed


def _subject(arguments: Namespace, settings: Settings) -> tuple[Network, np.ndarray, np.ndarray, str]:
    """The network, columns X, targets y, and where these are from."""
    if arguments.model is None:
        task = problem(settings)
        net, (X, y), name = task.network(settings, backend=backend_of(settings.device)), task.train, task.name
    else:
        arguments.model = model_in(arguments.model)
        net = network.load(arguments.model, settings.device, limit_bytes=settings.limit_bytes)
        if settings.data is None:
            return net, *_random(net, _samples(net)), "random numbers"
        dataset = load(settings, net, arguments.model)
        X, y, name = dataset.X.T, encode_for(net, dataset), dataset.name
    rows = np.unique(np.linspace(0, X.shape[1] - 1, _samples(net)).astype(int))  # from all over the data
    return net, X[:, rows], y[..., rows], name


def _samples(net: Network) -> int:
    return SAMPLES if net.theta.shape[0] < LARGE else FEW


def _random(net: Network, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that look standard normal to the network, and targets that its loss takes."""
    random, n = np.random.default_rng(net.seed), net.sizes[-1]
    X: Any = random.standard_normal((net.sizes[0], m))
    if net.scaler is not None:
        X = X / net.scaler.factor[:, None] + net.scaler.shift[:, None]
    if net.loss.name == SOFTMAX:
        return X, random.integers(n, size=m)
    if net.loss.name != SQUARED:
        return X, random.integers(2, size=(n, m))
    return X, net.backend.asnumpy(net.in_unit(net.backend.asarray(random.standard_normal((n, m)), net.dtype)))

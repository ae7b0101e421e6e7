"""scikit-learn's MLPClassifier through its public partial_fit, without its L2 term and its shuffling of a batch."""

import numpy as np
from sklearn.neural_network import MLPClassifier

from contenders import Case
from nets import EPS_FOLDED, LR, Start


def step(threads, data, device):
    start = Start.read(data)
    classes = np.arange(start.sizes[-1])
    net = MLPClassifier(
        start.sizes[1:-1],
        learning_rate_init=start.lr,
        epsilon=EPS_FOLDED,
        alpha=0.0,
        batch_size=start.X.shape[1],
        shuffle=False,
    )
    net.partial_fit(start.X[0], start.y[0], classes=classes)  # makes its arrays; the weights are then replaced
    for own, given in zip((*net.coefs_, *net.intercepts_), (*(W.T for W in start.W), *start.b), strict=True):
        own[...] = given
    del net._optimizer  # the next call makes Adam anew: its state is zero again

    def train(X, y):
        net.partial_fit(X, y)
        return net.loss_

    return {"step": Case(train, list(zip(start.X, start.y, strict=True)))}


def epoch(threads, data, sizes, m, device):
    """partial_fit on the whole table is one epoch in batches."""
    with np.load(data) as file:
        X, y = file["X"], file["y"]
    net = MLPClassifier(tuple(sizes[1:-1]), learning_rate_init=LR, alpha=0.0, batch_size=m, random_state=0)

    def call():
        net.partial_fit(X, y, classes=np.arange(sizes[-1]))
        return net.loss_

    return {"epoch": Case(call)}


TASKS = {"step": step, "epoch": epoch}

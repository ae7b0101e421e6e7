"""thinc: Relu and Softmax layers on NumpyOps, Adam without clipping, weight decay and averages.

Its loss object returns a squared error as the loss, so J is computed here, from its probabilities, and only where it is
asked for; the gradient is thinc's own.
"""

import numpy as np
from thinc.api import Adam, CategoricalCrossentropy, NumpyOps, Relu, Softmax, chain, set_current_ops

from contenders import Case
from nets import EPS_FOLDED, Start


def step(threads, data, device):
    start = Start.read(data)
    set_current_ops(NumpyOps())
    layers = [Relu(W.shape[0], W.shape[1]) for W in start.W[:-1]]
    layers.append(Softmax(start.W[-1].shape[0], start.W[-1].shape[1]))
    model = chain(*layers) if len(layers) > 1 else layers[0]
    model.initialize(X=start.X[0][:2])
    for layer, W, b in zip(layers, start.W, start.b, strict=True):
        layer.set_param("W", W.copy())
        layer.set_param("b", b.copy())
    optimizer, loss = (
        Adam(start.lr, eps=EPS_FOLDED, L2=0.0, grad_clip=0.0, use_averages=False),
        CategoricalCrossentropy(),
    )

    def train(X, y):
        A, backprop = model.begin_update(X)
        backprop(loss.get_grad(A, y))
        model.finish_update(optimizer)
        return A, y

    class Losses(Case):
        def number(self, given):
            A, y = given
            return float(-np.mean(np.log(A[np.arange(len(y)), y])))

    return {"step": Losses(train, list(zip(start.X, start.y, strict=True)))}


TASKS = {"step": step}

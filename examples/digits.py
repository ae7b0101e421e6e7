"""Handwritten digits: scale, split, train, look at what is mistaken for what: python examples/digits.py"""

import argparse

import numpy as np

import deepxp as dx
from deepxp.data import Scaler, digits, split


def confusion(truth, predicted, classes=10):
    """How many of class i (row) were taken for class j (column)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    parser.add_argument("--save", metavar="FILE", help="write the model, such as digits.safetensors")
    options = parser.parse_args()

    data = digits()  # rows are samples, as in every table
    parts = split(data, order=np.random.default_rng(0).permutation(len(data.X)), test=0.2, validation=0.1)
    scaler = Scaler.fit(parts.train.X)  # the network keeps it and scales what it is given
    net = dx.Network((64, 256, 128, 10), dropout=0.1, scaler=scaler, seed=0)
    history = dx.train(
        net,
        parts.train.X.T,  # in the mathematics columns are samples; .T copies nothing
        parts.train.y,
        epochs=4 if options.quick else 100,
        batch_size=64,
        optimizer=dx.Adam(lr=2e-3),
        schedule=dx.Cosine(warmup=1),
        validation=(parts.validation.X.T, parts.validation.y),
        patience=15,
        on_epoch=lambda r: print(f"epoch {r['epoch']:3}  loss {r['loss']:.4f}  {r['validation_accuracy']:.2%}"),
    )
    print(f"the weights of epoch {history.best_epoch} are kept")

    predicted = net.predict(parts.test.X.T)
    print(f"test accuracy {np.mean(predicted == parts.test.y):.2%}")
    counts = confusion(parts.test.y, predicted)
    np.fill_diagonal(counts, 0)
    truth, taken = np.unravel_index(counts.argmax(), counts.shape)
    print(f"the most frequent mistake: {truth} taken for {taken}, {counts.max()} times")
    if options.save:
        net.save(options.save)


if __name__ == "__main__":
    main()

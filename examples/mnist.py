"""MNIST from an .npz file: python examples/mnist.py mnist.npz

The file holds x_train (60000, 28, 28), y_train (60000,), x_test and y_test; it does not come with deepxp.
"""

import argparse
import sys

import numpy as np

import deepxp as dx
from deepxp.data import Scaler, load


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="the .npz file")
    parser.add_argument("--device", default="auto", help="cpu, gpu, gpu:N, auto")
    parser.add_argument("--quick", action="store_true", help="one epoch of a small network")
    options = parser.parse_args()
    if options.file is None:
        sys.exit("give the file: python examples/mnist.py mnist.npz, with x_train, y_train, x_test and y_test")
    try:
        data = load(options.file)  # images become rows, and stay bytes until their batch is due
    except dx.DataError as error:
        sys.exit(f"{error}; it should hold x_train, y_train, x_test and y_test")
    if data.X_test is None:
        sys.exit(f"{options.file} has no x_test and y_test")

    held_out = np.random.default_rng(0).permutation(len(data.X)) < len(data.X) // 10
    X, y, Xv, yv = data.X[~held_out].T, data.y[~held_out], data.X[held_out].T, data.y[held_out]
    sizes = (data.X.shape[1], 32, 10) if options.quick else (data.X.shape[1], 256, 128, 10)
    net = dx.Network(sizes, scaler=Scaler.fit(X.T), backend=options.device, seed=0)
    print(net)
    dx.train(
        net,
        X,
        y,
        epochs=1 if options.quick else 10,
        batch_size=64,
        optimizer=dx.Adam(lr=2e-3),
        schedule=dx.Cosine(warmup=0 if options.quick else 1),
        validation=(Xv, yv),
        on_epoch=lambda r: print(f"epoch {r['epoch']:2}  {r['validation_accuracy']:.2%}  {r['seconds']:.1f} s"),
    )
    print(f"test accuracy {dx.evaluate(net, data.X_test.T, data.y_test)['accuracy']:.2%}")


if __name__ == "__main__":
    main()

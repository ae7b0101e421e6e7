"""Numbers from a real table: how far diabetes goes within a year, of ten measurements: python examples/regression.py

442 patients (Efron et al. 2004), as scikit-learn brings them: python -m pip install scikit-learn
"""

import argparse
import sys

import numpy as np

import deepxp as dx
from deepxp.data import Scaler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    options = parser.parse_args()
    try:
        from sklearn.datasets import load_diabetes
    except ImportError:
        sys.exit("the table comes with scikit-learn: python -m pip install scikit-learn")

    table, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(y))
    test, validation, train = np.split(order, [88, 132])
    unit, middle = y[train].std(), y[train].mean()  # what is predicted is best a number around 1

    def columns(rows):
        return table[rows].T, (y[rows] - middle) / unit

    net = dx.Network((10, 16, 1), "tanh", loss="squared-error", scaler=Scaler.fit(table[train]), seed=0)
    history = dx.train(
        net,
        *columns(train),
        epochs=30 if options.quick else 500,
        batch_size=32,
        optimizer=dx.AdamW(lr=3e-3, weight_decay=0.1),
        validation=columns(validation),
        patience=30,
    )
    print(f"stopped after {len(history)} epochs; the weights of epoch {history.best_epoch} are kept")

    predicted = middle + unit * net.predict(table[test].T)
    error, spread = predicted - y[test], y[test] - middle
    print(f"off by {np.abs(error).mean():.0f} on average; {np.abs(spread).mean():.0f} where the mean is predicted")
    print(f"R^2 {1 - np.sum(error**2) / np.sum((y[test] - y[test].mean()) ** 2):.2f}")


if __name__ == "__main__":
    main()

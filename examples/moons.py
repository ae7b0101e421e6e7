"""Two moons that no line can separate, and the boundary that one hidden layer draws: python examples/moons.py"""

import argparse

import numpy as np

import deepxp as dx


def moons(m, random):
    """X (2, m), points of two half circles that reach into each other; y (m,), which of them."""
    y = random.integers(2, size=m)
    angle = random.uniform(0, np.pi, m)
    X = np.stack([np.cos(angle), np.sin(angle)])
    X = np.where(y == 0, X, np.array([[1.0], [0.5]]) - X)
    return X + 0.15 * random.standard_normal(X.shape), y


def draw(net, X, y, path):
    """The samples, and the probability that the network gives to every point of the plane."""
    import matplotlib

    matplotlib.use("agg")  # a file, no window
    import matplotlib.pyplot as plt

    x1, x2 = np.meshgrid(np.linspace(-1.6, 2.6, 300), np.linspace(-1.1, 1.6, 200))
    p = net.predict_proba(np.stack([x1.ravel(), x2.ravel()]))[1].reshape(x1.shape)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.contourf(x1, x2, p, levels=np.linspace(0, 1, 21), cmap="RdBu", alpha=0.5)
    axes.contour(x1, x2, p, levels=[0.5], colors="black", linewidths=1)
    axes.scatter(*X, c=y, cmap="RdBu", s=10, edgecolors="white", linewidths=0.3)
    axes.set(title="P(second moon); one hidden layer of 16 units", aspect="equal")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few epochs only")
    parser.add_argument("--out", default="moons.png", help="the picture, where Matplotlib is installed")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    (X, y), (X_test, y_test) = moons(1000, random), moons(500, random)
    net = dx.Network((2, 16, 2), hidden="tanh", seed=0)
    dx.train(net, X, y, epochs=10 if options.quick else 60, batch_size=50, optimizer=dx.Adam(lr=2e-2))
    print(f"test accuracy {dx.evaluate(net, X_test, y_test)['accuracy']:.1%}")
    try:
        draw(net, X_test, y_test, options.out)
        print(f"the boundary is drawn in {options.out}")
    except ImportError:
        print("no picture: python -m pip install matplotlib")


if __name__ == "__main__":
    main()

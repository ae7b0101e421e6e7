"""A function written once against `xp`: it runs on the arrays it is given, NumPy's or CuPy's.

python examples/any_array.py                  # NumPy
python examples/any_array.py --device gpu     # the same function on the GPU
"""

import argparse

import numpy as np

import deepxp as dx


def attention(Q, K, V):
    """V softmax(K^T Q / sqrt(d)): each column of Q asks the columns of K, and gets a mixture of those of V.

    Q (d, m), K (d, k), V (n, k), of one library and on one device; the answer (n, m) is there, too.
    """
    dx.array_namespace(Q, K, V)  # arrays of two libraries or devices are an error that names both
    return V @ dx.softmax(K.T @ Q / Q.shape[0] ** 0.5)


def standardized(X):
    """Each row of X with mean 0 and deviation 1."""
    xp = dx.array_namespace(X)  # numpy, cupy, or another library of the array API
    X = X - xp.mean(X, axis=1, keepdims=True)
    return X / xp.sqrt(xp.mean(X * X, axis=1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, gpu, gpu:N, auto")
    parser.add_argument("--quick", action="store_true", help="small arrays")
    options = parser.parse_args()

    device = dx.backend(options.device)
    n = 64 if options.quick else 2048
    random = np.random.default_rng(0)
    Q, K, V = (device.asarray(random.standard_normal((64, n)), "float32") for _ in range(3))
    A = attention(standardized(Q), standardized(K), V)
    print(f"{type(A).__module__}.{type(A).__name__} {A.shape} on {device.name}")

    Q, K, V = (device.asnumpy(x).astype(float) for x in (Q, K, V))
    exact = attention(standardized(Q), standardized(K), V)  # the same function, on the host, in float64
    print(f"largest difference from NumPy in float64: {np.abs(device.asnumpy(A) - exact).max():.1e}")


if __name__ == "__main__":
    main()

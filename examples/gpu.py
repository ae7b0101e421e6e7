"""One program for the CPU and the GPU: the device is a flag.

python examples/gpu.py                        # a GPU where one is usable, else the CPU
python examples/gpu.py --device gpu           # the GPU, or an error that says what is missing
python examples/gpu.py --device gpu --precision tf32
"""

import argparse
import sys
import time

import numpy as np

import deepxp as dx


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, gpu, gpu:N, auto")
    parser.add_argument("--precision", default="fp32", help="of products on a GPU: fp32, tf32, bf16")
    parser.add_argument("--quick", action="store_true", help="a small network")
    options = parser.parse_args()
    try:
        device = dx.backend(options.device, options.precision)
    except dx.DeepxpError as error:
        sys.exit(str(error))
    for other in dx.devices():
        print(f"{other.name:6} {other.description if other.usable else other.reason}")

    n, m, steps = (64, 32, 20) if options.quick else (1024, 1024, 100)
    random = np.random.default_rng(0)
    rows, y = random.standard_normal((m, n)).astype("float32"), random.integers(10, size=m)
    net = dx.Network((n, n, n, 10), backend=device, seed=0)
    step = dx.TrainingStep(net, dx.Adam(), batch_size=m)
    X = device.asarray(rows).T  # on the device, once; NumPy arrays may be given, too, and are copied in each step

    for _ in range(5):  # the first steps compile, and record
        J = step(X, y)
    device.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        J = step(X, y)  # J stays on the device: nothing waits
    device.synchronize()
    each = (time.perf_counter() - start) / steps
    print(f"{net}\n{each * 1e3:.3f} ms a step of {m} samples, J = {float(J):.4f}")


if __name__ == "__main__":
    main()

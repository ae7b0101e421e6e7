"""The sizes that the benchmarks run over; True is the quick grid."""

GRID = {
    "n": {True: (128, 512), False: (64, 256, 1024, 2048)},
    "m": {True: (32, 512), False: (32, 128, 1024, 8192)},
    "C": {True: (10, 1000), False: (10, 100, 1000, 32_000)},
    "samples": {True: (128, 4096), False: (128, 1024, 10_000, 1_000_000)},
    "size": {True: (2_200_000,), False: (20_000, 2_200_000, 14_700_000)},
    "activation": {
        True: ("relu", "gelu", "a user's swish"),
        False: ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "a user's swish"),
    },
    "dtype": {True: ("float32", "float64"), False: ("float32", "float64")},
}
LONG = {True: {"max_time": 0.03, "min_rounds": 3}, False: {"max_time": 0.3, "min_rounds": 5}}
LARGEST = 160e6  # bytes of an array

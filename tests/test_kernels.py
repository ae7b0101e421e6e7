"""What makes a kernel drop-in: the name and signature of the definition, and its numbers, wherever they are used.

Every kernel module is held against the definitions in `deepxp.ops`, which no kernel of its own is in. A new module
joins the list; what it names is tested, what it does not name falls through to the definition.
"""

import contextlib
import importlib
import inspect
import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_array_less

import deepxp as dx
from deepxp.backend import Backend
from deepxp.kernels.tape import BLOCK
from deepxp.ops import activations, batches, dense, guard, loss_scale, losses, random, regularization, updates
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.loss_scale import LEAST, MOST, PATIENCE
from deepxp.ops.losses import softmax_cross_entropy_labels

OPS = {
    name: op
    for module in (activations, batches, dense, guard, loss_scale, losses, random, regularization, updates)
    for name, op in inspect.getmembers(module, inspect.isfunction)
    if op.__module__ == module.__name__
}
NOT_OPS = {"record"}  # the one other name that a backend asks a kernel module for

MODULES = ["numpy", "numba"]
EXACT = {  # kernels that make the definition's own calls, element by element
    "numpy": {"weigh", "dropout", "gather", "scale", "update"},
}


@pytest.fixture(params=MODULES, scope="module")
def kernels(request):
    if request.param != "numpy":
        pytest.importorskip(request.param, exc_type=ImportError)
    return importlib.import_module(f"deepxp.kernels.{request.param}")


def named(kernels):
    """The functions that a kernel module offers."""
    public = getattr(kernels, "__all__", [name for name in vars(kernels) if not name.startswith("_")])
    functions = {name: getattr(kernels, name) for name in public if inspect.isfunction(getattr(kernels, name))}
    return {name: f for name, f in functions.items() if f.__module__.startswith("deepxp.kernels.") and name in OPS}


def parameters(f):
    return [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]


def test_a_kernel_has_the_signature_of_its_definition(kernels):
    offered = named(kernels)
    assert {"dense_forward", "softmax", "update"} <= offered.keys()
    for name, kernel in offered.items():
        assert parameters(kernel) == parameters(OPS[name]), name
    assert [name for name, *_ in parameters(OPS["softmax"])] != [name for name, *_ in parameters(OPS["tanh_backward"])]


def test_a_kernel_module_shadows_nothing_by_accident(kernels):
    """A backend looks ops up by name: every name of an op in the module must be its kernel, or the op itself."""
    for name, op in OPS.items():
        found = getattr(kernels, name, op)
        assert found is op or found.__module__.startswith("deepxp.kernels."), name
    own = {
        name
        for name, f in inspect.getmembers(kernels, inspect.isfunction)
        if f.__module__ == kernels.__name__ and not name.startswith("_")
    }
    assert {"dense_forward"} <= own
    listed = set(getattr(kernels, "__all__", own))
    assert listed <= OPS.keys() | NOT_OPS


# the cases: an op's arguments by name, made of ready numbers


SHAPES = [(1, 1), (1, 2), (2, 1), (5, 7), (3, 64), (64, 3), (65, 17), (129, 31), (7, 257)]
BLOCKS = [(1, BLOCK - 1), (1, BLOCK), (1, BLOCK + 1), (3, BLOCK // 3), (3, BLOCK // 2), (2, 2 * BLOCK + 1), (BLOCK, 1)]
PLAIN, EXTREME, BROKEN = "plain", "extreme", "NaN and infinity"


class Numbers:
    """Arrays of one precision with ordinary numbers, with very large and small ones, or with NaN and infinities."""

    def __init__(self, dtype, kind=PLAIN, seed=0):
        self.rng, self.dtype, self.kind = np.random.default_rng(seed), dtype, kind

    def __call__(self, *shape):
        x = self.rng.normal(size=shape)
        at = self.rng.random(shape) < 0.1
        if self.kind == EXTREME:
            x[at] = self.rng.choice([0.0, -0.0, 800.0, -800.0, 90.0, -90.0, 1e4, -1e4, 1e-30], size=int(at.sum()))
        elif self.kind == BROKEN:
            at &= self.rng.random(shape) < 0.3
            x[at] = self.rng.choice([np.nan, np.inf, -np.inf], size=int(at.sum()))
        return x.astype(self.dtype)

    def empty(self, *shape):
        """Memory for a result: what it holds must not matter."""
        return np.full(shape, 77, self.dtype)

    def probabilities(self, C, m):
        Y = self.rng.random((C, m)) + 0.01
        return (Y / Y.sum(axis=0)).astype(self.dtype)


ELEMENTWISE = [g for g in ACTIVATIONS.values() if g.elementwise]


def cases(name, numbers, n, m):
    """Calls of the op for n units and m samples: dictionaries of arguments."""
    x, empty, probabilities, rng = numbers, numbers.empty, numbers.probabilities, numbers.rng
    if name == "dense_forward":
        for g in ACTIVATIONS.values():
            for layout in ("C", "F"):
                for in_place in (True, False) if g.reads == "A" else (False,):
                    Z = empty(n, m)
                    A_prev = np.array(x(3, m), order=layout)
                    yield {
                        "W": x(n, 3),
                        "b": x(n, 1),
                        "A_prev": A_prev,
                        "g": g,
                        "Z": Z,
                        "A": Z if in_place else empty(n, m),
                    }
    elif name == "activation_backward":
        for g in ACTIVATIONS.values():
            for in_place in (True, False):
                dA, kept = x(n, m), x(n, m)
                with np.errstate(all="ignore"):
                    kept = g.forward(np, kept) if g.reads == "A" else kept
                yield {"g": g, "dA": dA, "kept": kept, "dZ": dA if in_place else empty(n, m), "db": empty(n, 1)}
    elif name == "weight_gradient":
        for layout in ("C", "F"):
            yield {"dZ": x(n, m), "A_prev": np.array(x(4, m), order=layout), "dW": empty(n, 4)}
    elif name == "input_gradient":
        yield {"W": x(n, 4), "dZ": x(n, m), "dA_prev": empty(4, m)}
    elif name == "softmax":
        yield {"Z": x(n, m)}
    elif name in ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"):
        Y = x(n, m) if name == "squared_error" else probabilities(n, m)
        for order in ("C", "F"):  # the targets of a step are a transposed table
            yield {"Z": x(n, m), "Y": np.array(Y, order=order), "losses": empty(m), "dZ": empty(n, m)}
        # columns that do not sum to 1, as after rounding, have the definition's loss and no other
        yield {"Z": x(n, m), "Y": (0.75 * Y).astype(Y.dtype), "losses": empty(m), "dZ": empty(n, m)}
    elif name == "softmax_cross_entropy_labels":
        y, classes = rng.integers(0, n, m).astype(np.int32), np.arange(n, dtype=np.int32)[:, None]
        yield {"Z": x(n, m), "y": y, "classes": classes, "losses": empty(m), "dZ": empty(n, m)}
    elif name == "weigh":
        yield {"w": np.abs(x(m)), "losses": x(m), "dZ": x(n, m)}
    elif name == "cost":
        yield {"losses": x(n * m), "J": np.empty((), numbers.dtype)}
    elif name == "update":
        for rule, rates in RULES.items():
            states = rule.__code__.co_varnames.index("rate") - 3
            state = tuple(np.abs(x(n * m)) for _ in range(states))
            yield {"rule": rule, "theta": x(n * m), "g": x(n * m), "state": state, "rates": list(rates)}
    elif name == "update_where":
        for flag in (1.0, 0.0):
            for call in cases("update", numbers, n, m):
                yield {"flag": np.full((), flag, numbers.dtype)} | call
    elif name == "rates_of":
        for optimizer in (dx.Adam(), dx.AdamW(beta2=0.9999), dx.RMSProp(), dx.SGD()):
            for t in (1, 2, 3000):
                lr, out = np.full((), 0.3), empty(len(optimizer.rates(0.3, t)))
                yield {"rates": optimizer.rates, "lr": lr, "t": np.full((), t, numbers.dtype), "out": out}
    elif name == "rescale":
        for fits, J, S, good in itertools.product(
            (1.0, 0.0), (0.5, np.nan, np.inf), (LEAST, 1.0, 2.0**15, MOST), (0, 7, PATIENCE - 2, PATIENCE - 1)
        ):
            numbers_of = {"fits": fits, "J": J, "S": S, "good": good, "t": 41.0, "skipped": 3.0}
            yield {name: np.full((), value, numbers.dtype) for name, value in numbers_of.items()}
    elif name == "dropout":
        for keep in (1, 13107, 32768, 65535):
            for in_place in (True, False):
                A, bits = x(n, m), rng.integers(0, 65536, (n, m)).astype(np.uint16)
                yield {"A": A, "bits": bits, "keep": keep, "out": A if in_place else empty(n, m)}
    elif name == "dropout_bits":
        key, counter = rng.integers(0, 2**64, 2, dtype=np.uint64), rng.integers(0, 2**64, 2, dtype=np.uint64)
        yield {"key": key, "counter": counter, "layer": 3, "out": np.full((n, m), 77, np.uint16)}
    elif name == "all_finite":
        for flag in (1.0, 0.0):
            yield {"x": x(n * m), "flag": np.full((), flag, numbers.dtype)}
    elif name == "remember":
        yield {"x": x(n * m), "old": empty(n * m)}
    elif name == "restore":
        for flag in (1.0, 0.0):
            yield {"flag": np.full((), flag, numbers.dtype), "old": x(n * m), "x": x(n * m)}
    elif name == "clip_by_norm":
        for limit in (1e-3, 1.0, 1e9):
            yield {"g": x(n * m), "limit": limit}
    elif name == "gather":
        rows = rng.integers(0, n, 11)
        for table in (x(n, m), rng.integers(0, 256, (n, m)).astype(np.uint8), x(n, m).astype(np.float64)):
            yield {"table": table, "rows": rows, "out": empty(11, m)}
        yield {"table": np.asfortranarray(x(n, m)), "rows": rows, "out": empty(11, m)}
        yield {"table": x(n, m).astype(np.float16), "rows": rows, "out": empty(11, m)}
        yield {"table": x(n, m) > 0, "rows": rows, "out": empty(11, m)}
        yield {"table": rng.integers(0, 9, n).astype(np.int32), "rows": rows, "out": np.empty(11, np.int32)}
        yield {"table": x(n), "rows": rows[::-1].copy(), "out": empty(11)}
        for table in (x(n, m), rng.integers(0, 256, (n, m)).astype(np.uint8), x(n, m).astype(np.float64)):
            yield {"table": table, "rows": rows, "out": np.full((11, m), 77, np.float16)}
    elif name == "scale":
        yield {"X": x(m, n), "shift": x(n), "factor": x(n)}
    elif name == "l2_penalty":
        yield {"w": x(n * m), "strength": 0.3, "J": x(1).reshape(())}
    elif name == "l2_gradient":
        yield {"w": x(n * m), "g": x(n * m), "strength": 0.3}
    else:
        pytest.fail(f"there is no case for {name}: write one here")


def looking_back(xp, theta, g, v, rate, mu):
    """A user's own rule, which reads its old state after the new one is made."""
    new = mu * v + g
    return theta - rate * (new - 0.5 * v), new


RULES = {
    looking_back: (0.1, 0.9),
    updates.sgd: (0.1,),
    updates.momentum: (0.1, 0.9),
    updates.nesterov: (0.1, 0.9),
    updates.rmsprop: (0.1, 0.9, 1e-8),
    updates.adam: (0.1, 0.9, 0.999, 1e-8, 1.3),
    updates.adamw: (0.1, 0.9, 0.999, 1e-8, 1.3, 0.01),
}


def copied(call):
    """The same call on memory of its own; what was one array stays one array."""
    twins = {}

    def copy(x):
        if isinstance(x, tuple):
            return tuple(map(copy, x))
        if isinstance(x, np.ndarray):
            return twins.setdefault(id(x), x.copy(order="K"))
        return x

    return {name: copy(x) for name, x in call.items()}


def arrays(call, result, consumed=()):
    """Every array after a call, by name, but for those that the op may overwrite."""
    found = {name: x for name, x in call.items() if isinstance(x, np.ndarray) and name not in consumed}
    found |= {f"state {i}": x for i, x in enumerate(call.get("state", ()))}
    return found | ({} if result is None else {"result": result})


def consumed(name, call):
    if name == "activation_backward" and call["dZ"] is not call["dA"]:
        return ("dA",)
    return ("Z",) if name == "dense_forward" and call["g"].reads == "A" and call["Z"] is not call["A"] else ()


def tolerance(name, dtype, size):
    """A few units in the last place, and what another order of a sum of `size` numbers may change."""
    if name in ("update", "update_where") and dtype == np.float32:
        return 2e-5  # a compiled loop takes 1 - 0.999 in float32, which is off by 1.3e-5
    return 32 * np.finfo(dtype).eps * max(1.0, np.sqrt(size) / 8)


def assert_same_call(kernels, name, call, *, exact=False):
    expected, got = copied(call), copied(call)
    with np.errstate(all="ignore"):
        wanted = OPS[name](np, *expected.values())
        result = getattr(kernels, name)(np, *got.values())
    skip = consumed(name, call)
    for what, x in arrays(got, result, skip).items():
        reference = arrays(expected, wanted, skip)[what]
        assert x.dtype == reference.dtype and x.shape == reference.shape, what
        if exact or x.dtype.kind != "f":
            assert_array_equal(x, reference, err_msg=f"{name}: {what}")
            continue
        size = max(a.size for a in arrays(expected, None).values())
        finite = np.abs(reference[np.isfinite(reference)])
        close = tolerance(name, x.dtype, size)
        # where numbers cancel, an error is measured by what was added, in a sum by the greatest number there is
        assert_allclose(x, reference, rtol=close, atol=close * finite.max(initial=1e-30), err_msg=f"{name}: {what}")


INSTALLED = []
for module in MODULES:
    with contextlib.suppress(ImportError):  # not installed, or made for another NumPy
        INSTALLED.append(importlib.import_module(f"deepxp.kernels.{module}"))
NAMES = sorted(set().union(*(named(module) for module in INSTALLED)))


def offered(kernels, name):
    if name not in named(kernels):
        pytest.skip(f"{kernels.__name__} leaves {name} to the definition")
    return name in EXACT.get(kernels.__name__.rpartition(".")[2], ())


every_op = pytest.mark.parametrize("name", NAMES)
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_op
@both_precisions
@pytest.mark.parametrize("kind", [PLAIN, EXTREME, BROKEN])
def test_a_kernel_is_its_definition_at_every_shape(kernels, name, dtype, kind):
    exact = offered(kernels, name)
    for seed, (n, m) in enumerate(SHAPES):
        if name.startswith("softmax") and n == 1:
            continue  # one class: tested in test_losses
        for call in cases(name, Numbers(dtype, kind, seed), n, m):
            assert_same_call(kernels, name, call, exact=exact)


@every_op
@both_precisions
def test_a_kernel_is_its_definition_at_the_edges_of_a_block(kernels, name, dtype):
    exact = offered(kernels, name)
    for n, m in BLOCKS:
        for i, call in enumerate(cases(name, Numbers(dtype, PLAIN, 5), n, m)):
            if i < 8:
                assert_same_call(kernels, name, call, exact=exact)


def test_the_comparison_sees_a_wrong_kernel():
    class Wrong:
        @staticmethod
        def weigh(xp, w, losses, dZ):
            losses *= w

        @staticmethod
        def softmax(xp, Z):
            return (np.exp(Z) / np.exp(Z).sum(axis=0)) * (1 + 1e-4)

        @staticmethod
        def clip_by_norm(xp, g, limit):
            norm = np.sqrt(np.dot(g, g))
            if norm > limit:  # a NaN goes unnoticed
                g *= limit / norm

    for name, kind in (("weigh", PLAIN), ("softmax", PLAIN)):
        (call,) = cases(name, Numbers(np.float32, kind), 5, 7)
        with pytest.raises(AssertionError):
            assert_same_call(Wrong, name, call)
    g = np.ones(9)
    g[4] = np.nan
    with pytest.raises(AssertionError):
        assert_same_call(Wrong, "clip_by_norm", {"g": g, "limit": 0.1})


# minus infinity is a logit that may occur: a class that is ruled out


@pytest.mark.parametrize("rows", [slice(1, 2), slice(0, 64), slice(64, 128), slice(100, 130)])
@both_precisions
def test_classes_that_are_ruled_out_have_no_share_and_no_gradient(kernels, dtype, rows):
    x = Numbers(dtype)
    Z = x(130, 33)
    Z[rows] = -np.inf
    left = np.setdiff1d(np.arange(130), np.arange(130)[rows])
    y = left[np.arange(33) % left.size].astype(np.int32)
    xp = Backend("kernels", np, kernels)
    A = xp[activations.softmax](Z)
    assert_array_equal(A[rows], 0)
    assert_allclose(A[left], activations.softmax(np, Z[left]), rtol=1e-5 if dtype is np.float32 else 1e-13)
    ell, dZ = x.empty(33), x.empty(130, 33)
    xp[softmax_cross_entropy_labels](Z, y, np.arange(130, dtype=np.int32)[:, None], ell, dZ)
    assert_array_equal(dZ[rows], 0)
    chosen = np.take_along_axis(losses.log_softmax(np, Z[left]), np.searchsorted(left, y)[None], axis=0)[0]
    assert_allclose(ell, -chosen, rtol=1e-5 if dtype is np.float32 else 1e-13)


# derivatives of the kernels themselves, without the definitions


@pytest.mark.parametrize("g", ACTIVATIONS.values(), ids=lambda g: g.name)
def test_the_backward_kernel_is_the_derivative_of_the_forward_kernel(kernels, g):
    x, h = Numbers(np.float64, seed=3), 1e-6
    W, A_prev = np.eye(5), x(5, 9)
    dA, direction = x(5, 9), x(5, 9)

    def weighted(b):
        Z, A = x.empty(5, 9), x.empty(5, 9)
        kernels.dense_forward(np, W, np.zeros((5, 1)), A_prev + b, g, Z, A)
        return np.sum(dA * A), Z, A

    plus, minus, (_, Z, A) = weighted(h * direction)[0], weighted(-h * direction)[0], weighted(0.0)
    Z = A_prev  # W = I and b = 0, and Z may have been consumed
    dZ, db = x.empty(5, 9), x.empty(5, 1)
    kernels.activation_backward(np, g, dA.copy(), A if g.reads == "A" else Z, dZ, db)
    assert_allclose(np.sum(dZ * direction), (plus - minus) / (2 * h), rtol=1e-7)
    assert_allclose(db[:, 0], dZ.mean(axis=1), rtol=1e-13)


@pytest.mark.parametrize("name", sorted(n for n in OPS if "cross_entropy" in n or n == "squared_error"))
def test_dZ_of_a_loss_kernel_is_the_derivative_of_its_losses(kernels, name):
    xp, x, h = Backend("kernels", np, kernels), Numbers(np.float64, seed=3), 1e-6
    call, *_ = cases(name, x, 6, 9)
    direction = x(6, 9)

    def total(Z):
        one = copied(call) | {"Z": Z}
        xp[OPS[name]](*one.values())
        return one["losses"].sum(), one["dZ"]

    numeric = (total(call["Z"] + h * direction)[0] - total(call["Z"] - h * direction)[0]) / (2 * h)
    assert_allclose(np.sum(total(call["Z"])[1] * direction), numeric, rtol=1e-8)


# memory


def peak(f, *arguments):
    """Bytes that a call had beyond what it was given."""
    f(*arguments)  # the first call compiles, and fills caches
    tracemalloc.start()
    try:
        f(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_labels_never_cost_an_array_of_all_classes(kernels):
    C, m = 10_000, 512
    x = Numbers(np.float32)
    y, classes = np.arange(m, dtype=np.int32), np.arange(C, dtype=np.int32)[:, None]
    Z, ell, dZ = x(C, m), x.empty(m), x.empty(C, m)
    assert_array_less(peak(kernels.softmax_cross_entropy_labels, np, Z, y, classes, ell, dZ), Z.nbytes / 20)
    # the measure is no formality: the definition does cost one
    assert peak(softmax_cross_entropy_labels, np, Z, y, classes, ell, dZ) > Z.nbytes


@pytest.mark.parametrize("name", ["dense_forward", "activation_backward", "update", "dropout", "weigh"])
def test_what_works_in_place_needs_no_array_of_the_size_of_its_own(kernels, name):
    n, m = 256, 1024  # dropout has a mask, a byte for each number
    for call in cases(name, Numbers(np.float32), n, m):
        if call.get("g") is ACTIVATIONS["softmax"] or call.get("out", call.get("A")) is not call.get("A"):
            continue
        assert peak(getattr(kernels, name), np, *call.values()) < 1.5 * n * m


# a backend looks an op up by its name, and a user's function may have any name


def test_a_users_own_loss_is_not_replaced_by_the_kernel_of_its_name(kernels):
    def squared_error(xp, Z, Y, ell, dZ):
        dZ[...] = 3.0 * (Z - Y)
        ell[...] = 1.5 * xp.sum((Z - Y) * (Z - Y), axis=0)

    x = Numbers(np.float64)
    Z, Y, ell, dZ = x(2, 5), x(2, 5), x.empty(5), x.empty(2, 5)
    Backend("kernels", np, kernels)[squared_error](Z, Y, ell, dZ)
    assert_allclose(dZ, 3.0 * (Z - Y))

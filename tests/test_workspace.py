import numpy as np
import pytest
from numpy.testing import assert_array_equal

import deepxp as dx
from deepxp.footprint import memory_need

RUNNING = (2, 3, 5, 4, 2, 1)


def owner(array):
    """The array whose memory this one views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def owners(*arrays):
    """The distinct pieces of memory behind some arrays, and nested tuples of them."""
    found = {}
    for array in arrays:
        if isinstance(array, tuple | list):
            found |= owners(*array)
        elif array is not None:
            found[id(owner(array))] = owner(array)
    return found


def memory_of(work):
    return owners(work.X, work.Y, work.w, work.losses, work.A, work.Z, work.H, work.kept, work.dA, work.dZ, work.bits)


def network(sizes=RUNNING, *, hidden="tanh", loss="sigmoid-cross-entropy", **options):
    return dx.Network(sizes, hidden, loss, backend="cpu", **options)


# shapes


def test_shapes_are_those_of_the_equations():
    net = network(dropout=0.5)
    work = net.memory(7, labels=False).workspace(7)
    for l in range(1, 6):
        for quantity in (work.Z, work.A, work.H, work.kept, work.dA, work.dZ):
            assert quantity[l].shape == (RUNNING[l], 7)
            assert quantity[l].flags.c_contiguous
    assert work.X.shape == (7, 2) and work.A[0].shape == (2, 7)
    assert np.shares_memory(work.X, work.A[0])
    assert work.H[0] is work.A[0]
    assert (work.Y.shape, work.w.shape, work.losses.shape) == ((7, 1), (7,), (7,))
    assert work.bits[0] is None and work.bits[5] is None
    assert [bits.shape for bits in work.bits[1:5]] == [(n, 7) for n in RUNNING[1:5]]
    assert {bits.dtype for bits in work.bits[1:5]} == {np.dtype(np.uint16)}


def test_labels_are_one_int32_a_sample():
    net = network((4, 3), loss="softmax-cross-entropy")
    work = net.memory(7, labels=True).workspace(7)
    assert (work.Y.shape, work.Y.dtype) == ((7,), np.int32)


# what shares memory, and what must not


def test_an_activation_is_written_over_z_where_its_derivative_reads_a():
    work = network(hidden="tanh").memory(7, labels=False).workspace(7)
    for l in range(1, 6):
        assert work.Z[l] is work.A[l] is work.kept[l] is work.H[l]


def test_z_is_kept_where_the_derivative_reads_z():
    work = network(hidden="silu").memory(7, labels=False).workspace(7)
    for l in range(1, 5):
        assert not np.shares_memory(work.Z[l], work.A[l])
        assert work.kept[l] is work.Z[l]
    assert work.Z[5] is work.A[5]


def test_dropout_keeps_what_it_reads():
    work = network(dropout=(0.5, 0.0, 0.5, 0.0)).memory(7, labels=False).workspace(7)
    for l, dropped in ((1, True), (2, False), (3, True), (4, False)):
        assert (work.H[l] is work.A[l]) != dropped
        assert np.shares_memory(work.H[l], work.A[l]) != dropped
        assert (work.bits[l] is None) != dropped


def test_the_layers_take_turns_with_two_gradients():
    work = network().memory(7, labels=False).workspace(7)
    for l in range(1, 6):
        assert work.dZ[l] is work.dA[l]
    for l in range(2, 6):
        assert not np.shares_memory(work.dA[l], work.dA[l - 1])
    assert len(owners(work.dA)) == 2


def test_without_sharing_every_quantity_has_memory_of_its_own():
    net = network(hidden="silu", dropout=0.5)
    work = net.memory(7, labels=False, shared=False).workspace(7)
    quantities = [array for each in (work.Z, work.A, work.H, work.dA, work.dZ) for array in each[1:]]
    distinct = owners(quantities)
    assert len(distinct) == len(quantities) - 1  # H[L] is A[L]: the output is not dropped


# one memory, any number of samples


def test_a_smaller_batch_views_the_same_memory():
    memory = network(dropout=0.5).memory(9, labels=False)
    large, small, one = memory.workspace(9), memory.workspace(4), memory.workspace(1)
    assert memory_of(large).keys() == memory_of(small).keys() == memory_of(one).keys()
    assert small.A[3].shape == (4, 4) and one.A[3].shape == (4, 1)
    assert small.A[3].flags.c_contiguous and one.X.flags.c_contiguous


def test_a_step_keeps_its_arrays():
    net = network()
    step = dx.TrainingStep(net, dx.Adam(), 9)
    X, y = np.ones((2, 9)), np.ones(9)
    step(X, y)
    work = step.workspace(9, labels=False)
    step(X[:, :5], y[:5])
    step(X, y)
    assert step.workspace(9, labels=False) is work
    assert step.workspace(5, labels=False) is step.workspace(5, labels=False)
    assert memory_of(step.workspace(5, labels=False)).keys() == memory_of(work).keys()


def test_more_samples_than_the_memory_holds():
    step = dx.TrainingStep(network(), dx.Adam(), 9)
    with pytest.raises(dx.ShapeError, match="at most 9 samples, got 10"):
        step(np.ones((2, 10)), np.ones(10))


def test_the_memory_of_one_sample_and_of_no_hidden_layer():
    work = network((3, 2)).memory(1, labels=False).workspace(1)
    assert work.A[1].shape == (2, 1) and work.A[0].shape == (3, 1)
    work.dA[1][...] = 7.0
    assert_array_equal(work.dZ[1], 7.0)


# how much it is

NETS = {
    "running": {},
    "logistic": {"sizes": (5, 1)},
    "reads Z": {"hidden": "gelu"},
    "one of each": {"hidden": ("relu", "silu", "tanh", "gelu")},
    "dropout": {"dropout": 0.5},
    "dropout in places": {"dropout": (0.5, 0, 0.25, 0), "hidden": "silu"},
    "double": {"dtype": "float64", "dropout": 0.5},
    "wide in the middle": {"sizes": (3, 40, 2, 30, 1)},
    "numbers": {"sizes": (3, 8, 4), "loss": "squared-error"},
}


@pytest.mark.parametrize("optimizer", [dx.SGD(), dx.Momentum(), dx.Adam()])
@pytest.mark.parametrize("name", NETS)
def test_the_need_is_what_is_allocated(name, optimizer):
    net = network(**NETS[name])
    step = dx.TrainingStep(net, optimizer, 11)
    work = step.workspace(11, labels=False)
    vectors = owners(net.theta, step.gradient.g, step.state)
    assert len(vectors) == 2 + optimizer.states
    allocated = sum(array.nbytes for array in (vectors | memory_of(work)).values())
    copies = 2 + optimizer.states  # the weights to go back to, and what the epoch began with, to find a bad step
    assert memory_need(net, optimizer, 11) == allocated + copies * net.theta.nbytes


def test_labels_need_less_than_columns():
    net = network((5, 8, 10), loss="softmax-cross-entropy")
    step = dx.TrainingStep(net, dx.SGD(), 11)
    work = step.workspace(11, labels=True)
    allocated = sum(array.nbytes for array in (owners(net.theta, step.gradient.g) | memory_of(work)).values())
    assert memory_need(net, dx.SGD(), 11) - 2 * net.theta.nbytes - allocated == 11 * (10 - 1) * 4

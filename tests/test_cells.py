"""Memory that can be written, over arrays that cannot: every statement is that of a NumPy view, made by a Cell."""

import operator

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepxp.interop.cells import Cell, held, reading


class Frozen(np.ndarray):
    """A NumPy array that cannot be written, and whose `x.at[key].set(y)` is another one, as JAX's arrays have it."""

    @property
    def at(self):
        return _At(self)


class _At:
    def __init__(self, x, key=None):
        self.x, self.key = x, key

    def __getitem__(self, key):
        return _At(self.x, key)

    def set(self, y):
        changed = np.array(self.x)
        changed[self.key] = y
        return frozen(changed)


def frozen(x):
    x = np.array(x).view(Frozen)
    x.flags.writeable = False
    return x


def pair(shape=(12,), dtype=np.float32):
    """A Cell and an array of the same numbers."""
    numbers = np.arange(1, np.prod(shape) + 1, dtype=dtype).reshape(shape)
    return Cell(np, frozen(numbers)), numbers


VIEWS = {
    "all of it": lambda x: x,
    "a part": lambda x: x[2:8],
    "a reshape": lambda x: x.reshape((3, 4)),
    "a transpose": lambda x: x.reshape((3, 4)).T,
    "a reshape of a part": lambda x: x[3:9].reshape((2, 3)),
    "a part of a reshape of a part": lambda x: x[2:10].reshape((4, 2))[1:3, :],
    "a column of a transpose": lambda x: x.reshape((3, 4)).T[:, 1],
    "a number": lambda x: x.reshape((3, 4))[1, 2],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_reads_what_is_written_into_the_whole(view):
    cell, array = pair()
    there, here = view(cell), view(array)
    assert (there.shape, there.dtype) == (np.shape(here), here.dtype)
    cell[...] = array[...] = np.arange(12.0)[::-1]
    assert_array_equal(there.value, view(array))


@pytest.mark.parametrize("view", [v for name, v in VIEWS.items() if name != "a number"], ids=list(VIEWS)[:-1])
def test_what_is_written_into_a_view_stands_in_the_whole(view):
    cell, array = pair()
    here = view(array)
    numbers = 10.0 * np.arange(here.size).reshape(here.shape)
    view(cell)[...] = numbers
    here[...] = numbers
    assert_array_equal(cell.value, array)


def test_two_views_of_one_memory_see_each_other():
    cell, _ = pair()
    W, weights = cell[0:6].reshape((2, 3)), cell[0:8]
    W[...] = -1.0
    assert_array_equal(weights.value, [-1, -1, -1, -1, -1, -1, 7, 8])
    assert W.root is weights.root is cell.root is cell


def test_what_is_written_takes_the_shape_and_precision_of_the_memory():
    cell, array = pair((3, 4))
    cell[...] = array[...] = np.arange(4, dtype=np.float64)
    assert_array_equal(cell.value, array)
    assert (cell.value.dtype, cell.value.shape) == (np.float32, (3, 4))
    cell[:] = 7
    assert_array_equal(cell.value, np.full((3, 4), 7.0))
    cell, array = pair((3, 4))
    cell[1:, 0] = array[1:, 0] = [-1.0, -2.0]
    assert_array_equal(cell.value, array)


def test_an_array_once_read_does_not_change():
    cell, array = pair()
    before = cell.value
    cell[2:4] = 0.0
    assert_array_equal(before, array)


NAMES = ("add", "sub", "mul", "truediv", "pow", "lt", "le", "eq", "ne", "ge", "gt")


@pytest.mark.parametrize("name", NAMES)
def test_an_operator_is_that_of_the_array(name):
    function, (cell, array) = getattr(operator, name), pair((3, 4))
    other = np.full((3, 4), 2.5, np.float32)
    for a, b, x, y in ((cell, other, array, other), (other, cell, other, array), (cell, 3.0, array, 3.0)):
        found, expected = function(a, b), function(x, y)
        assert not isinstance(found, Cell)
        assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert_array_equal(function(cell, cell), function(array, array))


def test_a_product_of_matrices():
    (W, w), (A, a) = pair((2, 3)), pair((3, 4))
    assert_array_equal(W @ A, w @ a)
    assert_array_equal(w @ A, w @ a)
    assert_array_equal(W @ a, w @ a)
    assert_array_equal(A.T @ W.T, a.T @ w.T)


def test_bits():
    cell, array = pair((12,), np.int64)
    for name in ("and_", "or_", "xor", "lshift", "rshift"):
        assert_array_equal(getattr(operator, name)(cell, 3), getattr(operator, name)(array, 3))
    assert_array_equal(-cell, -array)
    assert_array_equal(abs(-1 * cell), array)


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv"])
def test_in_place_writes_into_the_memory(name):
    cell, array = pair()
    there, here = cell[2:8], array[2:8]
    assert getattr(operator, name)(there, 2.0) is there
    getattr(operator, name)(here, np.float32(2.0))
    assert_array_equal(cell.value, array)


def test_it_is_a_number_where_the_array_is_one():
    cell = Cell(np, frozen(2.5))
    assert (float(cell), int(cell), bool(cell)) == (2.5, 2, True)
    assert [float(x) for x in pair((3,))[0]] == [1.0, 2.0, 3.0]
    assert len(pair((3, 2))[0]) == 3


def test_other_libraries_take_it_for_the_array():
    cell, array = pair((3, 4))
    assert_array_equal(np.asarray(cell), array)
    assert np.array(cell, dtype=np.float64, copy=True).dtype == np.float64
    assert cell.__dlpack_device__() == array.__dlpack_device__()
    assert (cell.ndim, cell.size, cell.nbytes) == (2, 12, 48)
    assert_array_equal(cell.argmax(axis=0), array.argmax(axis=0))
    with pytest.raises(AttributeError):
        _ = cell.nothing_of_that_name
    with pytest.raises(TypeError, match="unhashable"):
        hash(cell)


def test_a_namespace_reads_cells():
    xp, (cell, array) = reading(np), pair((3, 4))
    assert_array_equal(xp.maximum(cell, 5.0), np.maximum(array, 5.0))
    assert_array_equal(xp.where(cell > 5.0, cell, 0.0), np.where(array > 5.0, array, 0.0))
    assert_array_equal(xp.sum(cell, axis=0, keepdims=True), array.sum(axis=0, keepdims=True))
    assert_array_equal(xp.stack([cell, array]), np.stack([array, array]))
    assert xp.float32 is np.float32
    assert xp.__name__ == "numpy"
    assert reading(np) is xp
    assert cell.__array_namespace__() is xp
    with pytest.raises(AttributeError):
        _ = xp.nothing_of_that_name


def test_a_reshape_of_memory_is_memory_and_that_of_an_array_is_not():
    xp, (cell, array) = reading(np), pair()
    view = xp.reshape(cell, (3, 4))
    view[...] = 1.0
    assert_array_equal(cell.value, np.ones(12))
    assert not isinstance(xp.reshape(array, (3, 4)), Cell)


def test_what_is_held():
    (cell, array), other = pair(), object()
    assert_array_equal(held(cell), array)
    assert held(other) is other
    assert [type(x) for x in held([cell, (cell, 1)])] == [Frozen, tuple]

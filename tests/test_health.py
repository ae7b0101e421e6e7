import numpy as np
import pytest

import deepxp as dx
from deepxp.health import diagnose, quantities


def state(hidden="relu", **options):
    """A network, its workspace and its gradient, all of them zeros."""
    net = dx.Network((2, 3, 4, 2), hidden, backend="cpu", dtype="float64", **options)
    work, gradient = net.memory(5, labels=True).workspace(5), net.gradient()
    for _, array in quantities(net, work, gradient):
        array[...] = 0.0
    return net, work, gradient


IN_A = ["the input A[0]", "A[1]", "A[2]", "Z[3]", "the loss"]
BACK = ["dW[3]", "db[3]", "dW[2]", "db[2]", "dW[1]", "db[1]"]
UPDATED = [f"the updated {name}[{l}]" for l in (1, 2, 3) for name in "Wb"]


def test_the_order_is_that_of_the_computation():
    assert [name for name, _ in quantities(*state())] == IN_A + BACK + UPDATED


def test_z_has_a_name_of_its_own_where_it_is_kept():
    names = [name for name, _ in quantities(*state("silu"))]
    assert names[:6] == ["the input A[0]", "Z[1]", "A[1]", "Z[2]", "A[2]", "Z[3]"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", range(len(IN_A + BACK + UPDATED)))
def test_the_first_bad_quantity_is_named_whatever_comes_after(k, value):
    net, work, gradient = state()
    for _, array in list(quantities(net, work, gradient))[k:]:
        array.flat[-1] = value
    error = diagnose(net, work, gradient, epoch=3, step=7)
    assert isinstance(error, dx.NonFiniteError)
    name, array = list(quantities(net, work, gradient))[k]
    assert f"met {value} at step 7 of epoch 3: the first bad values are in {name}, 1 of {array.size};" in str(error)
    assert "weights from before this epoch" in str(error)


def test_bad_input_asks_for_other_data_and_anything_else_for_another_rate():
    net, work, gradient = state()
    work.A[2][0, 0] = np.inf
    assert "lower the learning rate" in str(diagnose(net, work, gradient, 1, 1))
    work.A[0][0, 0] = np.inf
    assert "remove or replace those values" in str(diagnose(net, work, gradient, 1, 1))
    assert "lower the learning rate" not in str(diagnose(net, work, gradient, 1, 1))


def test_a_sum_that_overflowed():
    assert "every layer's values are finite" in str(diagnose(*state(), epoch=1, step=1))

import numpy as np
from numpy.testing import assert_array_equal

from deepxp.parameters import Gradient, Parameters, count_parameters, count_weights

RUNNING = (2, 3, 5, 4, 2, 1)


def test_counts():
    assert count_weights((2, 3, 1)) == 6 + 3
    assert count_parameters((2, 3, 1)) == 6 + 3 + 3 + 1
    assert count_parameters(RUNNING) == 2 * 3 + 3 * 5 + 5 * 4 + 4 * 2 + 2 * 1 + (3 + 5 + 4 + 2 + 1)


def test_theta_is_all_weights_and_then_all_biases():
    theta = np.arange(13.0)
    parameters = Parameters.of(np, theta, (2, 3, 1))
    assert parameters.W[0] is None and parameters.b[0] is None
    assert_array_equal(parameters.W[1], [[0, 1], [2, 3], [4, 5]])
    assert_array_equal(parameters.W[2], [[6, 7, 8]])
    assert_array_equal(parameters.b[1], [[9], [10], [11]])
    assert_array_equal(parameters.b[2], [[12]])
    assert_array_equal(parameters.weights, np.arange(9.0))
    assert parameters.theta is theta


def test_views_cover_theta_once_and_nothing_else():
    theta = np.zeros(count_parameters(RUNNING))
    parameters = Parameters.of(np, theta, RUNNING)
    for view in (*parameters.W[1:], *parameters.b[1:]):
        assert np.shares_memory(view, theta)
        assert view.flags.c_contiguous
        view += 1.0
    assert_array_equal(theta, 1.0)


def test_shapes_are_those_of_the_equations():
    gradient = Gradient.of(np, np.zeros(count_parameters(RUNNING)), RUNNING)
    for l in range(1, 6):
        assert gradient.dW[l].shape == (RUNNING[l], RUNNING[l - 1])
        assert gradient.db[l].shape == (RUNNING[l], 1)
    assert len(gradient.dW) == len(gradient.db) == 6
    assert gradient.weights.shape == (count_weights(RUNNING),)
    gradient.dW[3][...] = 7.0
    assert gradient.g.sum() == 7.0 * 20


def test_logistic_regression_is_one_layer():
    parameters = Parameters.of(np, np.arange(3.0), (2, 1))
    assert_array_equal(parameters.W[1], [[0.0, 1.0]])
    assert_array_equal(parameters.b[1], [[2.0]])

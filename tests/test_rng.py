import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp import rng
from deepxp.ops.activations import ACTIVATIONS
from deepxp.rng import Purpose


def words(*, purpose=Purpose.DROPOUT, count=8, seed=0, **counters):
    return rng.stream(seed, purpose, **counters).random_raw(count)


# the layout of a stream


def test_the_counter_is_block_layer_step_epoch_and_the_key_is_seed_purpose():
    expected = np.random.Philox(counter=[0, 4, 3, 2], key=[1, Purpose.ORDER])
    assert_array_equal(words(seed=1, purpose=Purpose.ORDER, epoch=2, step=3, layer=4), expected.random_raw(8))


def philox(counter, key):
    """Philox4x64-10 (Salmon et al. 2011) in whole numbers: the four words of one block."""
    x, k, mask = list(counter), list(key), 2**64 - 1
    for _ in range(10):
        one, other = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [other >> 64 ^ x[1] ^ k[0], other & mask, one >> 64 ^ x[3] ^ k[1], one & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return x


def test_block_i_is_the_function_of_counter_i_plus_1():
    """So that a device can compute any word by itself."""
    found = words(seed=2**64 - 1, epoch=5, step=2**40, layer=3, count=12)
    expected = [philox((1 + i, 3, 2**40, 5), (2**64 - 1, Purpose.DROPOUT)) for i in range(3)]
    assert found.tolist() == [word for block in expected for word in block]


def test_the_published_vector_of_philox():
    """Random123, kat_vectors: philox4x64 10 of zeros."""
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox((0, 0, 0, 0), (0, 0)) == expected


def test_streams_never_share_a_word():
    counters = [
        {"seed": seed, "purpose": purpose, "epoch": epoch, "step": step, "layer": layer}
        for seed in (0, 1)
        for purpose in Purpose
        for epoch in (0, 1, 2)
        for step in (0, 1, 2)
        for layer in (0, 1, 2)
    ]
    seen = [word for each in counters for word in words(**each, count=16).tolist()]
    assert len(set(seen)) == len(seen) == 270 * 16


def test_a_stream_is_long():
    """Its block counter is a word of its own: no stream runs into the next layer's."""
    one = rng.stream(0, Purpose.DROPOUT, layer=1)
    one.advance(2**64 - 2)
    assert one.state["state"]["counter"].tolist() == [2**64 - 2, 1, 0, 0]


# functions of the counters alone

CALLS = {
    "normal": lambda: rng.normal(3, 2, (4, 5)),
    "order": lambda: rng.order(3, 7, 50),
    "split": lambda: rng.split(3, 50),
    "direction": lambda: rng.direction(3, 1, 20),
    "dropout": lambda: rng.dropout_bits(3, 1, 4, 2, (6, 7)),
}


@pytest.mark.parametrize("name", CALLS)
def test_equal_counters_give_equal_numbers_in_any_order_of_calls(name):
    first = CALLS[name]()
    for other in CALLS.values():
        other()
    np.random.default_rng(0).standard_normal(3)
    assert_array_equal(CALLS[name](), first)


def test_every_counter_counts():
    base = rng.dropout_bits(3, 1, 4, 2, (6, 7))
    for seed, epoch, step, layer in ((4, 1, 4, 2), (3, 2, 4, 2), (3, 1, 5, 2), (3, 1, 4, 3)):
        assert not np.array_equal(rng.dropout_bits(seed, epoch, step, layer, (6, 7)), base)
    assert not np.array_equal(rng.normal(3, 1, (4, 5)), rng.normal(3, 2, (4, 5)))
    assert not np.array_equal(rng.order(3, 0, 50), rng.order(3, 1, 50))


def test_an_order_is_a_permutation():
    for samples in (1, 2, 97):
        assert_array_equal(np.sort(rng.order(0, 5, samples)), np.arange(samples))
        assert_array_equal(np.sort(rng.split(0, samples)), np.arange(samples))


def test_a_direction_has_length_one():
    assert_allclose(np.linalg.norm(rng.direction(0, 0, 1000)), 1.0)


# dropout


def test_a_word_gives_four_numbers_the_lowest_first():
    (word,) = words(count=1, seed=9, epoch=1, step=2, layer=3).tolist()
    expected = [word >> 16 * i & 0xFFFF for i in range(4)]
    assert rng.dropout_bits(9, 1, 2, 3, (2, 2)).tolist() == [expected[:2], expected[2:]]


def test_shapes_that_are_no_multiple_of_a_word():
    whole = rng.dropout_bits(0, 0, 0, 1, (4, 4)).reshape(-1)
    for size in (1, 3, 5, 7, 15):
        assert_array_equal(rng.dropout_bits(0, 0, 0, 1, (size,)), whole[:size])
        assert rng.dropout_bits(0, 0, 0, 1, (size,)).dtype == np.uint16


def test_the_bits_are_uniform():
    bits = rng.dropout_bits(0, 0, 0, 1, (512, 512))
    counts = np.bincount(bits.reshape(-1) >> 8, minlength=256)
    chi2 = ((counts - 1024) ** 2 / 1024).sum()
    assert abs(chi2 - 255) < 6 * np.sqrt(2 * 255)
    for keep in (6554, 32768, 58982):
        p = keep / 65536
        assert_allclose((bits < keep).mean(), p, atol=5 * np.sqrt(p * (1 - p) / bits.size))


# the initial weights


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"])
def test_initial_weights_have_variance_gain_over_n(name):
    net = dx.Network((300, 400, 10), hidden=name, backend="cpu", seed=1, dtype="float64")
    gain = ACTIVATIONS[name].gain
    assert gain == (2.0 if name in {"relu", "leaky_relu", "elu", "gelu", "silu"} else 1.0)
    for l, expected in ((1, gain / 300), (2, 1.0 / 400)):
        W = net.W[l]
        assert_allclose(W.var(), expected, rtol=6 * np.sqrt(2 / W.size))
        assert_allclose(W.mean(), 0.0, atol=5 * np.sqrt(expected / W.size))
        assert_array_equal(net.b[l], 0.0)


def test_weights_depend_on_seed_and_layer_only():
    one = dx.Network((8, 8, 8, 3), backend="cpu", seed=5, dtype="float64")
    same = dx.Network((8, 8, 8, 3), backend="cpu", seed=5, dtype="float64", hidden="elu", dropout=0.5)
    assert_array_equal(one.theta, same.theta)
    assert not np.array_equal(one.W[1], one.W[2])
    assert not np.array_equal(one.theta, dx.Network((8, 8, 8, 3), backend="cpu", seed=6, dtype="float64").theta)


def test_both_precisions_start_from_the_same_numbers():
    double = dx.Network((8, 16, 3), backend="cpu", seed=5, dtype="float64")
    single = dx.Network((8, 16, 3), backend="cpu", seed=5, dtype="float32")
    assert single.theta.dtype == np.float32
    assert_array_equal(single.theta, double.theta.astype(np.float32))


# one seed, one run


def data(m=37):
    table = np.random.default_rng(0).standard_normal((m, 6))
    return table.T, (table[:, 0] * table[:, 1] > 0).astype(int) + (table[:, 2] > 1)


def trained(*, dtype="float32", dropout=0.3, seed=4, epochs=3, optimizer=None, **options):
    net = dx.Network((6, 16, 8, 3), backend="cpu", seed=seed, dtype=dtype, dropout=dropout)
    X, y = data()
    dx.train(net, X, y, epochs=epochs, batch_size=10, optimizer=optimizer or dx.Adam(lr=0.01), **options)
    return net


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_run_twice_gives_the_same_bits(dropout):
    first = trained(dropout=dropout)
    np.random.default_rng().standard_normal(5)
    assert trained(dropout=dropout).theta.tobytes() == first.theta.tobytes()
    assert trained(dropout=dropout, seed=5).theta.tobytes() != first.theta.tobytes()


def test_two_precisions_make_the_same_run_but_for_rounding():
    single, double = trained(dtype="float32"), trained(dtype="float64")
    assert_allclose(single.theta, double.theta, rtol=0, atol=2e-4)
    assert not np.allclose(trained(seed=5).theta, double.theta, rtol=0, atol=2e-2)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_calls_continue_where_one_would_have_been(dropout):
    """The counters go on: order and masks of epoch e do not depend on where a run was cut. SGD has no other state."""
    whole = trained(dropout=dropout, epochs=4, optimizer=dx.SGD(lr=0.1))
    cut = dx.Network((6, 16, 8, 3), backend="cpu", seed=4, dropout=dropout)
    X, y = data()
    for epochs in (1, 3):
        dx.train(cut, X, y, epochs=epochs, batch_size=10, optimizer=dx.SGD(lr=0.1))
    assert cut.epochs == whole.epochs == 4
    assert cut.theta.tobytes() == whole.theta.tobytes()


def test_without_shuffling_the_order_is_that_of_the_table():
    net = dx.Network((6, 3), backend="cpu", seed=4)
    by_hand = dx.Network((6, 3), backend="cpu", seed=4)
    X, y = data()
    dx.train(net, X, y, epochs=1, batch_size=10, optimizer=dx.SGD(), shuffle=False)
    step = dx.TrainingStep(by_hand, dx.SGD(), 10)
    for start in range(0, 37, 10):
        step(X[:, start : start + 10], y[start : start + 10])
    assert_array_equal(net.theta, by_hand.theta)
    assert trained(shuffle=False).theta.tobytes() != trained().theta.tobytes()


def test_an_epoch_takes_the_samples_in_the_order_of_its_stream():
    net = dx.Network((6, 3), backend="cpu", seed=4)
    by_hand = dx.Network((6, 3), backend="cpu", seed=4)
    X, y = data()
    dx.train(net, X, y, epochs=2, batch_size=10, optimizer=dx.SGD())
    step = dx.TrainingStep(by_hand, dx.SGD(), 10)
    for epoch in range(2):
        order = rng.order(4, epoch, 37)
        for start in range(0, 37, 10):
            rows = order[start : start + 10]
            step(X[:, rows], y[rows])
    assert_array_equal(net.theta, by_hand.theta)


def test_masks_of_a_step_are_those_of_its_counters():
    net = dx.Network((6, 16, 8, 3), backend="cpu", seed=4, dropout=(0.5, 0.25))
    X, y = data()
    step = dx.TrainingStep(net, dx.SGD(), 37)
    for i in range(3):
        step(X, y)
        work = step.workspace(37, labels=True)
        for l, n in ((1, 16), (2, 8)):
            assert_array_equal(work.bits[l], rng.dropout_bits(4, 0, i, l, (n, 37)))
    assert net.keep == (0, 32768, 49152, 0)

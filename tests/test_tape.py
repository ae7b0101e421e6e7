"""The tape makes the same calls on the same numbers as the definition: bit for bit, whatever it does with its memory."""

import functools
import operator

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from numpy.testing import assert_array_equal

from deepxp.kernels import tape
from deepxp.kernels.tape import BLOCK, Program
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.updates import adam, adamw, momentum, nesterov, rmsprop, sgd

UNARY = {
    "negative": lambda xp, x: -x,
    "abs": lambda xp, x: xp.abs(x),
    "tanh": lambda xp, x: xp.tanh(x),
    "exp": lambda xp, x: xp.exp(xp.minimum(x, 10.0)),
    "expm1": lambda xp, x: xp.expm1(xp.minimum(x, 0.0)),
    "log1p": lambda xp, x: xp.log1p(xp.abs(x)),
    "sqrt": lambda xp, x: xp.sqrt(xp.abs(x)),
    "sign": lambda xp, x: xp.sign(x),
    "1 - x": lambda xp, x: 1.0 - x,
    "0.3 x": lambda xp, x: 0.3 * x,
    "x / 3": lambda xp, x: x / 3.0,
    "2 / x": lambda xp, x: 2.0 / x,
}
BINARY = {
    "+": lambda xp, a, b: a + b,
    "-": lambda xp, a, b: a - b,
    "*": lambda xp, a, b: a * b,
    "/": lambda xp, a, b: a / b,
    "maximum": lambda xp, a, b: xp.maximum(a, b),
    "minimum": lambda xp, a, b: xp.minimum(a, b),
}
COMPARISONS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "> 0": lambda a, b: a > 0.0,
    "0 >": lambda a, b: 0.0 > a,
}
SELECTS = {
    "where(c, a, b)": lambda xp, c, a, b: xp.where(c, a, b),
    "where(c, a, 0)": lambda xp, c, a, b: xp.where(c, a, 0.0),
    "where(c, 1, b)": lambda xp, c, a, b: xp.where(c, 1.0, b),
}


def definition(lines, results):
    """The definition that a list of lines describes: each names a function and the earlier values it reads.

    Arrays, rates and conditions are numbered apart; a number counts from the newest value, so that both long-lived
    values and ones that die at once occur.
    """

    def run(xp, *arguments):
        arrays, conditions, rates = list(arguments[:ARRAYS]), [arguments[0] > arguments[1]], list(arguments[ARRAYS:])
        pick = lambda values, i: values[-1 - i % len(values)]  # noqa: E731
        for kind, name, i, j, k in lines:
            a, b, c = pick(arrays, i), pick(arrays, j), pick(conditions, k)
            if kind == "unary":
                arrays.append(UNARY[name](xp, a))
            elif kind == "binary":
                arrays.append(BINARY[name](xp, a, b))
            elif kind == "rate":
                arrays.append(BINARY[name](xp, *((a, pick(rates, j)) if k % 2 else (pick(rates, j), a))))
            elif kind == "rates":
                rates.append(BINARY[name](xp, pick(rates, i), pick(rates, j)))
            elif kind == "compare":
                conditions.append(COMPARISONS[name](a, b))
            else:
                arrays.append(SELECTS[name](xp, c, a, b))
        return tuple(arrays[i % len(arrays)] if i >= 0 else pick(arrays, -1 - i) for i in results)

    return run


ARRAYS, RATES = 3, 2
place = st.integers(0, 12)
lines = st.lists(
    st.one_of(
        st.tuples(st.just("unary"), st.sampled_from(sorted(UNARY)), place, place, place),
        st.tuples(st.just("binary"), st.sampled_from(sorted(BINARY)), place, place, place),
        st.tuples(st.just("rate"), st.sampled_from(["+", "-", "*", "/"]), place, place, place),
        st.tuples(st.just("rates"), st.sampled_from(["+", "-", "*"]), place, place, place),
        st.tuples(st.just("compare"), st.sampled_from(sorted(COMPARISONS)), place, place, place),
        st.tuples(st.just("select"), st.sampled_from(sorted(SELECTS)), place, place, place),
    ),
    max_size=14,
)
selections = st.lists(
    st.one_of(
        st.tuples(st.just("compare"), st.sampled_from(sorted(COMPARISONS)), place, place, st.just(0)),
        st.tuples(st.just("select"), st.sampled_from(sorted(SELECTS)), place, place, st.integers(0, 1)),
        st.tuples(st.just("select"), st.just("where(c, a, b)"), place, place, st.integers(0, 1)),
        st.tuples(st.just("binary"), st.sampled_from(sorted(BINARY)), place, place, place),
    ),
    min_size=2,
    max_size=8,
)
results = st.lists(st.integers(-8, 16), min_size=1, max_size=ARRAYS)


def numbers(size, dtype, seed=0):
    """ARRAYS vectors with equal entries, zeros of both signs, NaN and infinities among them."""
    rng = np.random.default_rng(seed)
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0])
    vectors = []
    for _ in range(ARRAYS):
        x = rng.normal(size=size)
        at = rng.random(size) < 0.2
        x[at] = rng.choice(special, size=int(at.sum()))
        vectors.append(x.astype(dtype))
    return vectors


def assert_same_bits(got, expected):
    assert got.dtype == expected.dtype
    assert_array_equal(got, expected)
    known = ~np.isnan(expected)
    assert_array_equal(np.signbit(got[known]), np.signbit(expected[known]))


def check(run, consumes, in_place, size, dtype, rates=(0.25, 3.0)):
    """Run the program of a definition with the results marked in `in_place` written over what they consume."""
    arrays = numbers(size, dtype)
    expected = [np.broadcast_to(x, size).copy() for x in run(np, *(x.copy() for x in arrays), *rates)]
    outs = [arrays[a] if here else np.full(size, 77, dtype) for a, here in zip(consumes, in_place, strict=True)]
    untouched = {i: x.copy() for i, x in enumerate(arrays) if not any(out is x for out in outs)}
    Program(run, len(arrays), len(rates), consumes)(arrays, outs, rates)
    for got, wanted in zip(outs, expected, strict=True):
        assert_same_bits(got, wanted)
    for i, before in untouched.items():
        assert_array_equal(arrays[i], before)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 numbers, so that short vectors have several and an odd rest."""
    monkeypatch.setattr(tape, "BLOCK", 8)
    monkeypatch.setattr(tape, "_scratch", tape.Scratch())


silently = np.errstate(all="ignore")
thorough = settings(derandomize=True, deadline=None, max_examples=1500, database=None)


@silently
@thorough
@given(lines, results, st.permutations(range(ARRAYS)), st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_a_program_is_bit_identical_to_its_definition(lines, results, consumes, in_place, single):
    consumes = tuple(consumes[: len(results)])
    check(definition(lines, results), consumes, in_place[: len(results)], 19, np.float32 if single else np.float64)


@silently
@thorough
@given(selections, results, st.permutations(range(ARRAYS)), st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_program_of_selections_is_bit_identical_to_its_definition(lines, results, consumes, in_place):
    check(definition(lines, results), tuple(consumes[: len(results)]), in_place[: len(results)], 19, np.float32)

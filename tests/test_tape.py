"""The tape makes the same calls on the same numbers as the definition: bit for bit, whatever memory it reuses."""

import operator

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
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
    "0 >": lambda a, b: 0.0 > a,  # noqa: SIM300 - the operand on the right is the point
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
    expected = [x.copy() for x in run(np, *(x.copy() for x in arrays), *rates)]
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
thorough = settings(derandomize=True, deadline=None, max_examples=500, database=None)  # 20 000 were tried, once


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


def late(tape):
    """A value is taken for dead a call before its last use."""
    return {x: i - 1 for x, i in correct_last_read(tape).items()}


def made_first(tape):
    """Every result is computed at once: nothing later reads what it overwrites."""
    return {value: len(tape.calls) for value in correct_made_at(tape)}


correct_last_read, correct_made_at = tape.Tape.last_read, tape.Tape.made_at


@silently
@pytest.mark.parametrize(("part", "wrong"), [("last_read", late), ("made_at", made_first)])
def test_a_wrong_register_allocation_is_found(monkeypatch, part, wrong):
    monkeypatch.setattr(tape.Tape, part, wrong)

    def differs(case):
        lines, results, consumes = case
        try:
            check(definition(lines, results), tuple(consumes[: len(results)]), [True] * len(results), 19, np.float64)
        except (AssertionError, KeyError):
            return True
        return False

    find(
        st.tuples(lines, results, st.permutations(range(ARRAYS))),
        differs,
        settings=settings(thorough, phases=[Phase.generate]),
    )  # else NoSuchExample


SWAPS = {
    "two results that change places": (lambda xp, a, b, c: (b, a), (0, 1)),
    "a cycle of three": (lambda xp, a, b, c: (b, c, a), (0, 1, 2)),
    "a result, and the argument it is written over": (lambda xp, a, b, c: (0.3 * a, a), (0, 1)),
    "the same value twice": (lambda xp, a, b, c: (a * b, a * b), (1, 0)),
    "one value in two places": (lambda xp, a, b, c: (lambda y: (y, y))(a * b), (1, 0)),
    "a condition read after a selection into its first branch": (
        lambda xp, a, b, c: (lambda yes: (xp.where(yes, a, b), xp.where(yes, b, 1.0)))(a > 0.0),
        (0, 2),
    ),
    "a condition read by three selections": (
        lambda xp, a, b, c: (lambda yes: (xp.where(yes, a, b), xp.where(yes, b, c), xp.where(yes, c, a)))(a > b),
        (0, 1, 2),
    ),
    "a result read after what it overwrites": (lambda xp, a, b, c: (lambda y: (y, y + b, c - y))(a - b), (0, 1, 2)),
    "nothing to do": (lambda xp, a, b, c: (a, b, c), (0, 1, 2)),
}


@silently
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name", SWAPS)
def test_results_may_take_the_memory_of_arguments_in_any_order(name, in_place):
    run, consumes = SWAPS[name]
    check(run, consumes, [in_place] * len(consumes), 19, np.float64, rates=())


@silently
@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 17, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_meet_without_a_gap(small_blocks, size, dtype):
    run = lambda xp, a, b, c, r, s: (xp.where(a > b, r * c, a - s), xp.tanh(a) * b, c / (xp.abs(a) + s))  # noqa: E731
    check(run, (2, 0, 1), [True, True, False], size, dtype)


@silently
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.elementwise], ids=lambda g: g.name)
def test_every_activation_is_bit_identical_at_the_edges_of_a_block(g, dtype, size):
    check(lambda xp, Z, dA, A: (g.forward(xp, Z),), (0,), [True], size, dtype, rates=())
    check(lambda xp, Z, dA, A: (g.backward(xp, dA, A),), (1,), [True], size, dtype, rates=())
    check(lambda xp, Z, dA, A: (g.backward(xp, dA, A),), (1,), [False], size, dtype, rates=())


RULES = {sgd: 1, momentum: 2, nesterov: 2, rmsprop: 3, adam: 5, adamw: 6}


@silently
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_update_rule_is_bit_identical(rule, dtype):
    states = rule.__code__.co_varnames.index("rate") - 3
    rng = np.random.default_rng(3)
    arrays = [rng.random(BLOCK + 1).astype(dtype) for _ in range(2 + states)]
    rates = (0.01, 0.9, 0.999, 1e-8, 1.3, 0.05)[: RULES[rule]]
    expected = rule(np, *(x.copy() for x in arrays), *rates)
    g = arrays[1].copy()
    places = (0, *range(2, 2 + states))
    Program(rule, 2 + states, len(rates), places)(arrays, [arrays[k] for k in places], rates)
    for k, wanted in zip(places, expected, strict=True):
        assert_same_bits(arrays[k], wanted)
    assert_array_equal(arrays[1], g)


def test_a_program_reads_its_rates_at_every_call():
    once = Program(momentum, 3, 2, (0, 2))
    for rates in ((0.1, 0.9), (0.2, 0.5)):
        theta, g, v = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])
        expected = momentum(np, theta, g, v, *rates)
        once((theta, g, v), (theta, v), rates)
        assert_array_equal(theta, expected[0])
        assert_array_equal(v, expected[1])


def test_threads_do_not_share_scratch_memory():
    from concurrent.futures import ThreadPoolExecutor

    program = Program(ACTIVATIONS["gelu"].backward, 2, 0, (0,))

    def run(seed):
        dA, Z = np.random.default_rng(seed).normal(size=(2, 3 * BLOCK))
        out = np.empty_like(Z)
        program((dA, Z), (out,))
        assert_array_equal(out, ACTIVATIONS["gelu"].backward(np, dA, Z))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(8)))


def test_powers_of_rates_stay_python_numbers():
    """As in the definition: a NumPy scalar among them would have float32 computed in float64."""
    x, out = np.random.default_rng(0).random(1000, dtype=np.float32), np.empty(1000, np.float32)
    run = lambda xp, x, rate: (x * rate**2,)  # noqa: E731
    Program(run, 1, 1, (0,))((x,), (out,), (0.3,))
    assert_same_bits(out, run(np, x, 0.3)[0])


def test_a_condition_may_be_any_question_about_a_number():
    x = np.array([1.0, np.nan, -np.inf, -2.0])
    for definition in (
        lambda xp, Z: xp.where(xp.isnan(Z), 0.0, Z),
        lambda xp, Z: xp.where(xp.isfinite(Z), Z, 1.0),
        lambda xp, Z: xp.where(xp.logical_xor(Z > 0.0, xp.signbit(Z)), Z, 2.0),
    ):
        out = np.empty(4)
        tape.program(definition, 1)((x,), (out,))
        assert_array_equal(out, definition(np, x))

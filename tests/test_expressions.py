"""Definitions write their own CUDA source: what is written, and that nothing is lost on the way."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepxp.errors import ConfigError
from deepxp.kernels import expressions
from deepxp.kernels.expressions import statements, symbols
from deepxp.ops import activations, losses, regularization, updates


def written(definition, *names):
    value = definition(expressions, *symbols(*names))
    return statements(value if isinstance(value, tuple) else (value,))


def test_a_definition_writes_its_statements():
    assert written(activations.sigmoid, "z") == (
        [
            "const T t0 = (T)0.5 * z;",
            "const T t1 = tanh(t0);",
            "const T t2 = (T)1.0 + t1;",
            "const T t3 = (T)0.5 * t2;",
        ],
        ["t3"],
    )
    assert written(activations.relu_backward, "da", "a") == (
        ["const bool t0 = a > (T)0.0;", "const T t1 = t0 ? da : (T)0.0;"],
        ["t1"],
    )


def test_a_definition_may_return_what_it_was_given():
    assert written(activations.identity, "z") == ([], ["z"])
    assert written(updates.sgd, "theta", "g", "rate")[1] == ["t1"]


def test_what_is_computed_once_stands_once():
    def power(xp, x):
        for _ in range(40):
            x = x * x
        return x

    lines, (name,) = written(power, "x")
    assert (len(lines), name) == (40, "t39")
    assert sum("tanh" in line for line in written(activations.gelu_backward, "da", "z")[0]) == 1


def test_constants_keep_every_digit():
    def constants(xp, x):
        return x * 0.1, x * 1e-45, x * 12345678901234567890, x * -2.5, x * True, x * np.float32(0.1)

    lines, _ = written(constants, "x")
    assert [line.split(" * ")[1].rstrip(";") for line in lines] == [
        "(T)0.1",
        "(T)1e-45",
        "(T)1.2345678901234567e+19",
        "((T)-2.5)",
        "(T)1.0",
        "(T)0.10000000149011612",
    ]


def test_the_order_of_operands():
    def ordered(xp, a, b):
        return a - b, 1.0 - a, a / b, 1.0 / a, -a, (a < b) & (a >= 0) | ~(a != b), xp.minimum(a, 2)

    lines, _ = written(ordered, "a", "b")
    assert [line.partition("= ")[2] for line in lines] == [
        "a - b;", "(T)1.0 - a;", "a / b;", "(T)1.0 / a;", "-a;",
        "a < b;", "a >= (T)0.0;", "t5 && t6;", "a != b;", "!t8;", "t7 || t9;", "minimum(a, (T)2.0);",
    ]  # fmt: skip


def test_filling_an_array_gives_a_name_a_new_value():
    Z, Y, ell, dZ = symbols("Z", "Y", "ell", "dZ")
    losses.squared_error(expressions, Z, Y, ell, dZ)
    lines, names = statements([dZ])
    assert (lines, names) == (["const T t0 = Z - Y;"], ["t0"])
    (total,) = [node for node in expressions.nodes([ell]) if node.kind == expressions.SUM]
    assert statements([ell], [(total, "sum")]) == (["const T t0 = (T)0.5 * sum;"], ["t0"])
    w, g, strength = symbols("w", "g", "strength")
    regularization.l2_gradient(expressions, w, g, strength)
    assert statements([g])[0] == ["const T t0 = strength * w;", "const T t1 = g + t0;"]  # the g that there was


def test_the_names_mean_what_they_mean_in_numpy():
    """The statements are Python, too, but for the types and `?`: so they can be run here."""

    def run(definition, names, values):
        lines, results = written(definition, *names)
        scope = dict(zip(names, values, strict=True)) | vars(np) | {"fabs": np.abs}
        for line in lines:
            line = line.removeprefix("const T ").removeprefix("const bool ").rstrip(";").replace("(T)", "")
            name, _, value = line.partition(" = ")
            condition, question, choices = value.partition(" ? ")
            value = f"where({condition}, {choices.replace(' : ', ', ')})" if question else value
            scope[name] = eval(value, scope)
        return [scope[name] for name in results]

    x = np.linspace(-2, 2, 9), np.linspace(0.5, 3, 9)
    for g in activations.ACTIVATIONS.values():
        if g.elementwise:
            assert_array_equal(run(g.forward, ("z",), x[:1])[0], g.forward(np, x[0]))
            assert_array_equal(run(g.backward, ("da", "kept"), x)[0], g.backward(np, *x))
    values = (*x, *x, 0.1, 0.9, 0.99, 1e-8, 1.5, 0.01)
    names = tuple(f"x{i}" for i in range(10))
    for got, expected in zip(run(updates.adamw, names, values), updates.adamw(np, *values), strict=True):
        assert_array_equal(got, expected)


def test_what_cannot_be_written_is_said():
    def sine(xp, Z):
        return xp.sin(Z)

    def branch(xp, Z):
        return Z if Z > 0 else 0.0

    with pytest.raises(ConfigError, match=r"xp\.sin has no CUDA source; .* tanh, .*elementwise=False"):
        written(sine, "z")
    with pytest.raises(ConfigError, match=r"write xp\.where instead of if"):
        written(branch, "z")

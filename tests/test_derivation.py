"""docs/derivation.md, formula by formula: both sides of every =, computed from what is printed and from the code.

A symbol stands for what the definition named before the formula computes, and a derivative for central differences of
it. So a formula is held against the code, not against another formula.
"""

import itertools
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from notation import Reader

import deepxp as dx
from deepxp.explain.example import Example
from deepxp.ops import activations, dense, losses, regularization
from deepxp.ops.activations import ACTIVATIONS

PAGE = (Path(__file__).parent.parent / "docs" / "derivation.md").read_text(encoding="utf-8")
FORMULA = re.compile(r"\$\$ (.*?) \\tag\{([\d.]+)\} \$\$")
NAMED = re.compile(r"`(\w+)`")
MODULES = (dense, activations, losses, regularization)
H = 1e-5


def formulas():
    """(the tag, the formula, the code named before it), in order; the code is that of the last formula if none is."""
    found, at, code = [], 0, []
    for match in FORMULA.finditer(PAGE):
        between = PAGE[at : match.start()]
        code = NAMED.findall(between) or code
        found.append((match[2], match[1], tuple(code)))
        at = match.end()
    return found


FORMULAS = formulas()


def central(f, x, index):
    """The difference quotient of f for one number of x."""
    above, below = x.copy(), x.copy()
    above[index] += H
    below[index] -= H
    return (f(above) - f(below)) / (2 * H)


class World:
    """What the symbols of a section stand for: values, sizes of the indices, and functions to be differentiated."""

    def __init__(self, values, sizes, functions):
        """functions: (of, by) -> (the function of the array, the array)"""
        self.sizes, self.functions = sizes, functions
        self.names = values | {"partial": self.partial, "pi": np.pi}

    def partial(self, of, of_index, by, by_index):
        f, x = self.functions[of, by]
        x = np.array(x, float)
        found = central(lambda x: np.asarray(f(x))[self.place(f(x), of_index)], x, self.place(x, by_index))
        return float(found)

    @staticmethod
    def place(array, index):
        return (*index, 0)[: np.ndim(array)]


# --- the worlds of the sections


def layer_world(tag, code, formula):
    """Layer 2 of a network: l is 2."""
    net = dx.Network((3, 4, 2, 3), "tanh", backend="cpu", seed=5, dtype="float64")
    random = np.random.default_rng(1)
    example = Example(net, random.standard_normal((3, 5)), np.array([0, 2, 1, 1, 0]), dx.SGD())
    v, g, l = example.values, ACTIVATIONS["tanh"], 2
    W, b, Z, A, A_prev = v["W[2]"], v["b[2]"], v["Z[2]"], v["A[2]"], v["A[1]"]

    def layer(W, b, A_prev):
        Z, A = np.empty((W.shape[0], A_prev.shape[1])), np.empty((W.shape[0], A_prev.shape[1]))
        dense.dense_forward(np, W, b, A_prev, g, Z, A)
        return Z, A

    def J_of(vector):
        def f(x):
            before = vector.copy()
            vector[...] = x
            value = example.J()
            vector[...] = before
            return value

        return f

    values = {f"{name}[l]": v[f"{name}[{l}]"] for name in ("W", "b", "Z", "A", "dZ", "dA", "dW", "db")}
    values |= {f"{name}[l-1]": v[f"{name}[{l - 1}]"] for name in ("A", "dA")}
    values |= {"g": lambda Z: g.forward(np, Z), "J": float(v["J"]), "m": 5.0, "ell": v["losses"]}
    values["g'"] = lambda Z: g.backward(np, np.ones_like(Z), g.forward(np, Z))
    functions = {
        ("J", "Z[l]"): (lambda Z: example.losses_from(l, Z) / 5, Z),
        ("J", "A[l]"): (lambda A: example.losses_from_activation(l, A) / 5, A),
        ("J", "W[l]"): (J_of(example.net.W[l]), W),
        ("J", "b[l]"): (J_of(example.net.b[l]), b),
        ("A[l]", "Z[l]"): (lambda Z: g.forward(np, Z), Z),
        ("Z[l]", "A[l-1]"): (lambda A: layer(W, b, A)[0], A_prev),
        ("Z[l]", "W[l]"): (lambda W: layer(W, b, A_prev)[0], W),
        ("Z[l]", "b[l]"): (lambda b: layer(W, b, A_prev)[0], b),
    }
    return [World(values, {"i": W.shape[0], "k": W.shape[1], "j": 5}, functions)]


def activation_world(tag, code, formula):
    """One number z at a time, on both sides of 0."""
    g = ACTIVATIONS[code[-1]]
    root = np.sqrt(2 / np.pi)

    def u(z):
        return root * (z + 0.044715 * z**3)

    worlds = []
    for z in (-2.3, -0.4, 0.3, 1.9):
        one = np.array(z)
        values = {"z": z, "a": float(g.forward(np, one)), "u": u(z), "t": np.tanh(u(z))}
        values["s"] = float(activations.sigmoid(np, one))
        functions = {("a", "z"): (lambda z: g.forward(np, z), one), ("u", "z"): (u, one)}
        worlds.append(World(values, {}, functions))
        slope = float(g.backward(np, np.array(1.0), one if g.reads == "Z" else g.forward(np, one)))
        assert worlds[-1].partial("a", (), "z", ()) == pytest.approx(slope, abs=1e-8)  # what the code does backward
    return worlds


def evaluated(evaluate, z, *targets):
    """The loss of one sample, and its dz."""
    ell, dz = np.empty(1), np.empty((z.shape[0], 1))
    evaluate(np, z[:, None], *targets, ell, dz)
    return ell[0], dz[:, 0]


def class_world(tag, code, formula):
    """One sample of four classes; in the formulas about a label it is each of them in turn."""
    random = np.random.default_rng(2)
    z, y, da, c = random.standard_normal(4), random.random(4), random.standard_normal(4), 0.7
    y /= y.sum()
    column = z[:, None]

    def softmax(z):
        return activations.softmax(np, z[:, None])[:, 0]

    def entropy(z):
        return evaluated(losses.softmax_cross_entropy, z, y[:, None])[0]

    a, about_label = softmax(z), "labels" in code[-1]
    if tag in ("4.12", "4.13"):
        da = -y / a
    dz = activations.softmax_backward(np, da[:, None], a[:, None])[:, 0]
    values = {"z": z, "a": a, "y": y, "da": da, "dz": dz, "c": c, "S": np.exp(z).sum(), "ell": entropy(z)}
    Z, Y = random.standard_normal((4, 5)), np.eye(4)[:, [0, 2, 3, 3, 1]]
    values |= {"Y": Y, "dZ[L]": np.empty((4, 5)), "A[L]": activations.softmax(np, Z)}
    losses.softmax_cross_entropy(np, Z, Y, np.empty(5), values["dZ[L]"])
    functions = {
        ("a", "z"): (softmax, z),
        ("S", "z"): (lambda z: np.exp(z).sum(), z),
        ("ell", "z"): (entropy, z),
        ("ell", "a"): (lambda a: -np.sum(y * np.log(a)), a),
    }
    sizes = {"i": 4, "k": 4, "p": 4}
    if not about_label:
        np.testing.assert_allclose(losses.log_softmax(np, column)[:, 0], np.log(a), rtol=1e-13)
        np.testing.assert_allclose(evaluated(losses.softmax_cross_entropy, z, y[:, None])[1], a - y, rtol=1e-13)
        return [World(values, sizes, functions)]
    worlds = []
    for label in range(4):

        def labelled(z, label=label):
            return evaluated(losses.softmax_cross_entropy_labels, z, np.array([label]), np.arange(4)[:, None])

        np.testing.assert_allclose(labelled(z)[1], a - np.eye(4)[label], rtol=1e-13)
        own = functions | {("ell", "z"): (lambda z, f=labelled: f(z)[0], z)}
        worlds.append(World(values | {"ell": labelled(z)[0]}, sizes, own))
        worlds[-1].fixed = {"p": label}
    return worlds


def output_world(tag, code, formula):
    """One output of two classes, or three numbers."""
    if code[-1] == "squared_error":
        z, y = np.array([0.3, -1.2, 2.0]), np.array([0.1, 0.4, -0.5])
        ell, dz = evaluated(losses.squared_error, z, y[:, None])
        np.testing.assert_allclose(dz, z - y, rtol=1e-14)
        f = {("ell", "z"): (lambda z: evaluated(losses.squared_error, z, y[:, None])[0], z)}
        return [World({"z": z, "y": y, "ell": ell}, {"i": 3, "k": 3}, f)]
    worlds = []
    for z, y in itertools.product((-1.4, 0.8), (0.0, 0.3, 1.0)):
        one, target = np.array([z]), np.array([[y]])

        def loss(z, target=target):
            return evaluated(losses.sigmoid_cross_entropy, z.reshape(1), target)[0]

        a = float(activations.sigmoid(np, one)[0])
        assert loss(one) == pytest.approx(float(losses.logistic_loss(np, one, target)[0, 0]))
        assert evaluated(losses.sigmoid_cross_entropy, one, target)[1] == pytest.approx(a - y)
        worlds.append(World({"z": z, "y": y, "a": a, "ell": loss(one)}, {}, {("ell", "z"): (loss, np.array(z))}))
    return worlds


def penalty_world(tag, code, formula):
    """Three weights."""
    w, strength = np.array([0.4, -1.1, 0.2]), 0.3

    def penalty(w):
        J = np.array(0.0)
        regularization.l2_penalty(np, w, strength, J)
        return float(J)

    np.testing.assert_allclose(regularization.penalized(np, np.zeros(3), w, strength), strength * w)
    values = {"w": w, "lambda": strength, "P": penalty(w)}
    return [World(values, {"i": 3, "k": 3}, {("P", "w"): (penalty, w)})]


WORLDS = {
    "1": layer_world, "2": layer_world, "3": activation_world, "4": class_world, "5": output_world, "6": penalty_world,
}  # fmt: skip


def gap(formula, world):
    """The greatest relative difference between the sides of a formula, over all of its indices."""
    written = "".join(re.findall(r"_\{?([a-z]+)\}?", re.sub(r"\\[a-z]+", lambda f: f[0] + " ", formula)))
    bound = set(re.findall(r"\\sum_\{?([a-z])\}?", formula))
    fixed = getattr(world, "fixed", {})
    free = sorted(set(written) - fixed.keys())
    free = [letter for letter in free if letter in world.sizes and not _only_summed(letter, formula, bound)]
    worst = 0.0
    for place in itertools.product(*(range(world.sizes[letter]) for letter in free)):
        index = dict(zip(free, place, strict=True)) | fixed
        sides = Reader(formula, world.names, world.sizes, index).sides()
        assert len(sides) > 1, "a formula has two sides"
        for side in sides[1:]:
            size = max(1.0, float(np.max(np.abs(sides[0]))))
            assert np.shape(np.squeeze(side)) == np.shape(np.squeeze(sides[0])) or np.ndim(side) == 0
            worst = max(worst, float(np.max(np.abs(np.asarray(side) - sides[0]))) / size)
    return worst


def _only_summed(letter, formula, bound):
    """Is a letter an index of sums alone?"""
    if letter not in bound:
        return False
    return not any(letter in index for index in re.findall(r"_\{?([a-z]+)\}?", formula.partition("=")[0]))


@pytest.mark.parametrize(("tag", "formula", "code"), FORMULAS, ids=[tag for tag, _, _ in FORMULAS])
def test_the_formula_is_true_of_the_code(tag, formula, code):
    for world in WORLDS[tag.partition(".")[0]](tag, code, formula):
        assert gap(formula, world) < 1e-7


def test_no_formula_stands_untested():
    tags = [tag for tag, _, _ in FORMULAS]
    assert len(FORMULAS) == PAGE.count("$$") / 2 == PAGE.count(r"\tag{")
    wanted = [f"{s}.{k}" for s in WORLDS for k in range(1, 1 + sum(tag.startswith(f"{s}.") for tag in tags))]
    assert tags == wanted  # each section's from 1 up, none left out
    between = re.sub(r"\$\$.*?\$\$", "", PAGE)
    assert [said for said in re.findall(r"\$(.*?)\$", between) if "=" in said] == []
    referred = set(re.findall(r"\((\d\.\d+)\)", between))
    assert referred and referred <= set(tags)


def test_every_definition_that_is_named_exists_and_every_part_of_the_derivation_is_named():
    named = {name for _, _, code in FORMULAS for name in code}
    for name in named:
        assert any(callable(getattr(module, name, None)) for module in MODULES), name
    assert named >= {g.forward.__name__ for g in ACTIVATIONS.values()} - {"softmax_backward"}
    assert named >= {"dense_forward", "activation_backward", "weight_gradient", "input_gradient", "softmax_backward"}
    assert named >= {loss.evaluate.__name__ for loss in losses.LOSSES.values()}


# the checker is fed wrong formulas, and right formulas of wrong code


@pytest.mark.parametrize(("tag", "formula", "code"), FORMULAS, ids=[tag for tag, _, _ in FORMULAS])
def test_a_formula_that_is_off_by_a_millionth_is_not_true(tag, formula, code):
    for side in range(1, formula.count("=") + 1):
        parts = re.split(" = ", formula)
        parts[side] += " + 0.000001"
        assert max(gap(" = ".join(parts), world) for world in WORLDS[tag[0]](tag, code, formula)) > 1e-7


MISPRINTS = {
    "1.1": ("W^{[l]}_{ik} A", "W^{[l]}_{ki} A"),
    "1.4": (r"\frac{1}{m}", ""),
    "2.1": ("m ", ""),
    "2.8": (r"\mathsf{T}", ""),
    "2.10": (r"= \frac{1}{m} \sum_j dZ^{[l]}_{ij} A", r"= \sum_j dZ^{[l]}_{ij} A"),
    "2.13": (r"\frac{1}{m} \sum_j dZ", r"\sum_j dZ"),
    "3.2": ("a (1 - a)", "a (1 + a)"),
    "3.8": ("0.01", "0.1"),
    "3.12": ("z (1 - s)", "z s"),
    "3.16": ("(1 - t^2)", "(1 - t)"),
    "4.1": (r"\sum_k e^{z_k}", r"\sum_k e^{z_i}"),
    "4.6": (r"a_i (\delta_{ik} - a_k)", "a_i (1 - a_k)"),
    "4.7": (r"(da_k - \sum_i", r"(da_k + \sum_i"),
    "4.9": ("z_i - c -", "z_i + c -"),
    "4.13": (r"a_k \sum_i y_i", r"\sum_i y_i"),
    "5.4": ("- y z", "+ y z"),
    "6.2": (r"\lambda w_i", r"2 \lambda w_i"),
}


@pytest.mark.parametrize("tag", MISPRINTS)
def test_a_misprint_is_found(tag):
    (formula, code) = next((formula, code) for t, formula, code in FORMULAS if t == tag)
    right, wrong = MISPRINTS[tag]
    misprint = formula.replace(right, wrong)
    assert misprint != formula
    with suppress(KeyError, IndexError, ValueError):  # an index without a sum, or shapes that do not fit
        assert max(gap(misprint, world) for world in WORLDS[tag[0]](tag, code, formula)) > 1e-4


def without_m(xp, dZ, A_prev, dW):
    dW[...] = dZ @ A_prev.T


def diagonal(xp, dA, A):
    return dA * A * (1.0 - A)


def twice(xp, w, strength, J):
    J[...] = J + strength * xp.sum(w * w)


@pytest.mark.parametrize(
    ("module", "name", "wrong", "tag"),
    [
        (dense, "weight_gradient", without_m, "2.11"),
        (activations, "softmax_backward", diagonal, "4.7"),
        (regularization, "l2_penalty", twice, "6.1"),
        (activations, "softmax", lambda xp, Z: xp.exp(Z), "4.1"),
    ],
)
def test_a_formula_is_not_true_of_code_that_is_wrong(monkeypatch, module, name, wrong, tag):
    (formula, code) = next((formula, code) for t, formula, code in FORMULAS if t == tag)
    assert name in code
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        test_the_formula_is_true_of_the_code(tag, formula, code)

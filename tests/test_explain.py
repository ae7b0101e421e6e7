"""What `deepxp explain` shows is what ran: a formula read back from its text, LaTeX or MathML gives the values."""

import inspect
import re
import sys
from xml.etree import ElementTree

import notation
import numpy as np
import pytest

import deepxp as dx
from deepxp.cli import main
from deepxp.explain import explain, formulas, html, text
from deepxp.explain.example import Example, compared
from deepxp.explain.expressions import Book
from deepxp.explain.numbers import cells
from deepxp.explain.typeset import LATEX, MATHML
from deepxp.explain.writers import TEXT
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.losses import LOSSES, Loss
from deepxp.optimizers import OPTIMIZERS, Optimizer

READERS = {"text": (TEXT, notation.text), "latex": (LATEX, notation.latex), "mathml": (MATHML, notation.mathml)}
SIZES = (2, 3, 5, 4, 2, 1)


def network(hidden="tanh", loss="sigmoid-cross-entropy", sizes=SIZES, **more):
    return dx.Network(sizes, hidden, loss, backend="cpu", seed=1, dtype="float64", **more)


def batch(net, m=4):
    random = np.random.default_rng(3)
    Y = random.random((net.sizes[-1], m))
    return random.standard_normal((net.sizes[0], m)), Y / Y.sum(axis=0) if net.sizes[-1] > 1 else Y


def read_back(net, writer, read):
    """Every equation of a step, read from what is written and computed from the values that went into it."""
    example = Example(net, *batch(net), dx.SGD())
    book, parts = formulas.step(net)
    for equations in parts.values():
        for equation in equations:
            names = dict(example.values) | {"m": example.m}
            for target, value in book.written(equation):
                names[target.label] = read(writer(value), names)
            yield equation.target.label, names[equation.target.label], example.values[equation.target.label]


# what is written is what ran


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("g", ACTIVATIONS)
def test_the_formulas_of_a_step_give_its_values_when_they_are_read_back(g, how):
    seen = set()
    for name, read, ran in read_back(network(g), *READERS[how]):
        np.testing.assert_allclose(np.squeeze(read), np.squeeze(ran), rtol=1e-12, atol=1e-15, err_msg=name)
        seen.add(name)
    assert {"Z[1]", "A[5]", "losses", "J", "dZ[5]", "dZ[1]", "db[1]", "dW[1]", "dA[1]"} <= seen


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_so_do_those_of_every_loss(loss, how):
    for name, read, ran in read_back(network("relu", loss, (2, 4, 3)), *READERS[how]):
        np.testing.assert_allclose(np.squeeze(read), np.squeeze(ran), rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_so_do_those_of_every_update(kind, how):
    writer, read = READERS[how]
    for rule, function in zip(formulas.update(kind(), network()), rules(kind()), strict=True):
        parameters = list(inspect.signature(function).parameters)[1:]
        names = dict(zip(parameters, np.random.default_rng(0).random((len(parameters), 3)), strict=True))
        names |= {name: names[name][0] for name in rule.rates}
        theta, *state = function(np, *names.values())
        for target, value in rule.equations:
            names[target.label] = read(writer(value), names)
        wanted = {"theta'": theta} | {f"{name}'": v for name, v in zip(parameters[2:], state, strict=False)}
        assert wanted.keys() == {target.label for target, _ in rule.equations}
        for name, value in wanted.items():
            np.testing.assert_allclose(names[name], value, rtol=1e-13)


def rules(optimizer):
    net = network()
    state = [np.zeros_like(net.theta)] * optimizer.states
    return [rule for rule, *_ in optimizer.updates(net.parameters, net.gradient(), state)]


def test_the_link_and_the_loss_meet_in_A_minus_Y():
    for loss in ("sigmoid-cross-entropy", "softmax-cross-entropy"):
        book, parts = formulas.step(network("relu", loss, (2, 4, 3)))
        (dZ,) = [e for e in parts["loss"] if e.target.label == "dZ[2]"]
        assert [TEXT.equation(e) for e in book.written(dZ)] == ["dZ[2] = A[2] - Y"]


def test_the_recursions_are_written_with_the_letters_of_the_equations():
    book, parts = formulas.step(network("tanh", sizes=(2, 3, 1)))
    written = [TEXT.equation(line) for part in parts.values() for e in part for line in book.written(e)]
    assert written == [
        "Z[1] = W[1] A[0] + b[1]",
        "A[1] = tanh(Z[1])",
        "Z[2] = W[2] A[1] + b[2]",
        "A[2] = 0.5 (1 + tanh(0.5 Z[2]))",
        "losses = sum_units(max(Z[2], 0) - Y * Z[2] + log(1 + exp(-|Z[2]|)))",
        "dZ[2] = A[2] - Y",
        "J = mean(losses)",
        "db[2] = sum_samples(dZ[2]) / m",
        "dW[2] = dZ[2] A[1]^T / m",
        "dA[1] = W[2]^T dZ[2]",
        "dZ[1] = dA[1] * (1 - A[1]^2)",
        "db[1] = sum_samples(dZ[1]) / m",
        "dW[1] = dZ[1] A[0]^T / m",
    ]


def test_a_name_with_a_layer_is_never_given_a_second_exponent():
    book = Book()
    Z = book.symbol("Z", 2)
    for e in (Z * Z, Z.T * Z.T, (Z @ Z.T) ** 2.0):
        assert not re.search(r"\]\}?\^|\]\\mathsf\{T\}\}\^", LATEX(e).replace(r"\left", ""))
    assert LATEX(Z * Z) == r"\left(Z^{[2]}\right)^{2}"


def test_a_local_variable_is_shown_by_its_name():
    lines = formulas.definition(ACTIVATIONS["gelu"].backward, "dA", "Z")
    assert [TEXT(line.target) for line in lines] == ["t", "s", "gelu_backward"]


def test_a_local_variable_cannot_take_the_name_of_an_argument_or_of_another():
    def odd(xp, Z, A):
        def inner(xp, Z):
            s = xp.exp(Z)
            return s * s

        s = xp.tanh(Z)
        dA = inner(xp, s) + s
        return dA * inner(xp, Z) * other(xp, A) * (A + 1.0)

    def other(xp, X):
        A = xp.exp(X)
        return A * A

    Z, A = np.array([[0.3, -1.2]]), np.array([[0.8, 1.9]])
    names = {"Z": Z, "A": A}
    for target, value in formulas.definition(odd, "Z", "A"):
        names[target.label] = notation.text(TEXT(value), names)
    np.testing.assert_allclose(names["odd"], odd(np, Z, A), rtol=1e-14)


def test_a_profiler_gets_its_turn_again():
    def profiler(*_):
        return None

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        formulas.definition(ACTIVATIONS["silu"].forward, "Z")
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)


def test_a_definition_with_an_if_says_that_it_cannot_be_written():
    with pytest.raises(TypeError, match="no `if`"):
        formulas.definition(lambda xp, Z: Z if Z > 0.0 else -Z, "Z")


# parentheses


def expression(book, depth, draw):
    """A random expression over arrays a, c and numbers k, 2, -1.5; the values stay tame."""
    if depth == 0:
        leaves = [book.symbol("a"), book.symbol("c"), book.symbol("k", scalar=True), 2.0, -1.5]
        return book.expression(leaves[draw.integers(len(leaves))])
    x, y = expression(book, depth - 1, draw), expression(book, draw.integers(depth), draw)
    match draw.integers(10):
        case 0 | 1:
            return x + y
        case 2 | 3:
            return x - y
        case 4 | 5:
            return x * y
        case 6:
            return x / (3.0 + book.xp.abs(y))
        case 7:
            return x / ((3.0 + book.xp.abs(y)) * (2.0 / (1.0 + y * y)))
        case 8:
            return -x
    return book.xp.where(book.xp.tanh(x) > 0.1, y, book.xp.maximum(x, y))


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("seed", range(150))
def test_any_expression_means_the_same_when_it_is_read_back(how, seed):
    book, draw = Book(), np.random.default_rng(seed)
    e = expression(book, 4, draw)
    writer, read = READERS[how]
    names = {"a": np.array([0.7, -1.3]), "c": np.array([-0.4, 2.1]), "k": 1.7}
    np.testing.assert_allclose(read(writer(e), names), value_of(e, names), rtol=1e-9, atol=1e-12, err_msg=writer(e))


def value_of(e, names):
    """The expression itself, computed."""
    parts = [value_of(part, names) for part in e.parts]
    match e.op:
        case "symbol":
            return names[e.label]
        case "number":
            return float(e.label)
        case "call":
            return notation.FUNCTIONS[e.label](*parts)
        case "relation":
            return parts[0] > parts[1]
        case "where":
            return np.where(parts[1], parts[0], parts[2])
        case "neg":
            return -parts[0]
    a, b = parts
    return {"add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "truediv": lambda: a / b}[e.op]()


def test_no_definition_is_written_with_a_pair_of_parentheses_too_many():
    """Without any one pair the formula is another one, or none."""
    checked = 0
    for g in ACTIVATIONS.values():
        for function, arrays in ((g.forward, ("Z",)), (g.backward, ("dA", g.reads))):
            names = {name: np.array([[0.31], [-0.87], [1.4]]) * (k + 1) for k, name in enumerate(arrays)}
            for target, value in formulas.definition(function, *arrays):
                written = TEXT(value)
                names[target.label] = right = notation.text(written, names)
                for shorter in without_a_pair(written):
                    try:
                        wrong = notation.text(shorter, names)
                    except (SyntaxError, NameError, TypeError, ValueError):
                        wrong = None
                    same = wrong is not None and np.shape(wrong) == np.shape(right) and np.allclose(wrong, right)
                    assert not same, (written, shorter)
                    checked += 1
    assert checked > 15


def without_a_pair(written):
    for start in (i for i, c in enumerate(written) if c == "(" and (i == 0 or not written[i - 1].isalnum())):
        depth = 0
        for stop in range(start, len(written)):
            depth += {"(": 1, ")": -1}.get(written[stop], 0)
            if depth == 0:
                break
        yield written[:start] + written[start + 1 : stop] + written[stop + 1 :]


# values and differences


def test_the_values_are_those_of_the_step_that_trains():
    net = network("gelu", sizes=(2, 4, 3), loss="softmax-cross-entropy")
    X, labels = batch(net)[0], np.array([0, 2, 1, 1])
    example = Example(net, X, labels, dx.Adam(lr=0.01))
    J = dx.TrainingStep(net, dx.Adam(lr=0.01), batch_size=4)(X, labels)
    before, _, after, _ = example.update()
    np.testing.assert_allclose(example.values["J"], J, rtol=1e-12)
    np.testing.assert_allclose(after, net.theta, rtol=1e-9)
    assert np.abs(after - before).min() > 0
    np.testing.assert_array_equal(example.net.theta, before)  # the step is taken back
    np.testing.assert_allclose(example.values["A[2]"], net.to().predict_proba(X), rtol=0.1)  # of the weights before


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("g", [g for g in ACTIVATIONS.values() if g.smooth], ids=lambda g: g.name)
def test_every_derivative_agrees_with_its_differences(g, loss):
    net = network(g, loss, (2, 4, 3))
    example = Example(net, *batch(net), dx.SGD())
    checked = [name for name in example.values if example.numeric(name)]
    assert sorted(checked) == sorted(["dW[1]", "dW[2]", "db[1]", "db[2]", "dZ[1]", "dZ[2]", "dA[1]"])
    for name in checked:
        assert example.numeric(name).error < 1e-7, name


def test_a_wrong_derivative_shows():
    wrong = dx.ops.activations.Activation("wrong", ACTIVATIONS["tanh"].forward, lambda xp, dA, A: dA * (1.0 - A))
    example = Example(network(wrong, sizes=(2, 4, 1)), *batch(network()), dx.SGD())
    assert example.numeric("dZ[2]").error < 1e-7
    for name in ("dZ[1]", "dW[1]", "db[1]"):
        assert example.numeric(name).error > 1e-3


def test_a_kink_is_not_compared_with_and_counted():
    found = compared(np.array([0.0, 1.0]), np.array([0.0, 2.0]), lambda x: float(np.maximum(x, 0.0).sum()))
    assert (found.kinks, found.checked) == (1, 1)
    assert found.error < 1e-9
    assert cells(found.values) == [["kink", "1.0000"]]


def test_the_network_and_the_batch_are_left_as_they_were():
    net = network("relu")
    X, y = batch(net)
    theta, X_was = net.theta.copy(), X.copy()
    explain(net, X, y, dx.Adam())
    np.testing.assert_array_equal(net.theta, theta)
    np.testing.assert_array_equal(X, X_was)


# a user's own


def swish(xp, Z):
    return Z / (1.0 + xp.exp(-Z))


def swish_backward(xp, dA, Z):
    s = 1.0 / (1.0 + xp.exp(-Z))
    return dA * s * (1.0 + Z * (1.0 - s))


def absolute_error(xp, Z, Y, losses, dZ):
    dZ[...] = xp.sign(Z - Y)
    losses[...] = xp.sum(xp.abs(Z - Y), axis=0)


def forgetful(xp, theta, g, v, rate, keep):
    v = keep * v + (1.0 - keep) * g
    return theta - rate * v, v


class Forgetful(Optimizer):
    states = 1
    rule = staticmethod(forgetful)

    def rates(self, lr, t):
        return lr, 0.5


def test_a_users_own_activation_loss_and_rule_are_explained_too():
    own = Loss("absolute-error", ACTIVATIONS["identity"], absolute_error)
    net = network(dx.Activation("swish", swish, swish_backward), own, (2, 3, 2))
    X, Y = batch(net)
    said = text(explain(net, X, Y, Forgetful(lr=0.01)))
    for formula in (
        "A[1] = Z[1] / (1 + exp(-Z[1]))",
        "s = 1 / (1 + exp(-Z[1]))",
        "dZ[1] = dA[1] * s * (1 + Z[1] * (1 - s))",
        "dZ[2] = sign(Z[2] - Y)",
        "losses = sum_units(|Z[2] - Y|)",
        "v' = keep v + (1 - keep) g",
        "theta' = theta - rate v'",
        "rate = 0.01, keep = 0.5.",
    ):
        assert f"\n{formula}" in said
    assert all(float(error) < 1e-7 for error in re.findall(r"error (\S+e-\d+)", said))


# the terminal and the page


def test_the_text_fits_a_terminal(capsys):
    for g in ACTIVATIONS:
        assert main(["explain", "--activation", g, "--optimizer", "adamw"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert max(map(len, out.splitlines())) < 80
        assert out.isascii()


def test_the_default_is_the_running_example_with_everything_beside_everything(capsys):
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2-3-5-4-2-1, tanh, sigmoid-cross-entropy, one step on 4 samples\n")
    for l in range(1, 6):
        assert f"\nZ[{l}] = W[{l}] A[{l - 1}] + b[{l}]\n" in out
        assert f"\ndW[{l}] = dZ[{l}] A[{l - 1}]^T / m\n" in out
    assert "\n(3, 4) = (3, 2) (2, 4) + (3, 1)\n" in out
    errors = [float(error) for error in re.findall(r"\n    error (\S+)\n", out)]
    assert len(errors) == 4 * 5 - 1 and max(errors) < 1e-7
    assert "\ntheta' = theta - rate m' / (sqrt(v') scale + eps)\n" in out


def test_a_wide_matrix_is_abbreviated():
    assert cells(np.arange(100.0).reshape(10, 10))[0] == ["0", "1", "2", "...", "9"]
    assert [row[0] for row in cells(np.arange(100.0).reshape(10, 10))] == ["0", "10", "20", "...", "90"]
    assert cells(np.array([0.25, -0.0, 1e-9])) == [["0.2500", "0.0000", "0.0000"]]
    assert cells(np.array([1e-5, -2e-7])) == [["1.00e-05", "-2.00e-07"]]


def test_a_large_network_is_explained_by_its_corners(capsys):
    assert main(["explain", "--sizes", "40,30,10", "--layer", "1", "--m", "50"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) < 80
    assert ", of 16 of 1200 numbers" in out
    assert "backward, layer 1" in out and "layer 2" not in out


def test_the_page_is_xml_that_asks_for_nothing(tmp_path, capsys):
    page = tmp_path / "step.html"
    assert main(["explain", "--sizes", "3,4,3", "--activation", "elu", "--optimizer", "adam", "--html", str(page)]) == 0
    source = page.read_text("utf-8")
    tree = ElementTree.fromstring(source.partition("\n")[2])
    asked = re.findall(r'(?:src|href)="(?!#)[^"]*"|url\(|@import|<script', source)
    assert asked == []
    assert len(tree.findall(".//{*}math/{*}semantics/{*}annotation")) == 20
    assert r"dZ^{[2]} = A^{[2]} - Y" in source
    assert capsys.readouterr().out == f"page        {page}\n"


def test_the_page_has_the_numbers_of_the_text():
    net = network()
    found = explain(net, *batch(net))
    page = ElementTree.fromstring(html(found).partition("\n")[2])
    shown = {cell.text.replace("−", "-") for cell in page.findall(".//{*}td") if cell.text}
    for section in found.sections:
        for line in section.lines:
            for _, values in line.values:
                assert {cell for row in cells(values) for cell in row if cell != "..."} <= shown


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--sizes", "2,x"], "--sizes must be sizes such as 256,128, got '2,x'"),
        (["--sizes", "2"], "sizes are at least an input and an output layer"),
        (["--m", "0"], "--m must be a whole number, 1 or more, got '0'"),
        (["--layer", "6"], "--layer is one of the layers 1 to 5 of --sizes, got 6"),
        (["--activation", "step"], "unknown activation 'step'; there are identity, relu"),
        (["--activation", "relu,tanh"], "hidden names 2 activations for 4 hidden layers"),
        (["--loss", "softmax-cross-entropy"], "needs an output for each of at least 2 classes"),
        (["--optimizer", "adam", "--momentum", "0.5"], "--momentum is of --optimizer momentum and nesterov"),
    ],
)
def test_a_wrong_call_is_one_sentence(capsys, argv, said):
    assert main(["explain", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1

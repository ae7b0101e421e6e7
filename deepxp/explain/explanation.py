"""What is said of a step, section by section: the same for a terminal and for a page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deepxp.explain import formulas
from deepxp.explain.example import Example, Numeric
from deepxp.explain.expressions import Equation, Expression
from deepxp.gradcheck import STEP
from deepxp.network import Network
from deepxp.ops.typing import Array
from deepxp.optimizers import SGD, Optimizer

ABOUT = (
    "Each formula is written by the function that computed the values below it, run on symbols: what is shown is what "
    "ran. A product with a sign is element by element, one without is the matrix product, or with one number. b is "
    "added to every column. [l] is the layer; columns are samples, rows are units.",
    "Beside each derivative stands the numerical one, (f(x + h) - f(x - h)) / 2h with h = {step:g}, and its error, "
    "||numeric - d|| / (||numeric|| + ||d||). dW and db are derivatives of J, the mean of the losses; dZ and dA are "
    "derivatives of their sum, so that 1/m comes in once.",
)
PRIME = "A prime marks the new value."


@dataclass(frozen=True)
class Line:
    """One equation after those of the local names in it; the shapes of its two sides, where one formula says them; the
    values, by name; and the numerical derivative of the last of them."""

    equations: tuple[Equation, ...]
    with_shapes: bool = False
    values: tuple[tuple[str, Array], ...] = ()
    numeric: Numeric | None = None
    about: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the step. `layer` is the layer that it is about, or None."""

    title: str
    lines: tuple[Line, ...]
    layer: int | None = None


@dataclass(frozen=True)
class Explanation:
    """A step of a network on one batch. `sizes` are the shapes of all quantities by name; m is a number."""

    title: str
    about: tuple[str, ...]
    sections: tuple[Section, ...]
    sizes: Mapping[str, Any]

    def of_layer(self, l: int) -> "Explanation":
        """What is about one layer alone."""
        return Explanation(self.title, self.about, tuple(s for s in self.sections if s.layer == l), self.sizes)


def explain(net: Network, X: Any, y: Any, optimizer: Optimizer | None = None) -> Explanation:
    """Each equation of one step on columns X (n[0], m) and targets y, with its values, and differences beside them.

    A user's own activation, loss and optimizer are explained as well. Dropout is left out.
    """
    example = Example(net, X, y, optimizer or SGD())
    values = example.values
    book, parts = formulas.step(net)
    n, L, g = net.sizes, net.L, net.g
    equations = {e.target.label: e for part in parts.values() for e in part}

    def line(name: str, *beside: str) -> Line:
        shown = tuple((other, values[other]) for other in (*beside, name))
        whole = book.written(equations[name])
        return Line(whole, _tells(whole[-1].value), shown, example.numeric(name))

    sections = [Section("the batch", (Line((), values=(("A[0]", values["A[0]"]), ("Y", values["Y"]))),))]
    for l in range(1, L + 1):
        title = f"forward, layer {l}: {n[l - 1]} -> {n[l]} units, {g[l].name}"
        sections.append(Section(title, (line(f"Z[{l}]", f"W[{l}]", f"b[{l}]"), line(f"A[{l}]")), l))
    loss = [line(e.target.label) for e in parts["loss"]]
    sections.append(Section(f"the loss: {net.loss.name}", tuple(loss), L))
    for l in range(L, 0, -1):
        own = [e.target.label for e in parts["backward"] if e.target.label in _of_layer(l)]
        sections.append(Section(f"backward, layer {l}", tuple(line(name) for name in own), l))
    sections.append(Section(f"the update: {example.optimizer.name}, step 1", tuple(_update(example))))
    hidden = ", ".join(dict.fromkeys(activation.name for activation in g[1:-1])) or "no hidden layer"
    m = f"{example.m} sample{'s' * (example.m > 1)}"
    title = f"{'-'.join(map(str, n))}, {hidden}, {net.loss.name}, one step on {m}"
    about = tuple(text.format(step=STEP) for text in ABOUT)
    return Explanation(
        title, about, tuple(map(_once, sections)), {k: v.shape for k, v in values.items()} | {"m": example.m}
    )


def _of_layer(l: int) -> tuple[str, ...]:
    """What the backward recursion computes before it goes on to the layer below."""
    return f"dZ[{l}]", f"db[{l}]", f"dW[{l}]", f"dA[{l - 1}]"


def _update(example: Example) -> Iterable[Line]:
    optimizer, J = example.optimizer, float(example.values["J"])
    theta, g, after, J_after = example.update()
    rates = optimizer.rates(optimizer.lr, 1)
    for rule in formulas.update(optimizer, example.net):
        at = ", ".join(f"{name} = {value:.6g}" for name, value in zip(rule.rates, rates, strict=False))
        part = "" if rule.part == "theta" else f"For {rule.part}: "
        yield Line(rule.equations, about=f"{part}{at}. {PRIME}")
    shown = (("theta", theta), ("g", g), ("theta'", after))
    yield Line((), values=shown, about=f"J was {J:.6g} and is {J_after:.6g} after the step.")


def _tells(e: Expression) -> bool:
    """Do the shapes of the two sides differ in a way to be told: by a matrix product, or a sum over samples?"""
    return e.op == "matmul" or e.label == "sum_samples" or any(map(_tells, e.parts))


def _once(section: Section) -> Section:
    """The section with each local name explained once."""
    seen: set[Equation] = set()
    lines = []
    for line in section.lines:
        fresh = tuple(e for e in line.equations if e not in seen)
        seen.update(line.equations)
        lines.append(Line(fresh, line.with_shapes, line.values, line.numeric, line.about))
    return Section(section.title, tuple(lines), section.layer)

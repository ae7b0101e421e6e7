"""The equations of a network, written by the recursions and the definitions that train it, run on symbols."""

from collections.abc import Callable
from inspect import signature
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from deepxp.backend import Backend
from deepxp.explain.expressions import Book, Equation, Expression
from deepxp.network import Network
from deepxp.optimizers import Optimizer
from deepxp.recursions import backward, evaluate_loss, forward


class Rule(NamedTuple):
    """An update rule: the part of theta that it is for, its equations, and the names of its rates."""

    part: str
    equations: tuple[Equation, ...]
    rates: tuple[str, ...]


def step(net: Network) -> tuple[Book, dict[str, list[Equation]]]:
    """The equations of a step, in the order in which it computes them: "forward", "link", "loss", "backward".

    "link" is A[L], which a prediction computes; a training step goes from Z[L] straight to the loss.
    """
    book, L = Book(), net.L

    def layers(letter: str, first: int = 1) -> tuple[Any, ...]:
        return (*[None] * first, *(book.symbol(letter, l) for l in range(first, L + 1)))

    W, b, Z, A, dZ, dA = (layers(letter) for letter in ("W", "b", "Z", "A", "dZ", "dA"))
    A = (book.symbol("A", 0), *A[1:])
    keep = (0,) * (L + 1)
    backend = Backend("formulas", book.xp)
    symbolic: Any = SimpleNamespace(W=W, b=b, L=L, keep=keep, g=net.g, backend=backend, loss=net.loss)
    work: Any = SimpleNamespace(
        Z=Z,
        H=A,
        A=(*A[:L], Z[L]),  # a step leaves the link to the loss: one memory, so one symbol
        kept=(A[0], *(A[l] if net.g[l].reads == "A" else Z[l] for l in range(1, L)), Z[L]),
        dA=(*dA[:L], dZ[L]),
        dZ=dZ,
        Y=book.symbol("Y").T,  # a table, whose rows are samples
        losses=book.symbol("losses"),
        J=book.symbol("J", scalar=True),
        bits=(None,) * (L + 1),
    )
    gradient: Any = SimpleNamespace(dW=layers("dW"), db=layers("db"))

    def link() -> None:
        A[L][...] = net.g[L].forward(book.xp, Z[L])

    parts: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward(symbolic, work),
        "link": link,
        "loss": lambda: evaluate_loss(symbolic, work, None),
        "backward": lambda: backward(symbolic, work, gradient),
    }
    found: dict[str, list[Equation]] = {}
    done = 0
    with book.reading_names():
        for name, run in parts.items():
            run()
            found[name], done = book.equations[done:], len(book.equations)
    return book, found


def update(optimizer: Optimizer, net: Network) -> list[Rule]:
    """The equations of each rule that the optimizer runs, and of which part of theta; a prime marks the new value."""
    n, weights = net.theta.shape[0], net.parameters.weights.shape[0]
    whole: Any = SimpleNamespace(theta=np.arange(n), weights=np.arange(weights))
    places: Any = SimpleNamespace(g=np.arange(n))
    names = {(0, n): "theta", (0, weights): "the weights in theta", (weights, n): "the biases in theta"}
    found = []
    for rule, part, _, _, rates in optimizer.updates(whole, places, [np.arange(n)] * optimizer.states):
        first, last = int(part[0]), int(part[-1]) + 1
        where = names.get((first, last), f"theta[{first}:{last}]")
        found.append(_written(rule, where, optimizer.states, rates))
    return found


def _written(rule: Any, part: str, states: int, rates: int) -> Rule:
    """theta' and the new states of an update rule, the states first."""
    book = Book()
    names = tuple(signature(rule).parameters)[1 : 3 + states + rates]
    vectors = [book.symbol(name) for name in names[: 2 + states]]
    numbers = [book.symbol(name, scalar=True) for name in names[2 + states :]]
    with book.reading_names():
        theta, *state = rule(book.xp, *vectors, *numbers)
    for old, new in zip(vectors[2:], state, strict=True):
        book.assign(book.symbol(f"{old.label}'"), new)
    book.assign(book.symbol(f"{vectors[0].label}'"), theta)
    lines = dict.fromkeys(line for equation in book.equations for line in book.written(equation))
    return Rule(part, tuple(lines), names[2 + states :])


def definition(function: Any, *names: str) -> tuple[Equation, ...]:
    """What one definition computes of arrays with these names; the target of what it returns is its own name."""
    book = Book()
    arrays: list[Expression] = [book.symbol(name) for name in names]
    with book.reading_names():
        value = function(book.xp, *arrays)
    if isinstance(value, Expression):
        book.assign(book.symbol(function.__name__), value)
    return tuple(line for equation in book.equations for line in book.written(equation))

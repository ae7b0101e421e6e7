"""The xp of instructions: running a definition on it writes down the NumPy calls that the definition makes.

The tape is then replayed over blocks that fit the cache, every call writing into scratch memory or straight into its
destination. It is bit-identical to the definition, because it makes the same calls on the same numbers in the same
order; what it saves is memory: no temporary is ever as long as the vectors.
"""

import operator
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from deepxp.ops.typing import Array

BLOCK = 32_768  # elements: a block of every register of the longest rule fits the second-level cache in float32


class Value:
    """One number of the definition while it is written down: an array's element, or a scalar rate."""

    def __init__(self, tape: "Tape", *, scalar: bool = False) -> None:
        self.tape, self.scalar = tape, scalar


class Tape:
    """The calls of a definition, in order: (function, operands, result)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], Value]] = []

    def value(self, *, scalar: bool = False) -> Value:
        """A fresh value."""
        return Value(self, scalar=scalar)

    def call(self, function: Callable[..., Any], *operands: Any) -> Value:
        """Write down one call; a call on scalars alone is made in Python's own floats, as the definition makes it."""
        scalar = all(x.scalar for x in operands if isinstance(x, Value))
        result = self.value(scalar=scalar)
        self.calls.append((SCALAR.get(function, function) if scalar else function, operands, result))
        return result

    def where(self, condition: Value, a: Any, b: Any) -> Value:
        """The array API's `where`."""
        return self.call(select, condition, a, b)

    def __getattr__(self, name: str) -> Callable[..., Value]:
        ufunc = getattr(np, name)
        return lambda *operands: self.call(ufunc, *operands)

    def last_read(self) -> dict[Any, int]:
        """The position of the last call that reads a value."""
        return {x: i for i, (_, operands, _) in enumerate(self.calls) for x in operands if isinstance(x, Value)}

    def made_at(self) -> dict[Any, int]:
        """The position of the call that makes a value."""
        return {value: i for i, (_, _, value) in enumerate(self.calls)}


SCALAR: dict[Any, Callable[..., float]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.power: operator.pow,
    np.negative: operator.neg,
}

# Comparing two values is written down, too: sets and dicts of them work by identity, `in` a tuple does not
BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "pow": np.power,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
}
UNARY: dict[str, Any] = {"neg": np.negative, "abs": np.abs, "invert": np.logical_not}
for _name, _ufunc in BINARY.items():
    setattr(Value, f"__{_name}__", lambda a, b, f=_ufunc: a.tape.call(f, a, b))
    setattr(Value, f"__r{_name}__", lambda a, b, f=_ufunc: a.tape.call(f, b, a))
for _name, _ufunc in UNARY.items():
    setattr(Value, f"__{_name}__", lambda a, f=_ufunc: a.tape.call(f, a))


def is_condition(function: Callable[..., Any]) -> bool:
    """Does it say true or false of a number?"""
    return any(form in ("f->?", "ff->?") for form in getattr(function, "types", ()))


class Scratch(threading.local):
    """Blocks of memory, a set for every thread: allocated once, then shared by all programs."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[Any, int], Array] = {}

    def block(self, dtype: Any, register: int) -> Array:
        """The block with this number."""
        key = (dtype, register)
        if key not in self.blocks:
            self.blocks[key] = np.empty(BLOCK, dtype)
        return self.blocks[key]


_scratch = Scratch()


def select(condition: Array, a: Any, b: Any, out: Array) -> None:
    """out = a where the condition holds, else b, bit for bit; out may be the memory of either

    Without branches, which no processor foresees here: a tenth of the time of np.copyto(out, a, where=condition).
    """
    words = np.dtype(f"i{out.itemsize}")
    a, b = (np.asarray(x, out.dtype).view(words) for x in (a, b))
    change, mask = (_scratch.block(words, k)[: out.size] for k in range(2))
    np.bitwise_xor(a, b, out=change)
    np.bitwise_and(change, np.negative(condition.view(np.int8), out=mask), out=change)
    np.bitwise_xor(change, b, out=out.view(words))


class Program:
    """A definition of `arrays` vectors and `rates` scalars, as calls on registers.

    Result k may be written into the memory of argument `consumes[k]`; no other argument is written to.

    A register is an index into one list: the arguments, the rates and what is computed from them alone, the constants,
    the destinations, and blocks of scratch memory.
    """

    def __init__(self, definition: Callable[..., Any], arrays: int, rates: int, consumes: Sequence[int]) -> None:
        tape = Tape()
        arguments = [tape.value() for _ in range(arrays)]
        scalars = [tape.value(scalar=True) for _ in range(rates)]
        results = definition(tape, *arguments, *scalars)
        results = results if isinstance(results, tuple) else (results,)
        self.registers: list[Any] = []
        self.home: dict[Value, int] = {}
        self.inputs = [self._new(value) for value in arguments]
        self.rates = [self._new(value) for value in scalars]
        self.outputs = [self._new() for _ in results]
        self.scratch: list[tuple[int, bool, int]] = []  # (register, holds a condition, number of its block)
        self.scalar_calls: list[tuple[Callable[..., Any], list[int], int]] = []
        self.calls: list[tuple[Callable[..., Any], list[int], int]] = []
        self._place_results(tape, results, [arguments[k] for k in consumes])
        self._place_calls(tape, results)
        self._move_results(results, [self.inputs[k] for k in consumes])

    def _new(self, value: Value | None = None, content: Any = None) -> int:
        self.registers.append(content)
        if value is not None:
            self.home[value] = len(self.registers) - 1
        return len(self.registers) - 1

    def _place_results(self, tape: Tape, results: Sequence[Value], consumed: Sequence[Value]) -> None:
        """A result is computed in its destination, unless something later reads what that overwrites."""
        last_read, made_at, kept = tape.last_read(), tape.made_at(), set(results)
        for k, value in enumerate(results):
            overwritten = consumed[k] if k < len(consumed) else None
            read_later = overwritten in last_read and last_read[overwritten] > made_at.get(value, -1)
            if value in made_at and value not in self.home and not read_later and overwritten not in kept:
                self.home[value] = self.outputs[k]

    def _place_calls(self, tape: Tape, results: Sequence[Value]) -> None:
        """Every other value is computed in scratch memory, which is free again after its last use."""
        last_read, kept = tape.last_read(), set(results)
        free: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
        owner: dict[int, tuple[bool, int]] = {}
        for position, (function, operands, value) in enumerate(tape.calls):
            inputs = [self.home[x] if isinstance(x, Value) else self._new(content=x) for x in operands]
            if value.scalar:
                self.scalar_calls.append((function, inputs, self._new(value)))
                continue
            dead = {
                self.home[x]
                for x in operands
                if isinstance(x, Value) and last_read[x] == position and x not in kept and self.home[x] in owner
            }
            self._release(dead, owner, free)
            if value not in self.home:
                condition = is_condition(function)
                if not free[condition]:
                    number = sum(kind == condition for _, kind, _ in self.scratch)
                    self.scratch.append((self._new(), condition, number))
                    free[condition].append((self.scratch[-1][0], number))
                register, number = free[condition].pop()
                self.home[value], owner[register] = register, (condition, number)
            self.calls.append((function, inputs, self.home[value]))

    def _move_results(self, results: Sequence[Value], consumed: Sequence[int]) -> None:
        """What is not in its destination goes there; arguments that others go over are set aside first."""
        moves = [(self.home[value], out) for value, out in zip(results, self.outputs, strict=True)]
        for i, (source, out) in enumerate(moves):
            if source in consumed and (out, source) not in zip(self.outputs, consumed, strict=False):
                self.scratch.append((self._new(), False, sum(not condition for _, condition, _ in self.scratch)))
                moves[i] = self.scratch[-1][0], out
                self.calls.append((_move, [source], moves[i][0]))
        self.calls += [(_move, [source], out) for source, out in moves if source != out]

    @staticmethod
    def _release(dead: set[int], owner: dict[int, tuple[bool, int]], free: dict[bool, list[tuple[int, int]]]) -> None:
        for register in sorted(dead):
            condition, number = owner.pop(register)
            free[condition].append((register, number))

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array], rates: Sequence[float] = ()) -> None:
        """Run on contiguous vectors of one length; `outs[k]` may be the very array that result k consumes."""
        registers = self.registers.copy()  # a copy, so that threads do not meet
        for register, rate in zip(self.rates, rates, strict=True):
            registers[register] = rate
        for function, inputs, out in self.scalar_calls:
            registers[out] = function(*[registers[i] for i in inputs])
        size, dtype = arrays[0].size, arrays[0].dtype
        vectors = list(zip([*self.inputs, *self.outputs], [*arrays, *outs], strict=True))
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            blocks = {id(x): x[start:stop] for _, x in vectors}
            for register, x in vectors:
                registers[register] = blocks[id(x)]
            for register, condition, number in self.scratch:
                registers[register] = _scratch.block(np.bool_ if condition else dtype, number)[: stop - start]
            for function, inputs, out in self.calls:
                function(*[registers[i] for i in inputs], out=registers[out])


def _move(source: Array, out: Array) -> None:
    if out is not source:
        np.copyto(out, source)


@cache
def program(definition: Callable[..., Any], arrays: int, rates: int = 0, consumes: tuple[int, ...] = (0,)) -> Program:
    """The program of a definition, written down once. Result k may overwrite argument `consumes[k]`."""
    return Program(definition, arrays, rates, consumes)

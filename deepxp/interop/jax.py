"""JAX: the step over memory becomes a function from its values to its values, which JAX compiles once.

JAX's arrays cannot be written, so memory is made of Cells. A training step is static: it touches the same memory in the
same order every time. So it is run once to see which memory that is, and then traced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deepxp.errors import DeviceError
from deepxp.interop.cells import Cell, held, reading
from deepxp.interop.library import READ_LOSS_EVERY, LibraryBackend
from deepxp.namespaces import asnumpy
from deepxp.ops.random import dropout_bits
from deepxp.ops.typing import Array


@dataclass(frozen=True)
class JaxBackend(LibraryBackend):
    """JAX on one of its devices, with 64-bit numbers inside, whatever JAX's own setting is."""

    @classmethod
    def named(cls, name: str, device: str) -> Self:
        """The backend of a device: of JAX's default, or of 'PLATFORM' or 'PLATFORM:N'.

        Raises DeviceError where JAX has no such device.
        """
        platform, _, index = device.partition(":")
        try:
            found = jax.devices(platform or None)[int(index or 0)]
        except (RuntimeError, IndexError, ValueError) as error:
            there = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
            reason = str(error).partition("\n")[0]
            raise DeviceError(f"{name} is not usable here: {reason}. To fix it: JAX has {there}") from None
        every = 1 if found.platform == "cpu" else READ_LOSS_EVERY
        return cls(name, reading(jnp), device=found, read_loss_every=every, arrays=jax.Array)

    def owns(self, x: Any) -> bool:
        return super().owns(x.value if isinstance(x, Cell) else x)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Cell:
        return self.zeros(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Cell:
        with self.active():
            return Cell(jnp, jnp.zeros(shape, dtype, device=self.device))

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        with self.active():
            return super().asarray(held(x), dtype)

    def asnumpy(self, x: Array) -> Array:
        return asnumpy(held(x))

    def write(self, out: Cell, x: Any) -> None:
        with self.active():  # a copy: who wrote x may write it again while JAX still computes
            out[...] = jnp.array(held(x) if self.owns(x) else self.asarray(x), dtype=out.dtype, copy=True)

    def copied(self, x: Any) -> Any:
        # what was written once stays: only memory that will be written needs a Cell of its own
        return Cell(jnp, x.value) if isinstance(x, Cell) and x.shape else held(x)

    def array(self, memory: Any) -> Array:
        return held(memory)

    def numbers(self, count: int, dtype: str) -> tuple[Cell, Cell]:
        numbers = Cell(np, np.zeros(count, dtype))
        return numbers, numbers

    def record(self, step: Callable[[Any], None], X: Cell) -> Callable[..., None]:
        return Recorded(self, step, X)

    def synchronize(self) -> None:
        jax.block_until_ready(jax.live_arrays())

    @contextmanager
    def here(self) -> Iterator[None]:
        with jax.enable_x64(True), jax.default_device(self.device):
            yield

    active = here


class Recorded:
    """A step as a compiled function from what its memory holds before to what it holds after."""

    def __init__(self, backend: JaxBackend, step: Callable[[Any], None], X: Cell) -> None:
        seen = _Seen()
        step(seen)
        cells, drawn = list(seen.roots.values()), _Drawn(backend)
        self._backend, self._X, self._bits, self._cells = backend, X, seen.bits, cells
        self._changed: list[Cell] = []

        def run(values: list[Array]) -> list[Array]:
            before = [cell.value for cell in cells]
            try:
                for cell, value in zip(cells, values, strict=True):
                    cell.value = value
                step(drawn)
                after = [cell.value for cell in cells]
            finally:  # what stands in the memory is not what a trace leaves there
                for cell, value in zip(cells, before, strict=True):
                    cell.value = value
            changed = [i for i, value in enumerate(values) if after[i] is not value]
            self._changed = [cells[i] for i in changed]
            return [after[i] for i in changed]

        self._run = jax.jit(run)

    def __call__(self, table: Array | None = None) -> None:
        """The step, on X or on another table of its shape."""
        with self._backend.active():
            if table is not None:
                self._X[...] = table
            for draw in self._bits:
                draw(self._backend)
            after = self._run([cell.value for cell in self._cells])
            for cell, value in zip(self._changed, after, strict=True):
                cell.value = value


class _Seen:
    """A backend that computes nothing, and notes the memory that a step touches and the random bits that it draws."""

    def __init__(self) -> None:
        self.roots: dict[int, Cell] = {}
        self.bits: list[Callable[[Any], None]] = []

    def __getitem__(self, op: Callable[..., Any]) -> Callable[..., None]:
        return partial(self._note, op)

    def _note(self, op: Callable[..., Any], *arguments: Any) -> None:
        if op is dropout_bits:
            self.bits.append(lambda backend: backend[op](*arguments))
        self._see(arguments)

    def _see(self, x: Any) -> None:
        if isinstance(x, Cell):
            self.roots[id(x.root)] = x.root
        elif isinstance(x, list | tuple):
            for part in x:
                self._see(part)


@dataclass(frozen=True)
class _Drawn:
    """The backend inside a trace, where the random bits are there already."""

    backend: JaxBackend

    def __getitem__(self, op: Callable[..., Any]) -> Callable[..., Any]:
        return (lambda *arguments: None) if op is dropout_bits else self.backend[op]

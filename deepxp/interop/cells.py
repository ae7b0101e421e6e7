"""Memory that can be written, over arrays that cannot: the `out[...] = ` of a definition, where arrays are immutable.

A Cell holds an array, and `cell[...] = x` puts another one in its place. A part of it, a reshape or its transpose is a
Cell, too: it reads the whole and writes into it, as a view does. `reading(xp)` is xp with functions that take Cells.
"""

import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from deepxp.ops.typing import Array, Namespace


class Cell:
    """Memory for one array of the namespace xp; `value` is what it holds."""

    __array_ufunc__ = None  # NumPy leaves operators to the Cell
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, xp: Namespace, value: Array) -> None:
        self.xp, self.value = xp, value
        self.shape, self.dtype = tuple(value.shape), value.dtype

    @property
    def root(self) -> "Cell":
        """The memory that this is a part of."""
        return self

    def __repr__(self) -> str:
        return f"Cell({self.value!r})"

    def __getitem__(self, key: Any) -> "Cell":
        return Part(self, lambda whole: whole[key], lambda whole, x: whole.at[key].set(x))

    def __setitem__(self, key: Any, x: Any) -> None:
        whole = key is Ellipsis or (isinstance(key, slice) and key == slice(None))
        part, array = self if whole else self[key], held(x)
        if isinstance(array, np.ndarray | np.generic) or not hasattr(array, "dtype"):
            array = self.xp.asarray(array, dtype=self.dtype)
        elif array.dtype != self.dtype:
            array = self.xp.astype(array, self.dtype)  # not asarray, behind which torch loses a gradient
        part.value = array if tuple(array.shape) == part.shape else self.xp.broadcast_to(array, part.shape)

    def reshape(self, shape: tuple[int, ...]) -> "Cell":
        """The same memory in another shape."""
        xp, own = self.xp, self.shape
        return Part(self, lambda whole: xp.reshape(whole, shape), lambda whole, x: xp.reshape(x, own))

    @property
    def T(self) -> "Cell":
        return Part(self, lambda whole: whole.T, lambda whole, x: x.T)

    def __iter__(self) -> Iterator[Array]:
        value = self.value
        return (value[i] for i in range(len(self)))

    def __len__(self) -> int:
        return int(self.shape[0])

    # What else an array can do, the one that is held does: its methods, and the protocols that other libraries ask for.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype) if copy else np.asarray(self.value, dtype=dtype)

    def __jax_array__(self) -> Array:
        return self.value

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return reading(self.xp)

    def __dlpack__(self, **options: Any) -> Any:
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        return self.value.__dlpack_device__()  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __neg__(self) -> Array:
        return -self.value

    def __abs__(self) -> Array:
        return abs(self.value)


class Part(Cell):
    """A view: it reads the whole, and what is written into it is written into the whole."""

    def __init__(self, whole: Cell, read: Callable[[Array], Array], write: Callable[[Array, Array], Array]) -> None:
        self._whole, self._read, self._write = whole, read, write
        self.xp, seen = whole.xp, self.value
        self.shape, self.dtype = tuple(seen.shape), seen.dtype

    @property
    def root(self) -> Cell:
        return self._whole.root

    @property
    def value(self) -> Array:
        """What it shows of the whole now."""
        return self._read(self._whole.value)

    @value.setter
    def value(self, x: Array) -> None:
        self._whole.value = self._write(self._whole.value, x)


def held(x: Any) -> Any:
    """x, with an array in place of every Cell, also of those in a list or tuple."""
    if isinstance(x, Cell):
        return x.value
    return type(x)(map(held, x)) if type(x) in (list, tuple) else x


def _operators() -> None:
    def define(name: str) -> None:
        function = getattr(operator, name)

        def forward(a: Cell, b: Any) -> Array:
            return function(a.value, held(b))

        def reflected(a: Cell, b: Any) -> Array:
            return function(b, a.value)

        def in_place(a: Cell, b: Any) -> Cell:
            a[...] = function(a.value, held(b))
            return a

        setattr(Cell, f"__{name.strip('_')}__", forward)
        if name not in COMPARISONS:
            setattr(Cell, f"__r{name.strip('_')}__", reflected)
            setattr(Cell, f"__i{name.strip('_')}__", in_place)

    for name in (*COMPARISONS, *ARITHMETIC):
        define(name)


COMPARISONS = ("lt", "le", "eq", "ne", "ge", "gt")
ARITHMETIC = ("add", "sub", "mul", "truediv", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift")
_operators()


class Reading:
    """A namespace whose functions take Cells, too."""

    def __init__(self, xp: Namespace) -> None:
        self._xp, self.__name__ = xp, xp.__name__

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The same memory in another shape, where x is memory."""
        return x.reshape(shape) if isinstance(x, Cell) else self._xp.reshape(x, shape)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._xp, name)
        if isinstance(attribute, type) or not callable(attribute):
            return attribute

        def function(*arguments: Any, **named: Any) -> Any:
            return attribute(*map(held, arguments), **{key: held(x) for key, x in named.items()})

        setattr(self, name, function)  # found at once the next time
        return function


@cache
def reading(xp: Namespace) -> Reading:
    """xp with functions that take Cells; the same for the same xp."""
    return Reading(xp)

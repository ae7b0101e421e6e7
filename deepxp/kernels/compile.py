"""From a definition to a compiled loop body: its constants at the data's precision, its calls compiled, too.

Loops around definitions are kept on disk by Numba, under a key made of what the definition says; a second process
loads them instead of compiling.
"""

import dis
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache

# NaN and infinity must reach the result, so neither may be assumed away; a sum may be taken in any order
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
# ... and is always a part of what calls it: compiled on its own and again within its caller it would be two functions
# with two orders, and which of them runs depends on what was compiled and what was loaded
SUM: dict[str, Any] = OPTIONS | {"fastmath": {"contract", "nsz", "arcp", "reassoc"}, "forceinline": True}


PRECISIONS = {"f": "float32", "d": "float64"}


def precision(x: Any) -> str:
    """The name of an array's dtype; NumPy takes 2 us to find it."""
    return PRECISIONS[x.dtype.char]


@cache
def body(definition: Callable[..., Any], dtype: str) -> Any:
    """The definition compiled for numbers of one precision; to be called as body(scalars, ...) in compiled code.

    Numba takes a float constant for a double and would do all arithmetic in double; so constants are given the data's
    type first, and so are those of the definitions that this one calls.
    """
    real = np.dtype(dtype).type
    function: Any = definition
    code: CodeType = function.__code__
    constants = tuple(real(c) if type(c) is float else c for c in code.co_consts)
    called = {name: body(value, dtype) for name, value in _globals(function).items() if isinstance(value, FunctionType)}
    closure = function.__closure__ and tuple(
        type(cell)(_constant(cell.cell_contents, real, dtype)) for cell in function.__closure__
    )
    # machine code on disk names the module it was made in, and another process need not have the user's
    names = function.__globals__ | called | {"__name__": __name__}
    typed = FunctionType(code.replace(co_consts=constants), names, function.__name__, None, closure)
    typed.__qualname__ = f"{definition.__qualname__}_{fingerprint(definition)}"
    return njit(error_model="numpy", fastmath=OPTIONS["fastmath"])(typed)


def _constant(value: Any, real: Any, dtype: str) -> Any:
    if isinstance(value, FunctionType):
        return body(value, dtype)
    return real(value) if isinstance(value, float) else value


def _globals(function: Any) -> dict[str, Any]:
    """What a function refers to outside itself; `tanh` in `xp.tanh` is a name of xp, not of its module."""
    loads = {line.argval for line in dis.get_instructions(function) if line.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return {name: function.__globals__[name] for name in sorted(loads & function.__globals__.keys())}


def kept(loop: Any, *key: Any, options: dict[str, Any] = OPTIONS) -> Any:
    """A loop compiled, and kept on disk under `key`: its definitions and dtype, which its own text does not show."""
    return cached(njit(**options), loop, key)


def cached(compiler: Callable[..., Any], function: Any, key: tuple[Any, ...], **options: Any) -> Any:
    """What the compiler makes of a function, with its machine code kept on disk."""
    # Numba names machine code by the function's name and a counter that starts anew in every process: two loops of
    # one name, one compiled now and one from the disk, would be taken for each other
    function.__qualname__ += "_" + fingerprint(tuple(fingerprint(part) for part in key))
    compiled = compiler(function, **options)
    if all(map(lasting, key)):
        with suppress(RuntimeError):  # no folder to write to: then every process compiles
            compiled._cache = _Cache(function, function.__qualname__)
    return compiled


def lasting(part: Any) -> bool:
    """Is the fingerprint all that the machine code depends on? A constant of another module, for one, is not in it."""
    if not isinstance(part, FunctionType):
        return isinstance(part, str | int | float)
    cells = [cell.cell_contents for cell in part.__closure__ or ()]
    nested = any(isinstance(c, CodeType) for c in part.__code__.co_consts)
    return not nested and all(map(lasting, [*cells, *_globals(part).values()]))


class _Cache(FunctionCache):  # type: ignore[misc]  # Numba has no types
    """Numba's cache with a key that is the same in every process; Numba's own holds the addresses of a closure."""

    def __init__(self, loop: Any, key: str) -> None:
        super().__init__(loop)
        self.key = key

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), _sources(), self.key


@cache
def _sources() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))  # loops call one another across these files
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def fingerprint(part: Any) -> str:
    """What a definition says, and what the definitions and numbers it refers to say, as a hash."""
    if isinstance(part, FunctionType):
        code = part.__code__
        cells = [fingerprint(cell.cell_contents) for cell in part.__closure__ or ()]
        named = [fingerprint(value) for value in _globals(part).values() if not isinstance(value, ModuleType)]
        said = part.__doc__ is not None  # a docstring, which changes nothing, is the first constant
        constants = repr(code.co_consts[said:])
        part = (code.co_code, constants, code.co_names, cells, named)
    return hashlib.sha256(repr(part).encode()).hexdigest()[:16]

"""CUDA source, for one precision: the files beside this one, with the definitions' own statements where they belong.

Nothing here needs CuPy, a compiler or a device.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from deepxp.errors import ConfigError
from deepxp.kernels import expressions
from deepxp.kernels.expressions import SUM, C, Node, nodes, statements, symbols
from deepxp.ops.updates import Rule

REAL = {"float32": "float", "float64": "double"}
TYPES = REAL | {
    **{"bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long"},
    **{"uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned", "uint64": "unsigned long long"},
}
"""What a table may hold, in the words of C."""


@cache
def _text(file: str) -> str:
    return files("deepxp.kernels").joinpath(f"{file}.cu").read_text(encoding="utf-8")


@cache
def plain(file: str, dtype: str) -> str:
    """A file of hand-written kernels."""
    before = _text("float16") + "\n" if file == "rounding" else ""
    return f"typedef {REAL[dtype]} T;\n\n{_text('prelude')}\n{before}{_text(file)}"


@cache
def gather(table: str, rows: str, out: str) -> str:
    """gather.cu for a table, row numbers and a batch of these types; a batch may be of float16."""
    known = TYPES | {"float16": "Half"}
    types = "".join(f"typedef {known[x]} {name};\n" for x, name in ((table, "From"), (rows, "Row"), (out, "To")))
    return f"typedef float T;\n\n{_text('prelude')}\n{_text('float16')}\n{types}\n{_text('gather')}"


@cache
def activation(forward: Callable[..., Any], backward: Callable[..., Any], dtype: str) -> str:
    """dense.cu around g and g': the kernels bias_activation, activation_backward and activation_backward_parts."""
    z, da, kept = symbols("z", "da", "kept")
    functions = [
        _function("T forward(T z)", forward(expressions, z)),
        _function("T backward(T da, T kept)", backward(expressions, da, kept)),
    ]
    return f"typedef {REAL[dtype]} T;\n\n{_text('prelude')}\n" + "\n".join(functions) + "\n" + _text("dense")


def _function(head: str, value: Any) -> str:
    lines, (name,) = statements([value])
    return f"static __device__ __forceinline__ {head} {{\n" + _indented([*lines, f"return {name};"], 1) + "}\n"


def _indented(lines: Sequence[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


@cache
def update(rule: Rule, states: int, rates: int, dtype: str, *, live: bool, gated: bool = False) -> str:
    """The kernel `elementwise(size, x0, x1, ..., rates)`: x0 is theta, x1 its gradient, the rest its state.

    Live rates are one pointer, read when the kernel runs; others are numbers in the launch. Of a gated kernel the last
    parameter is a flag: where it is 0, nothing is read or written.
    """
    x = symbols(*(f"x{i}" for i in range(2 + states)))
    names = [f"rates[{i}]" if live else f"rate{i}" for i in range(rates)]
    changed = ("x0", *(f"x{2 + i}" for i in range(states)))
    outputs = dict(zip(changed, rule(expressions, *x, *symbols(*names)), strict=True))
    parameters = ("const T *__restrict__ rates",) if live else tuple(f"T {name}" for name in names)
    gate = ("const T *gate",) if gated else ()
    return _elementwise({f"x{i}": "T" for i in range(2 + states)}, outputs, (*parameters, *gate), dtype)


@cache
def rates(of: Callable[..., Any], dtype: str) -> str:
    """The kernel `rates(lr, t, out)` of the rates of an optimizer, computed in double."""
    try:
        lines, names = statements(of(*symbols("lr", "t")))
    except TypeError as error:
        raise ConfigError(
            f"float16 counts the updates on the GPU, where the rates of {of.__qualname__} cannot be computed "
            f"({error}); write them with + - * / and **, or take another precision"
        ) from None
    lines += [f"out[{i}] = ({REAL[dtype]}){name};" for i, name in enumerate(names)]
    return f"""typedef double T;

extern "C" __global__ void rates(const T *lr_, const {REAL[dtype]} *t_, {REAL[dtype]} *out) {{
    const T lr = *lr_, t = *t_;
{_indented(lines, 1)}}}
"""


@cache
def written(op: Callable[..., Any], arrays: tuple[tuple[str, str], ...], numbers: tuple[str, ...], dtype: str) -> str:
    """The kernel `elementwise(size, arrays..., numbers...)` of an op that fills one of its arrays, `out[...] = ...`.

    `arrays` are (name, C type) in the order of the op's parameters; `numbers` are the op's other parameters.
    """
    given = dict(zip([name for name, _ in arrays] + list(numbers), symbols(*dict(arrays), *numbers), strict=True))
    before = {name: x.node for name, x in given.items()}
    op(expressions, **given)
    outputs = {name: x for name, x in given.items() if x.node is not before[name]}
    return _elementwise(dict(arrays), outputs, tuple(f"T {name}" for name in numbers), dtype)


def _elementwise(arrays: Mapping[str, str], outputs: Mapping[str, C], parameters: Sequence[str], dtype: str) -> str:
    read = {node.form for node in nodes(outputs.values())} & arrays.keys()
    lines, names = statements(outputs.values())

    def loop(indent: int, place: str) -> str:
        body = [f"const {arrays[x]} {x} = {place.format(x)};" for x in arrays if x in read]
        body += lines + [f"{place.format(x)} = {name};" for x, name in zip(outputs, names, strict=True)]
        return _indented(body, indent)

    pointers = [f"{'' if x in outputs else 'const '}{kind} *{x}_" for x, kind in arrays.items()]
    packs = [f"Pack<{kind}> {x}s{f' = load({x}_, pack)' if x in read else ''};" for x, kind in arrays.items()]
    return f"""typedef {REAL[dtype]} T;

{_text("prelude")}
extern "C" __global__ void elementwise(Index size, {", ".join([*pointers, *parameters])}) {{
{_indented(["if (!(*gate > (T)0)) return;"] if "const T *gate" in parameters else [], 1)}\
    Index done = 0;
    if (aligned({", ".join(f"{x}_" for x in arrays)})) {{
        done = size / N * N;
        for (Index pack = thread_index(); pack < size / N; pack += thread_count()) {{
{_indented(packs, 3)}#pragma unroll
            for (int i = 0; i < N; ++i) {{
{loop(4, "{}s.v[i]")}            }}
{_indented([f"store({x}_, pack, {x}s);" for x in outputs], 3)}        }}
    }}
    for (Index k = done + thread_index(); k < size; k += thread_count()) {{
{loop(2, "{}_[k]")}    }}
}}
"""


@cache
def columns(op: Callable[..., Any], matrices: tuple[str, ...], vectors: tuple[str, ...], dtype: str) -> str:
    """The kernel `columns(n, m, ...)` of an op on matrices (n, m) and vectors (m,), which it broadcasts down or fills
    with sums over axis 0. Each matrix is given as a pointer and its two strides, in numbers.

    blockDim is (columns, rows); gridDim.y is 1 where a vector is filled.
    """
    order = op.__code__.co_varnames[1 : op.__code__.co_argcount]
    given = dict(zip(order, symbols(*order), strict=True))
    before = {name: x.node for name, x in given.items()}
    op(expressions, **given)
    filled = {name: x for name, x in given.items() if x.node is not before[name]}
    by_row = {name: x for name, x in filled.items() if name in matrices}
    by_column = {name: x for name, x in filled.items() if name in vectors}
    needed = nodes(filled.values())
    sums = [node for node in needed if node.kind == SUM]
    read = {node.form for node in needed}

    inner, names = statements([*by_row.values(), *(C(node.parts[0]) for node in sums)])
    row = [f"const T {x} = {x}_[i * {x}_row + j * {x}_next];" for x in matrices if x in read] + inner
    row += [f"{x}_[i * {x}_row + j * {x}_next] = {name};" for x, name in zip(by_row, names, strict=False)]
    row += [f"sum{k} += {name};" for k, name in enumerate(names[len(by_row) :])]
    known: list[tuple[Node, str]] = [(node, f"sum{k}") for k, node in enumerate(sums)]
    last, names = statements(by_column.values(), known)
    last += [f"{x}_[j] = {name};" for x, name in zip(by_column, names, strict=True)]

    def pointer(x: str) -> str:
        return f"{'' if x in filled else 'const '}T *{x}_"

    parameters = [f"{pointer(x)}, Index {x}_row, Index {x}_next" if x in matrices else pointer(x) for x in order]
    total = [f"sum{k} = sum_of_column(sum{k}, shared);" for k in range(len(sums))] or ["__syncthreads();"]
    return f"""typedef {REAL[dtype]} T;

{_text("prelude")}
extern "C" __global__ __launch_bounds__(1024) void columns(Index n, Index m, {", ".join(parameters)}) {{
    const Index j = thread_index();
{_indented(["__shared__ T shared[1024];"] if sums else [], 1)}\
{_indented([f"T sum{k} = 0;" for k in range(len(sums))], 1)}\
{_indented([f"const T {x} = j < m ? {x}_[j] : (T)0;" for x in vectors if x in read], 1)}\
    if (j < m)
        for (Index i = (Index)blockIdx.y * blockDim.y + threadIdx.y; i < n; i += (Index)gridDim.y * blockDim.y) {{
{_indented(row, 3)}        }}
{_indented(total, 1)}\
    if (j < m && threadIdx.y == 0 && blockIdx.y == 0) {{
{_indented(last, 2)}    }}
}}
"""

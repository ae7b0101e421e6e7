"""Every kernel that a launch may ask for is compiled for real devices, by nvcc or NVRTC; no driver is needed for that.

The sources are not listed here: the launches of `kernels.cupy` are made on the test double, with the cases that every
kernel module is held against, and what they ask to be compiled is written down.
"""

import importlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from cupy_double import install, raw
from test_cuda_kernels import NAMES, lion, on_device, swish, swish_backward
from test_kernels import Numbers, cases, copied

from deepxp.kernels import cuda
from deepxp.kernels import cupy as kernels
from deepxp.ops import activations, updates
from deepxp.ops.activations import Activation

ARCHITECTURES = (80, 90, 100)
OPTIONS = ("-std=c++17", "-ftz=true")  # CuPy's


def asked_for() -> list[str]:
    """The sources of all kernels, in both precisions, with an activation and a rule of a user's."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        xp = importlib.import_module("cupy")

        class Noted:
            def __init__(self, code):
                found[code], self.code = None, code

            def get_function(self, name):
                assert name in raw.kernel_names(self.code)
                return lambda grid, block, arguments: None

        patch.setattr(xp, "RawModule", Noted)
        for dtype in (np.float32, np.float64):
            x = Numbers(dtype)
            for name in NAMES:
                for shape in ((1, 1), (2, 20_000)) if name == "activation_backward" else ((2, 3),):
                    for call in cases(name, x, *shape):
                        getattr(kernels, name)(xp, *on_device(xp, copied(call)).values())
                if name == "update" and dtype is np.float32:
                    kernels.to_float16(xp, xp.asarray(x(9)), xp.zeros((9,), dtype=xp.float16))
            own = Activation("swish", swish, swish_backward)
            one = xp.asarray(x(1, 1))
            kernels.activation_backward(xp, own, one, one, one, one)
            kernels.update(xp, lion, one, one, (one,), xp.asarray(x(2)))
            kernels.update(xp, updates.adam, one, one, (one, one), xp.asarray(x(5)))
    return list(found)


def one_unit(sources):
    """All kernels in one translation unit, each source in a namespace of its own."""
    units = []
    for i, source in enumerate(sources):
        text = re.sub(r'extern "C" (__global__ (?:__launch_bounds__\(\d+\) )?void \w+)\(', rf"\1_{i}(", source)
        units.append(f"namespace source{i} {{\n{text}\n}}\n")
    return "".join(units)


def compiled(source, folder, *options):
    path, out = folder / "kernels.cu", folder / "kernels.out"
    path.write_text(source, encoding="utf-8")
    command = [
        "nvcc",
        *OPTIONS,
        "--Werror",
        "all-warnings",
        "-diag-suppress",
        "177",
        *options,
        "-o",
        str(out),
        str(path),
    ]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-4000:]
    (folder / "said").write_text(made.stderr, encoding="utf-8")
    return out


def spilled(said):
    """The kernels whose numbers do not fit into the registers of a thread, by what ptxas says of each."""
    found = re.findall(r"Compiling entry function '(\w+)' for '(sm_\d+)'(.*?)Used", said, re.DOTALL)
    assert found
    return [f"{name} {device}" for name, device, rest in found if not re.search(" 0 bytes spill stores", rest)]


def nvrtc():
    """NVRTC by way of CuPy, or None."""
    try:
        module = importlib.import_module("cupy.cuda").nvrtc
        module.getVersion()
    except (ImportError, RuntimeError):
        return None
    return module


@pytest.fixture
def nvcc():
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")


def test_every_kernel_compiles_for_the_devices_of_three_generations(tmp_path):
    sources = asked_for()
    texts = {cuda.plain("reductions", "float32"), cuda.plain("softmax", "float64"), cuda.plain("random", "float32")}
    texts |= {cuda.plain("rounding", "float32")}
    assert texts <= set(sources) and len(sources) > 50
    if shutil.which("nvcc"):
        # no source asks for which device it is compiled, so it is read once, and the assembler is run for each
        assert not any("__CUDA_ARCH__" in source for source in sources)
        codes = ",".join(f"sm_{a}" for a in ARCHITECTURES)
        targets = ("-gencode", f"arch=compute_{min(ARCHITECTURES)},code=[{codes}]", "--threads", "0", "-Xptxas", "-v")
        assert compiled(one_unit(sources), tmp_path, "-fatbin", *targets).stat().st_size > 100_000
        assert spilled((tmp_path / "said").read_text("utf-8")) == []
    elif compiler := nvrtc():
        for architecture in ARCHITECTURES:
            for source in sources:
                program = compiler.createProgram(source, "kernels.cu", [], [])
                compiler.compileProgram(program, (*OPTIONS, f"-arch=sm_{architecture}"))
    else:
        pytest.skip("neither nvcc nor NVRTC is installed")


def test_a_kernel_that_is_no_cuda_does_not_compile(nvcc, tmp_path):
    with pytest.raises(AssertionError, match="undefined"):
        compiled(cuda.plain("random", "float32").replace("__umul64hi", "mulhi"), tmp_path, "-ptx")


def ptx(source, folder):
    return compiled(source, folder, "-ptx", "-arch=compute_90").read_text(encoding="utf-8")


@pytest.mark.parametrize(("dtype", "access"), [("float32", "v4.f32"), ("float64", "v2.f64")])
def test_memory_is_read_and_written_16_bytes_at_a_time(nvcc, tmp_path, dtype, access):
    text = ptx(cuda.update(updates.adam, 2, 5, dtype, live=True), tmp_path)
    assert len(re.findall(rf"ld\.global\.{access}", text)) == 4  # theta, g, m, v
    assert len(re.findall(rf"st\.global\.{access}", text)) == 3  # theta, m, v


def test_what_is_kept_on_the_chip_is_read_once(nvcc, tmp_path):
    for dtype, count, kind in (("float32", 32, "f32"), ("float64", 6, "f64")):
        text = ptx(cuda.plain("softmax", dtype), tmp_path)
        kept = next(part for part in text.split(".visible .entry ") if part.startswith("softmax_kept("))
        assert len(re.findall(rf"ld\.global\.{kind}", kept)) == count == kernels.KEPT[4 if kind == "f32" else 8]


@pytest.mark.parametrize(
    ("table", "out", "read"),
    [("float32", "float32", "v4.f32"), ("uint8", "float32", "v4.u8"), ("float32", "float16", "v4.f32")],
)
def test_rows_are_gathered_16_bytes_at_a_time(nvcc, tmp_path, table, out, read):
    text = ptx(cuda.gather(table, "int64", out), tmp_path)
    assert re.search(rf"ld\.global\.{read}", text)
    assert re.search(r"st\.global\.v4\.[fu](32|16)", text)


def test_in_float32_nothing_is_computed_in_float64(nvcc, tmp_path):
    gelu = activations.ACTIVATIONS["gelu"]
    text = ptx(cuda.update(updates.adamw, 2, 6, "float32", live=False), tmp_path)
    assert ".f64" not in text and "fma.rn.ftz.f32" in text
    head, parts, tail = ptx(cuda.activation(gelu.forward, gelu.backward, "float32"), tmp_path).partition("_parts(")
    assert parts and ".f64" not in head.rpartition(".visible")[0]
    assert ".f64" in tail  # the sums of several blocks are

"""docs/export.md: its commands and examples run, and say what stands there."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from deepxp.cli import main

DOCUMENT = Path(__file__).parent.parent / "docs" / "export.md"
BLOCK = re.compile(r"^```(python|console|sh|)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(\.\d+)?(e-\d+)?")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's variables, on NumPy 2
    pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents are not beside these tests"),
]


def said_by(commands):
    """What `deepxp` prints for each line that begins with `$ deepxp`."""
    out = io.StringIO()
    for line in commands.splitlines():
        if line.startswith("$ "):
            print(line, file=out)
            with redirect_stdout(out):
                assert main(line.removeprefix("$ deepxp ").split()) == 0
    return out.getvalue()


def test_the_commands_and_examples_say_what_the_document_shows(tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime", "torch", "safetensors.torch"):
        pytest.importorskip(name, reason=f"{name}, of the extra interop, is not installed")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras", reason="keras, of the extra interop, is not installed")
    monkeypatch.chdir(tmp_path)
    names, printed, ran = {}, "", 0
    for language, text in BLOCK.findall(DOCUMENT.read_text("utf-8")):
        if language == "python":
            with redirect_stdout(io.StringIO()) as out:
                exec(text, names)
            printed, ran = out.getvalue(), ran + 1
        elif language == "console":
            assert NUMBER.sub("N", said_by(text)) == NUMBER.sub("N", text)
            ran += 1
        elif not language:  # what the Python before it printed
            assert printed == text
    assert ran == 10

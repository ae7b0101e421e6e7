"""The examples of docs/namespaces.md, run one after the other as a reader would."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

PAGE = Path(__file__).parent.parent / "docs" / "namespaces.md"


def test_the_examples_run(capsys):
    for name in ("torch", "jax", "array_api_compat"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 6
    names = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{PAGE.name}, example {number}", "exec"), names)
    assert "got a torch array of shape (3,) on cpu and a numpy array of shape (3,) on cpu" in capsys.readouterr().out
    assert names["losses"].keys() == {"cpu", "torch", "jax"}

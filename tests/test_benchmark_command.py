"""`deepxp bench`. Times are real here, so none is looked at."""

import json

import pytest
from cupy_double import install, uninstall

from deepxp.benchmark.results import FORMAT
from deepxp.benchmark.run import plan
from deepxp.cli import main

SMALL = ["bench", "--m", "4,2", "--n", "3", "--limit", "5", "--quick"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Without the search for the peak, which takes a large product."""
    monkeypatch.setattr("deepxp.benchmark.run.LARGEST", 0)


def test_text_json_and_html(capsys, tmp_path, monkeypatch):
    uninstall(monkeypatch)
    told, page = tmp_path / "bench.json", tmp_path / "bench.html"
    assert main([*SMALL, "--json", str(told), "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("m = 2, n = 3\n", "m = 4, n = 3\n", "cpu definitions", "There is no crossover to name: only cpu was"):
        assert text in out
    assert "CuPy is not installed" in out
    assert out.endswith(f"page        {page}\n")
    found = json.loads(told.read_text())
    assert found["format"] == FORMAT
    assert [cell["m"] for cell in found["cells"]] == sorted(cell["m"] for cell in found["cells"])
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_json_to_stdout_leaves_the_text_to_stderr(capsys, monkeypatch):
    uninstall(monkeypatch)
    assert main([*SMALL, "--device", "cpu", "--dtype", "float64", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["settings"]["dtype"] == "float64"
    assert "only cpu was measured, as asked for." in err


def test_both_devices(capsys, monkeypatch):
    install(monkeypatch)
    assert main([*SMALL, "--json", "-"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["crossovers"]
    assert not [cell["skipped"] for cell in found["cells"] if cell["skipped"]]
    assert "A training step is faster on gpu:0 than on cpu" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device", "gpu"], 1, "CuPy is not installed. To fix it: "),
        (["--device", "tpu"], 2, "device 'tpu' does not exist"),
        (["--m", "0"], 2, "--m must be sizes such as 256,128, got '0'"),
        (["--n", "none"], 2, "--n must be sizes such as 256,128, got 'none'"),
        (["--limit", "-1"], 2, "--limit must be a positive number, got '-1'"),
        (["--html", "nowhere/x.html"], 2, "nowhere/x.html: there is no folder"),
        (["--dtype", "float16"], 2, "float16"),
    ],
)
def test_what_is_refused(capsys, monkeypatch, arguments, code, said):
    uninstall(monkeypatch)
    assert main([*SMALL, *arguments]) == code
    assert said in capsys.readouterr().err


def test_the_plan():
    quick, whole = plan(quick=True), plan()
    for settings, seconds in ((quick, 15), (whole, 100)):
        assert settings.limit_seconds * len(settings.m) * len(settings.n) <= seconds
    assert (whole.m, whole.n) == ((32, 128, 512, 2048), (64, 256, 1024))
    assert plan(m=(8, 2, 8), limit=3.0).m == (2, 8)
    assert plan(m=(8, 2, 8), limit=3.0).limit_seconds == 3.0

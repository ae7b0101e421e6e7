"""The proof on a GPU: its parts are run apart, none can hold up the others, and what became of each is written down."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "gpu" / "prove.sh"
if not SCRIPT.exists():
    pytest.skip("bench/ is in the checkout and the sdist only", allow_module_level=True)

GPU = {"gpu": "NVIDIA Pretended", "driver": "580.1", "cupy": "14.2.0"}


@pytest.fixture
def prove(monkeypatch):
    before = set(sys.modules)
    for folder in (ROOT / "bench" / "gpu", ROOT / "bench"):
        monkeypatch.syspath_prepend(folder)
    path = list(sys.path)
    yield importlib.import_module("prove")
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(ROOT / "bench") in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def ran(prove, monkeypatch, tmp_path, capsys, parts, *arguments):
    """(exit status, what was printed, the JSON, the log) of a proof made of these parts, on a pretended GPU."""
    monkeypatch.setattr(prove, "probe", lambda: dict(GPU))
    monkeypatch.setattr(prove, "LEAST", 1)
    monkeypatch.setattr(prove, "parts", lambda given, folder: parts(folder) if callable(parts) else parts)
    status = prove.main(["--out", str(tmp_path / "out"), *arguments])
    (result,) = (tmp_path / "out").glob("*.json")
    return status, capsys.readouterr().out, json.loads(result.read_text()), result.with_suffix(".log").read_text()


def part(prove, name, code, limit=20, judge=lambda output: (True, output.strip()), missing=""):
    return prove.Part(name, limit, [sys.executable, "-c", code], judge, missing)


# where there is no GPU


def test_without_a_gpu_every_part_says_why_it_is_skipped_and_the_status_is_not_zero(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(SCRIPT), "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=100)
    assert done.returncode == 1, done.stderr
    table = done.stdout[done.stdout.rindex("| part") :]
    lines = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(lines) >= 6
    assert all(re.search(r"skipped *\| 0 s *\| no usable GPU", line) for line in lines)
    assert re.search(r"Nothing was proved: .* To fix it: ", table)
    (result,) = tmp_path.glob("proof-*.json")
    assert json.loads(result.read_text())["reason"] in table


def test_without_a_gpu_nothing_is_left_where_proofs_are_kept(prove, monkeypatch, tmp_path):
    monkeypatch.setattr(prove, "probe", lambda: {"reason": "There is none."})
    monkeypatch.setattr(prove, "RESULTS", tmp_path)
    assert prove.main([]) == 1
    assert list(tmp_path.iterdir()) == []


# where there is one


def test_one_part_that_fails_crashes_or_hangs_does_not_stop_the_rest(prove, monkeypatch, tmp_path, capsys):
    hangs = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); " \
            "print('so far', flush=True); time.sleep(60)"  # fmt: skip
    parts = [
        part(prove, "good", "print('all is well')"),
        part(prove, "bad", "print('wrong'); raise SystemExit(1)", judge=lambda output: (False, "one differs")),
        part(prove, "crashes", "import os; print('a last word', flush=True); os.abort()", judge=lambda output: 1 / 0),
        part(prove, "hangs", hangs, limit=2),
        part(prove, "lies", "raise SystemExit(3)", judge=lambda output: (True, "fine")),
        part(prove, "missing", "", missing="it is not installed"),
        part(prove, "last", "print('still run')"),
    ]
    started = time.monotonic()
    status, printed, result, log = ran(prove, monkeypatch, tmp_path, capsys, parts)
    assert status == 1
    assert time.monotonic() - started < 30
    became = {entry["name"]: (entry["status"], entry["told"]) for entry in result["parts"]}
    assert became == {
        "good": ("passed", "all is well"),
        "bad": ("failed", "one differs"),
        "crashes": ("failed", "status -6: a last word"),
        "hangs": ("timed out", "ended after 2 s"),
        "lies": ("failed", "fine"),
        "missing": ("skipped", "it is not installed"),
        "last": ("passed", "still run"),
    }
    assert printed.rstrip().splitlines()[-1].startswith("| last")
    assert "so far" in log and "a last word" in log
    assert result["machine"]["gpu"] == "NVIDIA Pretended" and result["machine"]["commit"] in printed
    assert {"versions", "driver", "date"} <= result["machine"].keys()


def test_where_all_passes_the_status_is_zero_and_the_file_is_named_by_the_device(prove, monkeypatch, tmp_path, capsys):
    good = part(prove, "good", f"print({str(ROOT)!r}, {sys.executable!r})")
    status, _, result, log = ran(prove, monkeypatch, tmp_path, capsys, [good], "--quick")
    assert status == 0
    assert result["quick"] is True and result["reason"] is None
    assert next((tmp_path / "out").glob("*.json")).name.startswith("proof-gpu-nvidia-pretended")
    for text in (json.dumps(result), log):
        assert str(ROOT) not in text and sys.prefix not in text  # no place of this machine


@pytest.mark.parametrize("status", ["failed", "timed out", "skipped", "unsupported"])
def test_one_part_is_enough_for_a_status_that_is_not_zero(prove, monkeypatch, tmp_path, capsys, status):
    # what nobody ran proves nothing, whether that was known before or turned out
    parts = {
        "unsupported": [part(prove, "found out", "raise SystemExit(1)", judge=lambda output: (None, "it cannot be"))],
        "failed": [part(prove, "good", "print(1)"), part(prove, "bad", "", judge=lambda output: (False, "no"))],
        "timed out": [part(prove, "good", "print(1)"), part(prove, "slow", "import time; time.sleep(60)", limit=1)],
        "skipped": [part(prove, "absent", "", missing="it is not there")],
    }
    found, _, result, _ = ran(prove, monkeypatch, tmp_path, capsys, parts[status])
    assert found == 1
    assert result["parts"][-1]["status"] == {"unsupported": "skipped"}.get(status, status)


HANGS = """
import signal, sys, time
sys.path.insert(0, {bench!r})
from harness.contender import Contender, start
signal.signal(signal.SIGTERM, {handler})
contender = {contender}
try:
    print(contender.process.pid, flush=True)
    contender.stop()
    time.sleep(60)
finally:
    contender.kill()
"""
SLEEPER = "Contender('sleeper', [sys.executable, '-c', 'import time; time.sleep(60)'], 1, 60, {})"
WORKER = "start('fake', 1, 60); contender.ask(do='build', task='step', threads=1, data='', device='cpu')"


def gone(pid):
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", ["it ends them itself", "it is killed"])
def test_a_part_at_its_limit_leaves_no_contender_behind(prove, monkeypatch, tmp_path, capsys, how):
    """A contender is stopped, and in a session of its own, so that no signal to the part's group reaches it."""
    monkeypatch.setattr(prove, "GRACE", 2)
    itself = how == "it ends them itself"
    handler, contender = ("lambda *_: sys.exit(1)", SLEEPER) if itself else ("signal.SIG_IGN", WORKER)
    code = HANGS.format(bench=str(ROOT / "bench"), handler=handler, contender=contender)
    for limit in (2, 8, 32):  # a busy machine may not even have started the contender by then
        folder = tmp_path / str(limit)
        folder.mkdir()
        _, _, result, log = ran(prove, monkeypatch, folder, capsys, [part(prove, "hangs", code, limit=limit)])
        assert result["parts"][0]["status"] == "timed out"
        if pids := re.findall(r"^(\d+)$", log, re.MULTILINE):
            break
    assert gone(int(pids[-1]))


def test_a_comparison_that_is_ended_ends_its_contenders_on_the_way_out(tmp_path):
    command = [sys.executable, str(ROOT / "bench" / "peers.py"), "--quick", "--contenders", "deepxp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=environment, text=True) as process:
        while "== steps" not in (line := process.stdout.readline()):
            assert line, "it ended too soon"
        process.terminate()
        assert process.wait(30) == 143  # SystemExit, which runs what is in `finally`; a signal would be -15


def test_the_time_for_all_of_it_is_kept(prove, monkeypatch, tmp_path, capsys):
    parts = [part(prove, "long", "import time; time.sleep(60)"), part(prove, "next", "print(1)")]
    _, _, result, _ = ran(prove, monkeypatch, tmp_path, capsys, parts, "--seconds", "2.5")
    assert [entry["status"] for entry in result["parts"]] == ["timed out", "skipped"]
    assert result["parts"][1]["told"] == "no time is left for it"


def test_no_part_and_all_parts_fit_into_the_time(prove, tmp_path):
    for quick in (False, True):
        given = prove.options(["--quick"] * quick)
        names = [part.name for part in prove.parts(given, tmp_path)]
        assert names[0] == "tests" and len(set(names)) == len(names)
        assert prove.SECONDS[quick] <= 480
    digits = [part.name for part in prove.parts(prove.options(["--only", "digits"]), tmp_path)]
    assert digits == ["training: digits", "training: digits in fp16"]


# what the parts say is judged


def test_the_tests_are_judged_by_their_own_report(prove, tmp_path):
    (tmp_path / "test_x.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('no')\n"
        "@pytest.mark.skipif(False, reason='')\ndef test_c(): assert COND\nCOND = True\n"
    )
    report = tmp_path / "report.xml"

    def judged():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "test_x.py"]
        subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
        return prove.counted(report)

    assert judged() == (True, "2 passed, 0 failed, 1 skipped")
    path = tmp_path / "test_x.py"
    path.write_text(path.read_text().replace("COND = True", "COND = False"))
    assert judged() == (False, "1 passed, 1 failed, 1 skipped: test_c")
    path.write_text("import pytest\ndef test_b(): pytest.skip('no GPU')\n")
    assert judged()[0] is False  # nothing but skipped tests proves nothing


def test_a_training_is_judged_by_its_accuracy_and_by_where_it_ran(prove, tmp_path):
    command = [sys.executable, "-m", "deepxp", "train", "--device", "cpu", "--epochs", "2", "--json", "--out", "run"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    passed, told = prove.trained(done.stdout + done.stderr, 0.1)
    assert not passed and "on cpu" in told and "accuracy 0." in told
    moved = done.stdout.replace('"device": "cpu"', '"device": "gpu:0"')
    assert prove.trained(moved, 0.1)[0]
    assert not prove.trained(moved, 0.9999)[0]


def test_the_sanitizer_is_judged_by_its_summary(prove):
    assert prove.sanitized("========= ERROR SUMMARY: 0 errors") == (True, "0 errors")
    assert prove.sanitized("========= ERROR SUMMARY: 12 errors") == (False, "12 errors")
    assert prove.sanitized("out of memory") == (False, "no summary was printed")
    assert prove.sanitized("Error: Device not supported") == (None, "compute-sanitizer does not know this device")


def test_comparisons_of_several_parts_become_one(prove):
    one = {"steps": [1], "table": ["a"], "skipped": [], "rounds": 3}
    two = {"steps": [2], "table": ["b"], "skipped": ["x"], "adam": {"ms": {}}}
    assert prove.merged([one, two]) == {
        "steps": [1, 2], "table": ["a", "b"], "skipped": ["x"], "rounds": 3, "adam": {"ms": {}},
    }  # fmt: skip
    assert prove.merged([]) is None


# what it runs


def collecting(*arguments, hidden=()):
    """A process that names every test for a GPU, as if what is hidden were not installed."""
    code = f"""
import sys
from importlib.machinery import PathFinder
class Few(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Few
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
    options = ["-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *options, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip


def collected(process):
    with process:
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out[-2000:]
    return {line.partition("::")[0] for line in out.splitlines() if "::" in line}


def test_every_test_that_needs_a_gpu_is_in_the_proof_and_needs_nothing_that_is_not_there(prove):
    """A machine with a GPU has NumPy, CuPy and pytest; what else the tests use may be missing."""
    missing = ("hypothesis", "array_api_strict", "numba", "sklearn", "sympy", "safetensors", "matplotlib", "scipy")
    processes = [collecting(), collecting(*prove.TESTS, hidden=missing)]  # at the same time
    everywhere, there = map(collected, processes)
    skipped_there = {"tests/test_estimators.py"}  # without scikit-learn
    assert everywhere == there | skipped_there
    assert skipped_there <= set(prove.TESTS)
    assert any(path.startswith("tests/gpu/") for path in everywhere)


# what is said of GPUs


def test_what_readme_and_docs_say_of_gpus_is_made_from_the_files_that_are_there(prove):
    performance = importlib.import_module("performance")
    proof = performance.results.latest("proof", "gpu")
    for page, block in ((performance.PAGE, "gpu"), (performance.README, "gpu-summary")):
        text = page.read_text()
        said = re.search(rf"<!-- made by bench/performance\.py: {block} -->\n\n(.*?)\n\n<!-- end -->", text, re.DOTALL)
        assert said is not None, page.name
        assert said[1] == performance.GPU_BLOCKS[block](proof), f"run: python bench/performance.py ({page.name})"
        if proof is None:
            assert "not measured yet" in said[1].lower()


def test_a_proof_becomes_text(prove, monkeypatch, tmp_path, capsys):
    performance = importlib.import_module("performance")

    def parts(folder):
        row = {"what": "step 1-2-3 @ 4", "against": "PyTorch eager", "must": None, "aim": 0.25, "measured": 0.5,
               "low": 0.4, "high": 0.6, "unit": "ratio", "at_least": False, "verdict": "aim missed"}  # fmt: skip
        left = {"where": "1-2-3 @ 4", "contender": "torch.compile", "reason": "no answer within 60 s"}
        result = {"schema": 1, "kind": "peers", "device": "gpu", "quick": True, "table": [row], "skipped": [left],
                  "machine": prove.machine.describe(1) | GPU}  # fmt: skip
        prove.results.write(folder / "peers-small.json", result)
        return [part(prove, "tests", "print('7 passed, 0 failed, 0 skipped')")]

    status, printed, proof, log = ran(prove, monkeypatch, tmp_path, capsys, parts)
    assert status == 0
    for text in (printed, log):
        assert "NOT MEASURED: torch.compile in 1-2-3 @ 4: no answer within 60 s" in text
    for text in (printed, performance.gpu_page(proof), performance.gpu_summary(proof)):
        assert "step 1-2-3 @ 4" in text and "aim missed" in text
        assert "NVIDIA Pretended" in text and "7 passed" in text

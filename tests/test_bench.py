"""The harness of the benchmarks: contenders in processes, agreement, tables, result files."""

import json
import math
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
if not BENCH.is_dir():
    pytest.skip("bench/ is in the checkout and the sdist only", allow_module_level=True)


@pytest.fixture(autouse=True)
def bench_on_the_path(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCH)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(BENCH) in sys.modules[name].__file__:
            del sys.modules[name]


@pytest.fixture
def started():
    """start(limit=...) -> a fake contender; all are ended after the test."""
    from harness import contender

    running = []

    def start(limit=20.0, name="fake"):
        running.append(contender.start(name, threads=1, limit=limit))
        return running[-1]

    yield start
    for process in running:
        process.kill()


def build(contender, **options):
    return contender.ask(do="build", task="step", threads=1, device="cpu", data="", **options)


# Contenders


def test_a_contender_builds_gives_values_and_times(started):
    contender = started()
    assert "numpy" in build(contender)["versions"]
    assert contender.ask(do="values", case="step", steps=2) == {"values": [2.0, 1.5]}
    assert 0.005 < contender.ask(do="time", case="step", steps=50)["seconds"] < 5


def test_what_a_library_prints_is_not_taken_for_an_answer(started):
    assert build(started(), behaviour="prints")["cases"] == ["products", "step"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fails", "RuntimeError: nothing works"),
        ("is missing", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("dies", "its process ended with status 3"),
    ],
)
def test_the_reason_why_a_contender_is_left_out(started, behaviour, reason):
    from harness.contender import ContenderError

    contender = started()
    with pytest.raises(ContenderError, match=reason):
        build(contender, behaviour=behaviour)
    assert contender.process.poll() is not None
    with pytest.raises(ContenderError, match=reason):
        contender.ask(do="time", case="step", steps=1)


def test_a_contender_that_hangs_is_ended_and_named_by_its_process(started):
    from harness.contender import ContenderError

    contender = started(limit=1.0)
    with pytest.raises(ContenderError, match=rf"no answer within 1 s; process {contender.process.pid} was ended"):
        build(contender, behaviour="hangs")
    assert contender.process.poll() is not None


def test_a_stopped_contender_waits_and_goes_on(started):
    contender = started()
    build(contender)
    contender.stop()
    state = Path(f"/proc/{contender.process.pid}/stat")
    if state.exists():
        deadline = time.monotonic() + 5
        while state.read_text().rpartition(")")[2].split()[0] != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state.read_text().rpartition(")")[2].split()[0] == "T"
    assert contender.ask(do="values", case="step", steps=1) == {"values": [2.0]}


# Rounds


def test_turns_time_everyone_in_every_round_and_drop_who_fails(started):
    from harness.rounds import Entry, take_turns

    slow, fast, dying = started(), started(), started()
    build(slow, seconds=0.004)
    build(fast, seconds=0.001)
    build(dying)
    dying.kill()
    dying.ended = "it died"
    dropped = {}
    entries = [Entry("slow", slow), Entry("fast", fast), Entry("dying", dying)]
    times = take_turns(entries, rounds=3, seconds=0.02, drop=dropped.__setitem__)
    assert dropped == {"dying": "it died"}
    assert {label: len(time.rounds) for label, time in times.items()} == {"slow": 3, "fast": 3}
    middle, low, high = times["slow"].over(times["fast"])
    assert 1.5 < middle < 6 and low <= middle <= high


def test_a_ratio_is_formed_within_a_round():
    from harness.rounds import Times

    assert Times((1.0, 10.0, 2.0)).over(Times((2.0, 20.0, 4.0))) == (0.5, 0.5, 0.5)


def test_calls_for_finds_how_many_calls_take_a_while():
    from harness.rounds import calls_for

    assert 90 <= calls_for(lambda calls: 0.001 * calls, 0.1) <= 110
    assert calls_for(lambda calls: 3.0 * calls, 0.1) == 1


# Agreement


def test_a_contender_that_computes_something_else_is_found():
    from harness.agreement import disagreeing

    losses = {"ours": [2.0, 1.5], "same": [2.00001, 1.5], "wrong": [2.0, 1.51], "nan": [2.0, math.nan], "short": [2.0]}
    found = disagreeing(losses, "ours")
    assert set(found) == {"wrong", "nan", "short"}
    assert found["wrong"] == "does not compute the same: losses 2, 1.51, not 2, 1.5"


def test_the_file_of_the_largest_net_stays_small(tmp_path):
    from nets import GPU_NETS, Net, write_task

    sizes = {net.name: 4 * net.batches * net.sizes[0] * net.m for net in GPU_NETS}
    assert max(sizes.values()) < 300e6
    assert {net.batches for net in GPU_NETS} == {2, 8}
    write_task(Net((6, 5), 7), path := tmp_path / "task.npz")
    with np.load(path) as file:
        assert file["X"].shape == (8, 7, 6) and file["y"].shape == (8, 7)
        assert (file["X"][0] == file["X"][4]).all()


def test_a_loss_is_read_before_the_next_call_writes_to_the_same_memory():
    from contenders import Case

    J = np.zeros(())

    def call():
        J[...] += 1.0
        return J

    assert Case(call).values(3) == [1.0, 2.0, 3.0]


def test_what_reads_numpy_batches_on_a_gpu_starts_from_numpy(monkeypatch, tmp_path):
    from contenders import CONTENDERS
    from cupy_double import install
    from nets import Net, write_task

    install(monkeypatch)
    path = tmp_path / "task.npz"
    write_task(Net((6, 5, 4), 7), path)
    cases = CONTENDERS["deepxp (GPU)"]("step", 1, {"data": str(path), "device": "gpu"})
    for case, from_numpy in (("read", True), ("step", False)):
        assert all(type(x) is np.ndarray for x in next(cases[case].batches)) == from_numpy
        assert np.isfinite(cases[case].values(3)).all()


def test_deepxp_agrees_with_a_step_written_out_in_float64(tmp_path):
    from contenders import CONTENDERS
    from harness.agreement import disagreement
    from nets import LR, Net, Start, write_task

    path = tmp_path / "task.npz"
    write_task(Net((6, 5, 4), 7), path)
    request = {"data": str(path), "device": "cpu"}
    losses = CONTENDERS["deepxp (NumPy alone)"]("step", 1, request)["step"].values(4)

    start = Start.read(str(path))
    theta = [array.astype(float) for pair in zip(start.W, start.b, strict=True) for array in pair]
    m, v, wanted = [0.0] * 4, [0.0] * 4, []
    for t, (X, y) in enumerate(zip(start.X[:4], start.y[:4], strict=True), start=1):
        W1, b1, W2, b2 = theta
        A = np.maximum(X @ W1.T + b1, 0)
        P = np.exp(A @ W2.T + b2)
        P /= P.sum(axis=1, keepdims=True)
        wanted.append(-np.log(P[np.arange(7), y]).mean())
        dZ2 = (P - np.eye(4)[y]) / 7
        dZ1 = dZ2 @ W2 * (A > 0)
        for i, g in enumerate((dZ1.T @ X, dZ1.sum(axis=0), dZ2.T @ A, dZ2.sum(axis=0))):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            theta[i] = theta[i] - LR * m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    assert disagreement([float(J) for J in losses], wanted) < 1e-5


def test_every_sample_occurs_with_different_labels_so_that_no_net_can_fit_them(tmp_path):
    from nets import Net, Start, write_task

    write_task(Net((3, 4, 5), 50), tmp_path / "task.npz")
    start = Start.read(str(tmp_path / "task.npz"))
    half = len(start.X) // 2
    np.testing.assert_array_equal(start.X[:half], start.X[half:])
    assert (start.y[:half] != start.y[half:]).mean() > 0.5


# Tables and result files


def test_the_table_is_aligned():
    from tables import table

    assert table(["op", "ms"], [["a", 1.0], ["softmax", 0.01234]]) == (
        "| op      |     ms |\n| ------- | -----: |\n| a       |   1.00 |\n| softmax | 0.0123 |"
    )


@pytest.mark.parametrize(
    ("x", "text"), [(0.0, "0"), (1.0, "1.00"), (0.8666, "0.867"), (123.4, "123"), (1234.5, "1234"), (1e-5, "1e-05")]
)
def test_numbers_have_three_digits(x, text):
    from tables import number

    assert number(x) == text


def test_verdicts_say_aim_must_or_missed():
    from sections.targets import row
    from tables import verdicts

    rows = [
        row("fast", "peer", (0.5, 0.4, 0.6), 0.9, 0.6),
        row("well", "peer", (0.8, 0.7, 0.9), 0.9, 0.6),
        row("slow", "peer", (1.2, 1.1, 1.3), 0.9, 0.6),
        row("wide", "copy", (0.7, 0.6, 0.8), 0.6, 0.9, at_least=True),
        row("narrow", "copy", (0.5, 0.4, 0.6), 0.6, 0.9, at_least=True),
    ]
    assert [row["verdict"] for row in rows] == ["aim", "must", "missed", "must", "missed"]
    assert ">= 0.6" in verdicts(rows) and "0.400 .. 0.600" in verdicts(rows)


def a_result(**changes):
    machine = {"cpu": "C", "cores": 2, "threads": 2, "versions": {}, "commit": "abc", "date": "2026-01-01"}
    return {
        "schema": 1,
        "kind": "suite",
        "device": "cpu",
        "quick": False,
        "machine": machine,
        "benchmarks": [],
    } | changes


def test_a_result_file_is_read_back_and_the_newest_is_found(tmp_path):
    from harness import results

    entry = {"name": "a", "table": "t, float32", "row": "cpu, NumPy", "median": 1e-3}
    results.write(tmp_path / "suite-cpu-x.json", a_result(benchmarks=[entry]))
    newer = a_result(quick=True)
    results.write(tmp_path / "suite-cpu-y.json", newer)
    assert results.latest("suite", "cpu", tmp_path)["benchmarks"] == [entry]
    assert results.latest("suite", "gpu", tmp_path) is None


@pytest.mark.parametrize(
    ("change", "said"), [({"machine": {}}, "cpu"), ({"quick": "no"}, "quick"), ({"schema": 2}, "schema 2")]
)
def test_a_result_that_cannot_be_judged_is_refused(tmp_path, change, said):
    from harness import results

    with pytest.raises(ValueError, match=said):
        results.write(tmp_path / "r.json", a_result(**change))
    (tmp_path / "r.json").write_text(json.dumps(a_result(**change)))
    with pytest.raises(ValueError, match=said):
        results.read(tmp_path / "r.json")


def test_a_result_names_the_kind_of_machine_and_no_host(tmp_path):
    import platform

    from harness import machine

    found = json.dumps(machine.describe(threads=1))
    assert platform.node() not in re.findall(r"[\w.-]+", found) and str(BENCH.parent) not in found
    assert machine.slug("Intel(R) Xeon(R) CPU E5 @ 2.2GHz AVX2", 4) == "intel-xeon-e5-4-threads"


def test_two_runs_are_compared_by_name():
    from compare import comparison

    def run(**ms):
        rows = [{"name": name, "table": "t", "row": name, "median": value * 1e-3} for name, value in ms.items()]
        return a_result(benchmarks=rows)

    text = comparison(run(same=1.0, slower=1.0, gone=1.0), run(same=1.01, slower=2.0, new=1.0))
    assert "2 benchmarks in common" in text and "1 differ" in text
    assert "t: slower" in text and "2.00" in text and "t: same" not in text


def test_the_page_is_filled_between_its_markers_only():
    from performance import MISSING, fill

    page = "words\n<!-- made by bench/performance.py: gpu -->\nold\n<!-- end -->\nmore\n"
    filled = fill(page, None, None, None)
    assert filled.startswith("words\n") and filled.endswith("more\n")
    assert MISSING in filled and "old" not in filled
    assert fill(filled, None, None, None) == filled


def test_every_marker_of_the_page_is_known():
    from performance import BLOCKS, GPU_BLOCKS, MARKED, PAGE, README

    names = [match[2] for page in (PAGE, README) for match in MARKED.finditer(page.read_text())]
    assert sorted(names) == sorted([*BLOCKS, *GPU_BLOCKS])


def test_peers_runs_a_net_from_start_to_result_file(tmp_path, capsys):
    import peers

    out = tmp_path / "r.json"
    arguments = ["--quick", "--only", "steps", "--nets", "64-32-10", "--contenders", "deepxp (NumPy alone),fake"]
    assert peers.main([*arguments, "--threads", "1", "--rounds", "2", "--seconds", "0.02", "--out", str(out)]) == 0
    from harness import results

    (step,) = results.read(out)["steps"]
    assert len(step["ms"]["deepxp (NumPy alone)"]) == 2 and len(step["losses"]["deepxp (NumPy alone)"]) == 5
    assert "written: r.json" in capsys.readouterr().out


def test_peers_without_a_gpu_says_why_and_measures_nothing(monkeypatch, capsys):
    import peers

    gpu = peers.deepxp.Device("gpu", False, "", "There is no driver.", "install one")
    monkeypatch.setattr(peers.deepxp, "devices", lambda: (gpu,))
    assert peers.main(["--device", "gpu"]) == 1
    assert capsys.readouterr().err == "There is no driver. To fix it: install one\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--only", "sofmax"], "sofmax"), (["--contenders", "tf"], "tf"), (["--threads", "0"], "--threads")],
)
def test_peers_refuses_what_does_not_exist(arguments, said, capsys):
    import peers

    with pytest.raises(SystemExit):
        peers.main(arguments)
    assert said in capsys.readouterr().err


def test_the_suite_runs_where_pytest_benchmark_is_installed():
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed: it comes with the bench extra")
    import subprocess

    command = [sys.executable, "-m", "pytest", str(BENCH / "test_products.py"), "--quick", "--benchmark-disable"]
    command += ["-k", "float32 and W and definitions", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


# On a GPU


def test_what_is_timed_on_a_gpu_runs_on_the_double(monkeypatch, tmp_path):
    from cupy_double import cuda, install

    install(monkeypatch)
    from contenders import ours
    from nets import Net, write_task

    write_task(Net((6, 5, 3), 8), tmp_path / "task.npz")
    tasks = [
        ours.step(1, "gpu", str(tmp_path / "task.npz"), "gpu"),
        ours.softmax(1, "gpu", 10, 64, "gpu"),
        ours.adam(1, "gpu", 1000, "gpu"),
    ]
    assert [sorted(cases) for cases in tasks] == [
        ["products", "read", "step"],
        ["copy", "fill", "loss", "softmax"],
        ["adam", "copy"],
    ]
    for cases in tasks:
        for case in cases.values():
            case.run(6)
    assert isinstance(tasks[0]["products"].call.graph, cuda.Graph)  # the floor is recorded, too


def test_the_aims_of_a_gpu_are_rows():
    from sections.softmax import gpu_rows
    from sections.steps import rows_of

    small = {"C": 10, "m": 1024, "bytes": 40_960, "loss_over_torch": [0.5] * 3, "loss_of_copy": [0.1] * 3}
    large = {"C": 100, "m": 1_000_000, "bytes": 4e8, "loss_over_torch": [1.2] * 3, "loss_of_copy": [0.9] * 3}
    torch, copy = gpu_rows([small, large])
    assert (torch["measured"], torch["verdict"]) == (1.2, "aim missed")
    assert (copy["measured"], copy["verdict"]) == (0.9, "aim")  # of the sizes that no cache holds
    ratios = {"PyTorch eager": (0.9, 0.8, 1.0), "torch.compile": (1.1, 1.0, 1.2), "products alone": (1.04, 1.0, 1.1)}
    result = {"net": "4096-4096-4096-1000 @ 8192", "over_peer": {"fastest": "PyTorch eager", "deepxp (GPU)": ratios}}
    verdicts = {row["against"]: row["verdict"] for row in rows_of(result, "gpu")}
    assert verdicts == {"PyTorch eager": "aim", "torch.compile": "aim missed", "products alone": "aim"}

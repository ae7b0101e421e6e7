"""What only a process of its own shows: exit codes, pipes, signals, terminals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest

import deepxp
from deepxp.cli import main, progress

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(deepxp.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "deepxp"]
FOREVER = ("train", "--hidden", "8", "--epochs", "100000", "--device", "cpu", "--out", "run")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


def run(*argv, cwd, **options):
    return subprocess.run(
        [*COMMAND, *argv], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, **options
    )


def start(*argv, cwd, **options):
    return subprocess.Popen([*COMMAND, *argv], cwd=cwd, env=ENVIRONMENT, start_new_session=True, **options)


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"deepxp {deepxp.__version__}\n"
    for command in ("train", "evaluate", "predict", "info", "check", "plot"):
        assert main([command, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"usage: deepxp {command}")
        assert max(map(len, lines)) < 80


def test_no_command_shows_the_help(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["trian"], ["train", "--epochs"], ["predict", "model"], ["info", "--epochs", "3"]])
def test_a_wrong_call_is_one_line_and_2(capsys, argv):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("deepxp: error: ") and err.count("\n") == 1


def test_help_imports_nothing_slow(tmp_path):
    slow = "{'matplotlib', 'cupy', 'numba', 'sklearn'}"
    code = f"import sys; from deepxp.cli import main; main(['--help']); print({slow} & {{*sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.endswith("set()\n")


def test_exit_codes_and_a_pipe(tmp_path):
    done = run("train", "--hidden", "8", "--epochs", "3", "--device", "cpu", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["epochs"] == 3
    assert "\r" not in done.stderr
    failed = run("predict", "nowhere", "nothing.csv", cwd=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert run("train", "--lr", "fast", cwd=tmp_path).returncode == 2


@posix
def test_nobody_reads(tmp_path):
    code = "import numpy as np; np.savez('data.npz', X=np.random.default_rng(0).random((200000, 3)))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    deepxp.Network((3, 2), backend="cpu").save(tmp_path / "model")
    process = start(
        "predict", "model", "data.npz", "--device", "cpu", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() in (b"0\n", b"1\n")
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(30) == 141


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_and_says_how_it_goes_on(tmp_path, number, code):
    process = start(*FOREVER, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    notice, said = err.strip().splitlines()
    assert notice == "deepxp: stopping after this step; once more aborts at once"
    assert said == "deepxp: stopped; go on with: deepxp train --resume --out run"
    (saved,) = (tmp_path / "run").glob("checkpoint-*.safetensors")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.toml",
        "data.json",
        "metrics.jsonl",
        saved.name,
    }
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))


def on_a_terminal(*argv, cwd, columns=80):
    """All that a command writes to a terminal, and its exit code."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = start(*argv, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(ours)
    return seen.decode(), process.wait(30)


@posix
def test_one_live_line_on_a_terminal(tmp_path):
    seen, code = on_a_terminal("train", "--hidden", "64,64", "--epochs", "60", "--device", "cpu", cwd=tmp_path)
    assert code == 0
    lines = [line for line in seen.replace("\r\n", "\n").split("\n") if "epoch " in line]
    (live,) = (line for line in lines if line.startswith("\r"))  # one line, however often it was drawn
    drawings = live.split("\r")[1:]
    assert len(drawings) >= 2
    assert max(map(len, drawings)) < 80
    assert drawings[-1].startswith("epoch 60/60  loss ")
    assert "accuracy" in drawings[-1]
    for drawing in drawings[1:-1]:
        assert re.match(r"epoch [ \d]\d/60  (step [ \d]\d/21  )?loss ", drawing)
    assert any(drawing.rstrip().endswith("left") for drawing in drawings)
    longest = 0
    for drawing in drawings:  # each covers what the ones before have left
        assert len(drawing) >= longest
        longest = len(drawing.rstrip())
    assert "\ntest        accuracy" in seen.replace("\r\n", "\n")


@posix
def test_a_terminal_sees_nothing_of_a_quiet_run(tmp_path):
    assert on_a_terminal("train", "--hidden", "8", "--epochs", "2", "-q", "--device", "cpu", cwd=tmp_path) == ("", 0)


@posix
def test_a_narrow_terminal(tmp_path):
    seen, code = on_a_terminal("train", "--hidden", "8", "--epochs", "5", "--device", "cpu", cwd=tmp_path, columns=40)
    assert code == 0
    live = next(line for line in seen.replace("\r\n", "\n").split("\n") if line.startswith("\r"))
    assert max(map(len, live.split("\r"))) < 40


class Terminal(StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the live line is told: `clock[0]`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_live_line_is_redrawn_at_most_ten_times_a_second(clock):
    stream = Terminal()
    with progress.Progress(stream, 10) as shown:
        for epoch in range(10):
            for step in range(100):
                clock[0] += 0.003
                shown.on_step(step + 1, 100, 0.5)
            shown.on_epoch({"epoch": epoch + 1, "loss": 0.5, "seconds": 0.3})
    drawings = stream.getvalue().split("\r")[1:]
    assert 20 <= len(drawings) <= 31  # in 3 seconds, and the last one
    assert drawings[-1].startswith("epoch 10/10  loss 0.5")
    assert stream.getvalue().endswith("\n")


def test_the_first_step_is_not_in_the_time_that_is_left(clock):
    stream = Terminal()
    with progress.Progress(stream, 1, compiles=True) as shown:
        assert stream.getvalue() == "\rpreparing (the first run on a machine compiles its kernels)"
        clock[0] += 10
        for step in range(3):
            shown.on_step(step + 1, 11, 0.5)
            clock[0] += 1
    drawings = [drawing.rstrip() for drawing in stream.getvalue().split("\r")[2:]]
    assert drawings[0].endswith("loss 0.5")
    assert drawings[1].endswith("9.0 s left")
    assert drawings[2].endswith("8.0 s left")


def test_memory_that_runs_out_is_one_line(capsys, monkeypatch, tmp_path):
    def full(*arguments, **options):
        raise MemoryError("Unable to allocate 7 GiB")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deepxp.training.train", full)
    assert main(["train", "-q", "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert "Unable to allocate 7 GiB" in err
    assert "--batch-size 32" in err


@posix
def test_ctrl_c_while_the_command_is_imported_is_one_line(tmp_path):
    slow, script = tmp_path / "numpy" / "__init__.py", tmp_path / "bin" / "deepxp"
    for path in (slow, script):
        path.parent.mkdir()
    slow.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")  # Ctrl-C at the first heavy import
    script.write_text("import sys\nfrom deepxp.cli import main\nsys.exit(main())\n")
    where = os.pathsep.join([str(tmp_path), str(Path(deepxp.__file__).parent.parent)])
    for command in (["-m", "deepxp"], [str(script)]):
        done = subprocess.run(
            [sys.executable, *command, "--version"],
            env=os.environ | {"PYTHONPATH": where},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "deepxp: stopped\n")
    done = subprocess.run(
        [sys.executable, "-c", "import deepxp"], env=os.environ | {"PYTHONPATH": where}, capture_output=True, text=True
    )
    assert "KeyboardInterrupt" in done.stderr  # who imports the library is left alone

"""`deepxp train --resume`: a run that was stopped by a signal or a crash, and what may change when it goes on."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from faults import ENVIRONMENT

import deepxp
from deepxp.checkpoints import file
from deepxp.checkpoints.lock import FolderLock
from deepxp.cli import main
from deepxp.cli.folder import DATA_BYTES, Folder
from deepxp.cli.progress import Progress

EPOCHS = 6
SMALL = ("--hidden", "8", "--epochs", str(EPOCHS), "--batch-size", "70", "--dropout", "0.2", "--device", "cpu")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*argv, stop=None, number=signal.SIGINT):
    """The exit code; with `stop` the signal comes after that many epochs."""
    on_epoch = Progress.on_epoch

    def stopping(progress, record):
        on_epoch(progress, record)
        if record["epoch"] == stop:
            os.kill(os.getpid(), number)

    def unhandled(number, frame):
        raise AssertionError("a signal was not handled")

    before = signal.signal(signal.SIGTERM, unhandled)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Progress, "on_epoch", stopping)
            return main(["train", *argv])
    finally:
        signal.signal(signal.SIGTERM, before)


def crash(*argv, after, monkeypatch):
    """A run that ends without having been asked to."""

    def failing(progress, record):
        if record["epoch"] == after:
            raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_epoch", failing)
        with pytest.raises(ZeroDivisionError):
            main(["train", *argv])


def whole(*argv):
    assert main(["train", *argv, "-q", "--out", "whole"]) == 0
    return Path("whole/model.safetensors").read_bytes()


def records(folder):
    lines = Path(folder, "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def fails(capsys, *argv):
    """Exit code and the one line of an error."""
    capsys.readouterr()
    code = main(["train", *argv, "-q"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("deepxp: error: ") and err.count("\n") == 1
    return code, err


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(capsys, number, code):
    expected = whole(*SMALL)
    assert train(*SMALL, "--out", "run", "-q", stop=2, number=number) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "deepxp: stopped; go on with: deepxp train --resume --out run\n")
    assert [path.name for path in file.files(Path("run"))] == ["checkpoint-000000038.safetensors"]
    assert main(["train", "--resume", "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert "resumed     after 2 epochs, from run/checkpoint-000000038.safetensors\n" in out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("epoch")] == [
        f"epoch {epoch}/6" for epoch in (3, 4, 5, 6)
    ]
    assert Path("run/model.safetensors").read_bytes() == expected
    assert records("run") == records("whole")
    assert tomllib.loads(Path("run/config.toml").read_text()) == tomllib.loads(Path("whole/config.toml").read_text())


@posix
def test_the_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(*SMALL, "--out", "run", "-q", stop=2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@posix
def test_ctrl_c_after_the_last_step_says_how_to_go_on_too(capsys, monkeypatch):
    expected = whole(*SMALL)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("deepxp.Network.save", interrupted)
        assert main(["train", *SMALL, "--out", "a run", "-q"]) == 130
    assert capsys.readouterr().err == "deepxp: stopped; go on with: deepxp train --resume --out 'a run'\n"
    assert main(["train", "--resume", "--out", "a run", "-q"]) == 0
    assert Path("a run/model.safetensors").read_bytes() == expected


def test_ctrl_c_before_there_is_a_folder(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepxp.cli.train.problem", interrupted)
    assert main(["train", *SMALL, "--out", "run", "-q"]) == 130
    assert capsys.readouterr().err == "deepxp: stopped\n"


@posix
def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert train(*SMALL, "--out", "run", "-q", stop=2) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_aborts_at_once(tmp_path, number):
    """In the middle of a step that takes a minute."""
    code = (
        "import sys, time, deepxp.training as training\n"
        "def run(*arguments, **options):\n    print('step', flush=True)\n    time.sleep(60)\n"
        "training.TrainingStep.run = run\n"
        "from deepxp.cli import main\n"
        "sys.exit(main(['train', '-q', '--out', 'run', '--device', 'cpu']))"
    )
    options = {"cwd": tmp_path, "env": ENVIRONMENT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **options) as process:
        try:
            assert process.stdout.readline() == b"step\n"
            began = time.monotonic()
            process.send_signal(number)
            time.sleep(0.2)
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(30) == -number
            assert time.monotonic() - began < 30
        finally:
            process.kill()


def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(capsys, monkeypatch):
    """The metrics were three epochs on, of which the last is done again."""
    expected = whole(*SMALL)
    crash(*SMALL, "--out", "run", "-q", "--checkpoint-every", "2epochs", after=3, monkeypatch=monkeypatch)
    assert [record["epoch"] for record in records("run")] == [1, 2, 3]
    assert main(["train", "--resume", "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert "resumed     after 2 epochs" in out
    assert "device      cpu, on which the run goes on\n" in out
    assert Path("run/model.safetensors").read_bytes() == expected
    assert records("run") == records("whole")


def test_within_an_epoch(capsys, monkeypatch):
    expected = whole(*SMALL)
    crash(*SMALL, "--out", "run", "-q", "--checkpoint-every", "8steps", after=2, monkeypatch=monkeypatch)
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "after 1 epoch and step 13 of epoch 2, from run/checkpoint-000000032" in capsys.readouterr().out
    assert Path("run/model.safetensors").read_bytes() == expected


def test_a_run_without_a_checkpoint_begins_again(capsys, monkeypatch):
    expected = whole(*SMALL)
    crash(*SMALL, "--out", "run", "-q", after=2, monkeypatch=monkeypatch)
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "resumed     from the beginning: no checkpoint was saved yet" in capsys.readouterr().out
    assert Path("run/model.safetensors").read_bytes() == expected
    assert records("run") == records("whole")


@posix
def test_a_run_without_a_checkpoint_knows_its_data_wherever_they_are(capsys, monkeypatch):
    digits = deepxp.data.digits()
    np.savez("clean.npz", X=digits.X, y=digits.y)
    expected = whole("clean.npz", *SMALL)
    crash("clean.npz", *SMALL, "--out", "run", "-q", after=2, monkeypatch=monkeypatch)
    Path("clean.npz").rename("moved.npz")
    for X, y in ((digits.X, np.roll(digits.y, 1)), (digits.X[:, ::-1], digits.y), (digits.X[:900], digits.y[:900])):
        np.savez("clean.npz", X=X, y=y)
        code, err = fails(capsys, "--resume", "--out", "run")
        assert code == 2
        assert "the run in run is one of other data than" in err and "clean.npz holds now; begin another run" in err
    Path("clean.npz").unlink()
    assert main(["train", "moved.npz", "--resume", "--out", "run", "-q"]) == 0
    assert Path("run/model.safetensors").read_bytes() == expected


def test_a_name_may_hold_what_stands_for_other_names_in_patterns(capsys, monkeypatch):
    digits = deepxp.data.digits()
    np.savez("[a]*?.npz", X=digits.X, y=digits.y)
    np.savez("a.npz", X=digits.X, y=digits.y)
    crash("a.npz", *SMALL, "-q", after=2, monkeypatch=monkeypatch)
    train("[a]*?.npz", *SMALL, "-q", stop=2)
    assert fails(capsys, "[b].npz", "--resume")[0] == 1
    assert main(["train", "[a]*?.npz", "--resume"]) == 0
    assert "from runs/[a]*?-1/checkpoint-000000038" in capsys.readouterr().out
    assert not Path("runs/a-1/model.safetensors").exists()


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_run_that_met_nan_is_not_finished_and_says_what_to_do(capsys, monkeypatch, epoch):
    run = deepxp.training.TrainingStep.run

    def spoiled(step, *arguments, **options):
        if step.epoch == epoch:
            step.net.theta[...] = np.inf
        return run(step, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepxp.training.TrainingStep, "run", spoiled)
        assert fails(capsys, *SMALL)[0] == 1
    assert sorted(path.name for path in Path("runs/digits-1").iterdir()) == [
        "config.toml", "data.json", "last-good.safetensors", *(["metrics.jsonl"] if epoch else []),
    ]  # fmt: skip
    for out in ((), ("--out", "runs/digits-1")):
        code, err = fails(capsys, "--resume", *out)
        assert code == 2
        assert "the run in runs/digits-1 met NaN or infinity, and would again" in err and "--on-nonfinite skip" in err
    assert "holds a run that met NaN; choose another --out" in fails(capsys, *SMALL, "--out", "runs/digits-1")[1]
    assert main(["evaluate", "runs/digits-1"]) == 2
    assert "its model from before is runs/digits-1/last-good.safetensors\n" in capsys.readouterr().err
    train(*SMALL, "-q", stop=2)
    assert main(["train", "--resume", "-q"]) == 0  # the unfinished one, not the failed one
    assert Path("runs/digits-2/model.safetensors").exists()
    assert main(["train", *SMALL, "-q", "--force", "--out", "runs/digits-1"]) == 0
    assert not Path("runs/digits-1/last-good.safetensors").exists()


def test_a_finished_run_is_not_gone_on_with(capsys):
    expected = whole(*SMALL, "--checkpoint-every", "4epochs")
    code, err = fails(capsys, "--resume", "--out", "whole")
    assert (code, err) == (
        2, "deepxp: error: whole is finished; there is nothing to go on with, and --force begins it anew\n"
    )  # fmt: skip
    assert Path("whole/model.safetensors").read_bytes() == expected


@posix
def test_without_a_folder_it_is_the_last_unfinished_one_of_the_data(capsys):
    for _ in range(2):
        train(*SMALL, "-q", stop=2)
    main(["train", *SMALL, "-q"])
    finished = Path("runs/digits-3/model.safetensors").stat()
    assert main(["train", "--resume", "-q"]) == 0
    assert not Path("runs/digits-1/model.safetensors").exists()
    assert Path("runs/digits-2/model.safetensors").exists()
    assert main(["train", "--resume", "-q"]) == 0
    assert Path("runs/digits-1/model.safetensors").exists()
    code, err = fails(capsys, "--resume")
    assert (code, err) == (
        1, "deepxp: error: no run of the digits in runs is unfinished; without --resume one begins\n"
    )  # fmt: skip
    assert Path("runs/digits-3/model.safetensors").stat() == finished


@posix
def test_a_run_of_other_data_with_the_same_name_is_left_alone(capsys, monkeypatch):
    digits = deepxp.data.digits()
    for folder, y in (("a", digits.y), ("b", np.roll(digits.y, 1))):
        Path(folder).mkdir()
        np.savez(f"{folder}/clean.npz", X=digits.X, y=y)
    main(["train", "a/clean.npz", *SMALL, "-q"])
    crash("a/clean.npz", *SMALL, "-q", after=2, monkeypatch=monkeypatch)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*.*")}
    assert fails(capsys, "b/clean.npz", "--resume")[0] == 1
    code, err = fails(capsys, "b/clean.npz", "--resume", "--out", "runs/clean-2")
    assert code == 2
    assert "is one of other data than b/clean.npz holds now; begin another run with another --out" in err
    assert {path: path.read_bytes() for path in Path("runs").rglob("*.*")} == before
    train("b/clean.npz", *SMALL, "-q", stop=2)
    Path("b/clean.npz").rename("clean.npz")
    assert main(["train", "a/../a/clean.npz", "--resume", "-q"]) == 0
    assert not Path("runs/clean-3/model.safetensors").exists()
    assert main(["train", "clean.npz", "--resume", "-q"]) == 0
    assert Path("runs/clean-3/model.safetensors").exists()


def test_there_has_to_be_a_run(capsys):
    assert fails(capsys, "--resume") == (
        1, "deepxp: error: runs holds no run of the digits that could go on; without --resume one begins\n"
    )  # fmt: skip
    assert fails(capsys, "--resume", "--out", "nowhere")[0] == 1
    assert not Path("nowhere").exists()
    assert fails(capsys, "--resume", "--force")[0] == 2


@posix
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--lr 0.1", "has lr 0.002, not 0.1; go on with the former, or begin another run"),
        ("--hidden 8,8", "has hidden 8, not 8,8"),
        ("--hidden none", "has hidden 8, not none"),
        ("--batch-size 64", "has batch-size 70, not 64"),
        ("--seed 1", "has seed 0, not 1"),
        ("--patience 3", "has patience none, not 3"),
        ("--scale standard", "has scale range, not standard"),
        ("--schedule constant", "has schedule cosine, not constant"),
        ("--epochs 9", "is one of --epochs 6, not 9; only a run with --schedule constant can become longer"),
        ("--test 0.1", "has test 0.2, not 0.1"),
        ("--config other.toml", "has optimizer adam, not sgd"),
    ],
)
def test_the_key_that_differs_is_named(capsys, options, said):
    Path("other.toml").write_text('optimizer = "sgd"\n')
    train(*SMALL, "--out", "run", "-q", stop=2)
    code, err = fails(capsys, "--resume", "--out", "run", *options.split())
    assert code == 2
    assert f"the run in run {said}" in err


@posix
def test_what_is_repeated_or_chosen_by_the_run_does_not_differ():
    train(*SMALL, "--out", "run", "-q", stop=2)
    options = ("--loss", "auto", "--scale", "auto", "--device", "auto", "--lr", "none", "--batch-size", "none")
    assert main(["train", *SMALL, *options, "--out", "run", "-q", "--resume"]) == 0


@posix
@pytest.mark.parametrize("kind", ["device", "pipe", "long", "deep", "bytes"])
def test_a_data_json_that_no_run_wrote_is_as_none(kind, monkeypatch):
    about = {"data": "a.npz", "samples": "1", "targets": "2"}
    Path("run").mkdir()
    if kind == "device":
        Path("run/data.json").symlink_to("/dev/zero")
        monkeypatch.setattr(Path, "open", None)  # it would be read without end
    elif kind == "pipe":
        os.mkfifo("run/data.json")
        monkeypatch.setattr(Path, "open", None)  # it would be waited for
    else:
        long = json.dumps(about | {"samples": "other", "more": "x" * DATA_BYTES})
        Path("run/data.json").write_bytes({"long": long.encode(), "deep": b"[" * 9999, "bytes": b"\xff"}[kind])
    Folder("run", "a", force=False, resume=True)._check_data(about)


@posix
def test_a_run_of_a_constant_rate_may_become_longer():
    constant = ("--schedule", "constant", *SMALL)
    expected = whole(*constant, "--epochs", "8")
    train(*constant, "--out", "run", "-q", stop=5)
    assert main(["train", "--resume", "--out", "run", "--epochs", "8", "-q", "--checkpoint-every", "none"]) == 0
    assert Path("run/model.safetensors").read_bytes() == expected
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["epochs"], config["checkpoint-every"]) == (8, "none")


@posix
def test_data_may_move_but_not_change(capsys):
    digits = deepxp.data.digits()
    np.savez("old.npz", X=digits.X, y=digits.y)
    expected = whole("old.npz", *SMALL)
    train("old.npz", *SMALL, "--out", "run", "-q", stop=2)
    before = Path("run/config.toml").read_bytes()
    np.savez("new.npz", X=digits.X, y=np.roll(digits.y, 1))
    code, err = fails(capsys, "new.npz", "--resume", "--out", "run")
    assert (code, Path("run/config.toml").read_bytes()) == (2, before)
    assert "run/checkpoint-000000038.safetensors was saved while training on other data" in err
    Path("old.npz").rename("new.npz")
    code, err = fails(capsys, "--resume", "--out", "run")
    assert code == 2
    assert "is not there any more; give its new place: deepxp train NEW --resume --out run\n" in err
    assert main(["train", "new.npz", "--resume", "--out", "run", "-q"]) == 0
    assert Path("run/model.safetensors").read_bytes() == expected


@posix
def test_a_run_that_was_stopped_is_not_written_over(capsys):
    train(*SMALL, "--out", "run", "-q", stop=2)
    code, err = fails(capsys, *SMALL, "--out", "run")
    assert code == 1
    assert "run already holds a run that is not finished; --resume goes on with it, --force begins anew" in err
    assert main(["train", *SMALL, "--out", "run", "--force", "-q"]) == 0
    assert file.files(Path("run")) == []
    assert len(records("run")) == EPOCHS


@posix
def test_a_damaged_checkpoint_is_skipped_with_a_warning(capsys):
    expected = whole(*SMALL)
    train(*SMALL, "--out", "run", "-q", "--checkpoint-every", "1epoch", stop=3)
    newest = file.files(Path("run"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run", "-q"]) == 0
    err = capsys.readouterr().err
    assert err.startswith(f"deepxp: warning: a checkpoint was skipped: cannot read '{newest}': ")
    assert err.count("\n") == 1
    assert Path("run/model.safetensors").read_bytes() == expected


@posix
def test_no_whole_checkpoint_is_an_error_and_leaves_all_as_it_was(capsys):
    train(*SMALL, "--out", "run", "-q", stop=3)
    (path,) = file.files(Path("run"))
    path.write_bytes(b"")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run", "-q"]) == 1
    assert "deepxp: error: run: none of its checkpoints is whole" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


@posix
def test_two_trainers_cannot_share_a_folder(capsys):
    train(*SMALL, "--out", "run", "-q", stop=2)
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    with FolderLock("run"):
        for how in ("--force", "--resume"):
            code, err = fails(capsys, *(SMALL if how == "--force" else ()), "--out", "run", how)
            assert code == 1
            assert "run is in use by another run; wait for it to end, or choose another folder" in err
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


def test_metrics_that_cannot_be_written_do_not_end_the_run(capsys, monkeypatch):
    expected = whole(*SMALL)

    def full(folder, record):
        raise OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl")

    monkeypatch.setattr("deepxp.cli.folder.Folder.record", full)
    assert main(["train", *SMALL, "--out", "run", "-q"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert len(err) == EPOCHS
    assert err[0] == (
        "deepxp: warning: epoch 1 is missing in run/metrics.jsonl: No space left on device; training goes on"
    )
    assert Path("run/model.safetensors").read_bytes() == expected


def test_a_folder_that_vanishes_gets_its_model_all_the_same(capsys, monkeypatch):
    expected = whole(*SMALL)
    on_epoch = Progress.on_epoch

    def removing(progress, record):
        on_epoch(progress, record)
        if record["epoch"] == 2:
            for path in Path("run").iterdir():
                path.unlink()
            Path("run").rmdir()

    monkeypatch.setattr(Progress, "on_epoch", removing)
    assert main(["train", *SMALL, "--out", "run", "-q", "--checkpoint-every", "1epoch"]) == 0
    err = capsys.readouterr().err
    assert "no checkpoint was saved: cannot write 'run/checkpoint-000000038.safetensors': No such file" in err
    assert Path("run/model.safetensors").read_bytes() == expected


def test_a_model_that_cannot_be_written_leaves_the_checkpoints(capsys, monkeypatch):
    expected = whole(*SMALL)

    def full(*arguments, **options):
        raise deepxp.ModelFileError("cannot write 'run/model.safetensors': No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("deepxp.Network.save", full)
        code, err = fails(capsys, *SMALL, "--out", "run", "--checkpoint-every", "4epochs")
    assert code == 1
    assert "No space left on device" in err
    assert main(["train", "--resume", "--out", "run", "-q"]) == 0
    assert Path("run/model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("text", ["2hours", "0min", "1.5epochs", "often"])
def test_an_interval_that_is_none(capsys, text):
    code, err = fails(capsys, "--checkpoint-every", text)
    assert code == 2
    assert f"--checkpoint-every must be such as 2min, 1epoch, 500steps, or none, got '{text}'" in err

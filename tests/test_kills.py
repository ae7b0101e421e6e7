"""Trainings that are killed, and go on to the bits they would have ended with."""

import hashlib
import os
import random
import signal
import time
from contextlib import suppress

import pytest
from faults import Trainer

from deepxp.checkpoints import file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork are of POSIX")

RUNS, KILLS, EPOCHS, SEEDS = 10, 4, 16, (1, 2)
OPTIONS = (
    *("train", "--device", "cpu", "--hidden", "8", "--epochs", str(EPOCHS), "--batch-size", "70", "-q"),
    *("--dropout", "0.2", "--validation", "0.1", "--patience", "20", "--checkpoint-every", "11steps"),
)  # 19 steps in an epoch, the last one of 34 samples
UNSAVED = ("--checkpoint-every", "none")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    with Trainer(tmp_path_factory.mktemp("killed")) as trainer:
        yield trainer


def command(seed, out):
    return (*OPTIONS, "--seed", str(seed), "--out", out)


def digest(folder, out):
    return hashlib.sha256((folder / out / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(trainer):
    """The model of each seed's training from which nothing was saved and which nothing stopped, as a hash."""
    for seed in SEEDS:
        assert trainer.run(*command(seed, f"whole-{seed}"), *UNSAVED) == 0
    digests = {seed: digest(trainer.folder, f"whole-{seed}") for seed in SEEDS}
    assert len({*digests.values()}) == len(SEEDS)
    return digests


def begun(folder, out):
    return ("--resume",) if (folder / out / "config.toml").exists() else ()


def epochs_done(path):
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def leftovers(path):
    names = {"config.toml", "data.json", "metrics.jsonl", "model.safetensors", "result.json"}
    return {found.name for found in path.iterdir() if found not in file.files(path)} - names


def test_sigkill_at_30_random_moments_changes_no_bit(trainer, undisturbed):
    """10 runs, each killed 4 times: some milliseconds after a random epoch has ended, or at the start; a few kills less
    on a machine that is too busy to come in time."""
    kills = 0
    for run in range(RUNS):
        seed, chance, out = SEEDS[run % 2], random.Random(run), f"killed-{run}"
        metrics = trainer.folder / out / "metrics.jsonl"
        for target in sorted(chance.sample(range(EPOCHS - 2), KILLS)):
            pid = trainer.start(*command(seed, out), *begun(trainer.folder, out))
            deadline = time.monotonic() + 60
            while epochs_done(metrics) < target and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            kills += trainer.wait() == -signal.SIGKILL
        assert file.files(trainer.folder / out)  # so that it cannot but go on from there
        if not (trainer.folder / out / "model.safetensors").exists():  # it is, where no kill came in time
            assert trainer.run(*command(seed, out), *begun(trainer.folder, out)) == 0
        assert digest(trainer.folder, out) == undisturbed[seed]
        assert leftovers(trainer.folder / out) == set()
    assert kills >= 30


@pytest.mark.parametrize("point", ["write", "fsync", "fsynced", "replace", "replaced", "unlink"])
def test_a_kill_while_a_checkpoint_is_written_changes_no_bit(trainer, undisturbed, point):
    for count in (1, 6):
        out = f"{point}-{count}"  # the first fsync and replace are those of config.toml
        assert trainer.run(*command(1, out), fault=(point, count)) == -signal.SIGKILL
        again = begun(trainer.folder, out)
        assert trainer.run(*command(1, out), *again) == 0
        assert digest(trainer.folder, out) == undisturbed[1]
        assert leftovers(trainer.folder / out) == set()

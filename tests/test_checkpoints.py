"""A run that was saved goes on to the bits it would have ended with; nothing that is damaged is taken for whole."""

import errno
import json
import math
import os
import random
import warnings

import numpy as np
import pytest
from cupy_double import install
from numpy.testing import assert_allclose, assert_array_equal

import deepxp as dx
from deepxp import safetensors
from deepxp.checkpoints import file
from deepxp.checkpoints.lock import FolderLock
from deepxp.checkpoints.position import Position
from deepxp.checkpoints.saver import Interval

EPOCHS, STEPS = 3, 4  # 3 batches of 9 samples and one of 3
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((4, 30)), RANDOM.integers(0, 3, 30)
VALIDATION = (RANDOM.standard_normal((4, 12)), RANDOM.integers(0, 3, 12))
BASE = {"epochs": EPOCHS, "batch_size": 9, "validation": VALIDATION}
CASES = {
    "adam": {},
    "sgd": {"optimizer": dx.SGD()},
    "momentum": {"optimizer": dx.Momentum(lr=0.05), "schedule": dx.StepDecay(every=1), "clip_norm": 0.5},
    "nesterov": {"optimizer": dx.Nesterov(lr=0.05), "shuffle": False},
    "rmsprop": {"optimizer": dx.RMSProp(), "class_weight": "balanced"},
    "adamw": {"optimizer": dx.AdamW(lr=0.01), "schedule": dx.Cosine(warmup=1.5), "l2": 1e-3},
    "best weights": {"optimizer": dx.Adam(lr=0.3), "patience": 2, "epochs": 4},  # it overfits, and goes back
}


def network(backend="cpu", **options):
    return dx.Network((4, 8, 3), "tanh", **{"backend": backend, "seed": 3, "dropout": 0.25} | options)


def train(folder=None, *, stop=None, say=None, backend="cpu", every="none", resume=True, net=None, **options):
    """The network and history of a run; with `stop` it is stopped after that many steps of this start, and the network
    is None."""
    net = net or network(backend)
    checkpoints = None
    if folder is not None:
        say = say or pytest.fail
        checkpoints = dx.Checkpoints(folder, every=every, resume=resume, say=say)
    if stop is None:
        return net, dx.train(net, X, Y, **BASE | options, checkpoints=checkpoints)
    run, done = dx.TrainingStep.run, []

    def counted(step, *arguments, **more):
        done.append(1)
        if len(done) == stop:
            checkpoints.stop()
        return run(step, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dx.TrainingStep, "run", counted)
        with pytest.raises(dx.StoppedError) as stopped:
            dx.train(net, X, Y, **BASE | options, checkpoints=checkpoints)
    assert len(done) == stop
    return None, stopped.value


def without_seconds(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


def assert_same_run(one, other):
    assert_array_equal(one[0].theta, other[0].theta)
    assert one[0].epochs == other[0].epochs
    assert without_seconds(one[1]) == without_seconds(other[1])
    assert (one[1].best_epoch, one[1].stopped_early) == (other[1].best_epoch, other[1].stopped_early)


# going on


@pytest.mark.parametrize("case", CASES)
def test_wherever_a_run_is_stopped_it_goes_on_to_the_same_bits(tmp_path, case):
    whole = train(**CASES[case])
    steps = len(whole[1]) * STEPS  # after the last one an early stop has ended the run already
    for k in range(1, steps + (not whole[1].stopped_early)):
        _, error = train(tmp_path / str(k), stop=k, **CASES[case])
        assert error.saved == tmp_path / str(k) / f"checkpoint-{k:09d}.safetensors"
        assert_same_run(train(tmp_path / str(k), **CASES[case]), whole)


def test_the_case_of_the_best_weights_goes_back_to_them():
    _, history = train(**CASES["best weights"])
    assert history.stopped_early and history.best_epoch < len(history)


def test_numbers_of_numpy_are_numbers(tmp_path):
    train(tmp_path, stop=6, l2=np.float32(0.5), clip_norm=np.float64(2.0), patience=np.int64(3))
    train(tmp_path, l2=0.5, clip_norm=2.0, patience=3)


def test_a_run_that_is_stopped_after_every_step(tmp_path):
    whole = train(patience=3)
    for _ in range(EPOCHS * STEPS):
        train(tmp_path, stop=1, patience=3)
    assert_same_run(train(tmp_path, patience=3), whole)


def test_saving_changes_nothing_and_leaves_the_network_where_it_is(tmp_path):
    net = network()
    theta = net.theta
    saved = train(tmp_path, every="1steps", net=net)
    assert_same_run(saved, train())
    assert net.theta is theta


def test_a_network_that_was_trained_before_counts_on(tmp_path):
    whole, parts = network(), network()
    for net in (whole, parts):
        train(net=net)
    expected = train(net=whole)
    assert whole.epochs == 2 * EPOCHS
    train(tmp_path, stop=6, net=parts)
    assert_same_run(train(tmp_path), expected)  # into a new network: all of it is in the checkpoint


def test_a_run_whose_schedule_does_not_depend_on_its_end_may_become_longer(tmp_path):
    train(tmp_path, every="1epoch", schedule=dx.Constant(warmup=1))
    longer = train(tmp_path, schedule=dx.Constant(warmup=1), epochs=5)
    assert_same_run(longer, train(schedule=dx.Constant(warmup=1), epochs=5))


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_run_whose_schedule_depends_on_its_end_keeps_it(tmp_path, epochs):
    train(tmp_path, stop=6, schedule=dx.Cosine())
    with pytest.raises(dx.ConfigError, match=f"saved with epochs=3, and this is epochs={epochs}"):
        train(tmp_path, schedule=dx.Cosine(), epochs=epochs)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"batch_size": 10}, "saved with batch_size=9, and this is batch_size=10"),
        ({"optimizer": dx.Adam(lr=0.1)}, r"saved with optimizer='Adam\(lr=0.001.*'Adam\(lr=0.1"),
        ({"schedule": dx.Cosine()}, "saved with schedule="),
        ({"l2": 0.1}, "saved with l2=0.0, and this is l2=0.1"),
        ({"clip_norm": 1.0}, "saved with clip_norm=None, and this is clip_norm=1.0"),
        ({"patience": 3}, "saved with patience=None, and this is patience=3"),
        ({"min_delta": 0.1}, "saved with min_delta"),
        ({"shuffle": False}, "saved with shuffle=True"),
        ({"epochs": 2}, "saved with epochs=3, and this is epochs=2"),
        ({"net": network(seed=4)}, "saved with seed=3, and this is seed=4"),
        ({"net": network(dropout=0.5)}, r"saved with dropout=\[0.25\]"),
        ({"net": network(dtype="float64")}, "saved with dtype='float32', and this is dtype='float64'"),
        ({"net": dx.Network((4, 9, 3), "tanh", backend="cpu", seed=3)}, r"saved with sizes=\[4, 8, 3\]"),
        ({"net": dx.Network((4, 8, 3), "relu", backend="cpu", seed=3)}, r"saved with hidden=\['tanh'\]"),
        ({"class_weight": "balanced"}, "while training on other data"),
        ({"validation": (VALIDATION[0] + 1, VALIDATION[1])}, "while training on other data"),
        ({"validation": None}, "while training on other data"),
    ],
)
def test_the_key_that_differs_is_named(tmp_path, options, what):
    train(tmp_path, stop=6)
    with pytest.raises(dx.ConfigError, match=what):
        train(tmp_path, **options)
    train(tmp_path)


def test_other_data_are_refused(tmp_path, monkeypatch):
    train(tmp_path, stop=6)
    changed = X.copy()
    changed[2, 17] = np.nextafter(changed[2, 17], 9.0)
    monkeypatch.setitem(globals(), "X", changed)
    with pytest.raises(dx.ConfigError, match="while training on other data"):
        train(tmp_path)


def test_checkpoints_of_another_run_are_not_written_over(tmp_path):
    train(tmp_path, stop=6)
    with pytest.raises(dx.ConfigError, match="holds checkpoints; go on with resume=True, or move them away"):
        train(tmp_path, resume=False)


def test_other_versions_are_said(tmp_path, monkeypatch):
    train(tmp_path, stop=6)
    monkeypatch.setattr("deepxp.checkpoints.saver.__version__", "99")
    said = []
    train(tmp_path, say=said.append)
    assert len(said) == 1
    assert f"was saved with deepxp {dx.__version__}: the last bits may come out otherwise" in said[0]


def test_another_number_of_threads_is_said(tmp_path, monkeypatch):
    team = pytest.importorskip("deepxp.kernels.team")
    train(tmp_path, stop=6)
    was = team.size()
    monkeypatch.setattr(team, "size", lambda: was + 1)
    said = []
    train(tmp_path, say=said.append)
    assert f"was saved with threads {was}: the last bits may come out otherwise" in said[0]


def test_where_it_goes_on_is_told(tmp_path):
    train(tmp_path, stop=6)
    told = []
    checkpoints = dx.Checkpoints(
        tmp_path, resume=True, on_resume=lambda path, at: told.append((path, at.epoch, at.steps))
    )
    dx.train(network(), X, Y, **BASE, checkpoints=checkpoints)
    assert told == [(tmp_path / "checkpoint-000000006.safetensors", 1, 2)]


def test_a_loss_that_is_not_finite_goes_back_to_the_last_good_epoch_after_a_resume(tmp_path, monkeypatch):
    whole = network()
    goods = []
    dx.train(whole, X, Y, **BASE | {"epochs": 1}, on_epoch=lambda record: goods.append(whole.theta.copy()))
    train(tmp_path, stop=6)
    run = dx.TrainingStep.run
    monkeypatch.setattr(dx.TrainingStep, "run", lambda *a, **k: run(*a, **k) * math.nan)
    net = network()
    with pytest.raises(dx.NonFiniteError) as error:
        train(tmp_path, net=net)
    assert_array_equal(net.theta, goods[0])
    assert len(error.value.history) == 1


def test_no_checkpoint_holds_nan(tmp_path):
    net = network()
    said = []
    checkpoints = dx.Checkpoints(tmp_path, every="1steps", say=said.append)

    def on_step(i, steps, loss):
        if i == 2:
            net.theta[3] = math.nan

    with pytest.raises(dx.NonFiniteError):
        dx.train(net, X, Y, **BASE, checkpoints=checkpoints, on_step=on_step)
    assert [path.name for path in file.files(tmp_path)] == ["checkpoint-000000001.safetensors"]


# other devices


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.gpu)])
def _gpu(request, monkeypatch):
    """A GPU, or the double of CuPy."""
    if request.param == "double":
        install(monkeypatch)
    elif not dx.devices()[1].usable:
        pytest.skip(dx.devices()[1].reason)


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("stop", [3, 6, 9])
def test_a_checkpoint_of_a_gpu_goes_on_there_to_the_same_bits(tmp_path, stop):
    whole = train(backend="gpu")
    train(tmp_path, stop=stop, backend="gpu")
    about, tensors = file.read(file.files(tmp_path)[0])
    assert tensors["unread"].shape == (about.position.steps,)  # read every 50 steps only
    assert about.versions["device"] == "gpu"
    again = train(tmp_path, backend="gpu")
    assert_array_equal(again[0].theta.get(), whole[0].theta.get())
    assert without_seconds(again[1]) == without_seconds(whole[1])


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize(("first", "then"), [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_checkpoint_moves_between_devices(tmp_path, first, then):
    whole = train(patience=3)
    train(tmp_path, stop=6, backend=first, patience=3)
    said = []
    seen = []
    on_step = {"on_step": lambda *where: seen.append(where)}
    net, history = train(tmp_path, say=said.append, backend=then, patience=3, **on_step)
    assert len(seen) == (6 if then == "cpu" else 2)  # whenever the loss is read: on a CPU after every step again
    assert net.backend.name.startswith(then)
    assert_allclose(net.backend.asnumpy(net.theta), whole[0].theta, rtol=1e-4, atol=1e-6)
    assert_allclose(history.loss, whole[1].loss, rtol=1e-5)
    assert f"device {first}" in said[0]


# when, and which are kept


def test_every_so_many_steps(tmp_path):
    train(tmp_path, every="3steps")
    assert [path.name for path in file.files(tmp_path)] == [f"checkpoint-{t:09d}.safetensors" for t in (6, 9, 12)]


def test_every_so_many_epochs(tmp_path):
    train(tmp_path, every="2epochs", epochs=5)
    assert [about_of(path)["t"] for path in file.files(tmp_path)] == [2 * STEPS, 4 * STEPS]


def test_every_so_many_minutes_but_never_much_of_the_time(tmp_path, monkeypatch):
    now, cost = [0.0], 7.0
    monkeypatch.setattr("deepxp.checkpoints.saver.time.monotonic", lambda: now[0])
    write = file.write
    saves = []

    def slow(folder, about, tensors):
        now[0] += cost
        saves.append(now[0])
        return write(folder, about, tensors)

    monkeypatch.setattr(file, "write", slow)

    def on_step(i, steps, loss):
        now[0] += 5.0

    dx.train(
        network(), X, Y, **BASE | {"epochs": 100}, on_step=on_step, checkpoints=dx.Checkpoints(tmp_path, every="1min")
    )
    assert saves[0] == 60 + cost
    gaps = np.diff(saves)
    assert_allclose(gaps, 30 * cost + cost)
    assert cost / gaps.max() < 0.05


def test_the_first_save_of_a_large_network_waits_as_if_the_disk_were_slow(tmp_path, monkeypatch):
    now, saves = [0.0], []
    monkeypatch.setattr("deepxp.checkpoints.saver.time.monotonic", lambda: now[0])
    monkeypatch.setattr("deepxp.checkpoints.saver.SLOW", 67 * 4.0)  # of bytes a second; there are 67 parameters

    def on_step(i, steps, loss):
        now[0] += 5.0
        if not saves and file.files(tmp_path):
            saves.append(now[0])

    checkpoints = dx.Checkpoints(tmp_path, every="1min")
    dx.train(network(), X, Y, **BASE | {"epochs": 100}, on_step=on_step, checkpoints=checkpoints)
    assert saves == [30 * 4 + 5]  # theta, two of Adam, and the weights of the last epoch: 4 seconds


def test_the_interval():
    assert Interval.of("2min") == Interval.of("2 mins") == (2.0, "min")
    assert Interval.of("0.5min") == (0.5, "min")
    assert Interval.of("1epoch") == (1.0, "epoch")
    assert Interval.of("none") == (math.inf, "min")
    for wrong in ("", "2", "min", "0min", "1.5epochs", "-1steps", "2 hours", 5, None):
        with pytest.raises(dx.ConfigError, match="every must be such as '2min'"):
            dx.Checkpoints("x", every=wrong)
    for wrong in (0, 1.5, True):
        with pytest.raises(dx.ConfigError, match="keep must be a whole number"):
            dx.Checkpoints("x", keep=wrong)


def about_of(path):
    return json.loads(safetensors.read_header(path)[1][file.METADATA])


def test_the_best_is_kept_beside_the_last(tmp_path):
    _, history = train(tmp_path, every="1epoch", optimizer=dx.Adam(lr=0.3), epochs=12)
    watched = history["validation_loss"]
    best = int(np.argmin(watched)) + 1
    assert best < 9
    assert [about_of(path)["position"]["epoch"] for path in file.files(tmp_path)] == [best, 10, 11, 12]


# damage


def cut_and_flipped(content):
    for length in range(len(content)):
        yield content[:length]
    chance = random.Random(0)
    for k in range(len(content)):
        flipped = bytearray(content)
        flipped[k] ^= 1 << chance.randrange(8)
        yield bytes(flipped)


def test_cut_at_every_byte_or_with_a_bit_flipped_in_every_byte_it_is_not_read(tmp_path):
    net = dx.Network((2, 3), backend="cpu")
    dx.train(net, X[:2], Y, epochs=1, checkpoints=dx.Checkpoints(tmp_path, every="1epoch"))
    (path,) = file.files(tmp_path)
    content = path.read_bytes()
    assert len(content) < 3000
    file.read(path)
    for damaged in cut_and_flipped(content):
        path.write_bytes(damaged)
        with pytest.raises(dx.ModelFileError):
            file.read(path)


@pytest.mark.parametrize("region", ["length", "header", "tensors", "cut", "empty", "other", "format", "counters"])
def test_a_damaged_one_is_skipped_for_the_one_before(tmp_path, region):
    train(tmp_path, every="3steps")
    newest = file.files(tmp_path)[-1]
    damage(newest, region)
    said = []
    assert_same_run(train(tmp_path, say=said.append), train())
    assert len(said) == 1
    assert said[0].startswith("a checkpoint was skipped: ") and newest.name in said[0]


def damage(path, region):
    content = bytearray(path.read_bytes())
    tensors, metadata = safetensors.read(path)
    match region:
        case "length" | "header" | "tensors":
            content[{"length": 2, "header": 500, "tensors": len(content) - 100}[region]] ^= 16
            path.write_bytes(content)
        case "cut" | "empty":
            path.write_bytes(content[: len(content) // 2 if region == "cut" else 0])
        case "other":  # whole, but no checkpoint
            network().save(path)
        case "format":
            about = json.loads(metadata[file.METADATA]) | {"format": 2}
            safetensors.write(path, tensors, {file.METADATA: json.dumps(about)})
        case "counters":
            about = json.loads(metadata[file.METADATA])
            about["position"]["steps"] = 4
            safetensors.write(path, tensors, {file.METADATA: json.dumps(about)})


@pytest.mark.parametrize(
    "change",
    [
        {"t": -1},
        {"t": 1.5},
        {"epochs": "3"},
        {"config": []},
        {"versions": None},
        {"more": 1},
        {"position": {}},
        {"position": vars(Position()) | {"more": 1}},
        {"position": vars(Position(epoch=1))},
        {"position": vars(Position(records=[{"loss": 1.0}]))},
        {"position": vars(Position(epoch=1, records=[{"epoch": 1}]))},
        {"position": vars(Position(epoch=1, records=[{"loss": "low"}]))},
        {"position": vars(Position(epoch=1, records=[3]))},
        {"position": vars(Position(loss=None))},
        {"position": vars(Position(steps=True))},
        {"position": [1, 2]},
    ],
)
def test_what_no_run_writes_is_not_read(tmp_path, change):
    about = {"format": 1, "t": 3, "epochs": 1, "position": vars(Position()), "config": {}, "versions": {}}
    path = tmp_path / "checkpoint-000000003.safetensors"
    safetensors.write(path, {"theta": np.zeros(3)}, {file.METADATA: json.dumps(about)})
    file.read(path)
    safetensors.write(path, {"theta": np.zeros(3)}, {file.METADATA: json.dumps(about | change)})
    with pytest.raises(dx.ModelFileError, match="is not a checkpoint that can be gone on from"):
        file.read(path)


@pytest.mark.parametrize("tensor", ["theta", "state0", "state1", "good"])
@pytest.mark.parametrize("change", ["missing", "shape", "dtype"])
def test_tensors_that_do_not_fit_are_not_taken(tmp_path, tensor, change):
    train(tmp_path, stop=6)
    (path,) = file.files(tmp_path)
    tensors, metadata = safetensors.read(path)
    x = tensors.pop(tensor)
    if change != "missing":
        tensors[tensor] = x[1:] if change == "shape" else x.astype("float64")
    safetensors.write(path, tensors, metadata)
    said = []
    net = network()
    theta = net.theta.copy()
    with pytest.raises(dx.CheckpointError, match="none of its checkpoints is whole; restore a copy of one"):
        train(tmp_path, say=said.append, net=net)
    assert "its tensors or counters do not fit the run" in said[0]
    assert_array_equal(net.theta, theta)


def test_a_checkpoint_is_no_model_and_says_what_makes_one(tmp_path):
    train(tmp_path, stop=6)
    with pytest.raises(dx.ModelFileError, match="a checkpoint, not a model; `deepxp train --resume` makes a model of"):
        dx.load(file.files(tmp_path)[0], "cpu")


# a disk that fails


def failing(monkeypatch, times, error):
    """The next `times` writes of the tensors of a file fail."""
    fsync, left = os.fsync, [times]

    def call(handle):
        if left[0] > 0:
            left[0] -= 1
            raise error
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", call)


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_fails_is_said_once_and_training_goes_on(tmp_path, monkeypatch, number):
    train(tmp_path, stop=2)
    before = names(tmp_path)
    content = (tmp_path / "checkpoint-000000002.safetensors").read_bytes()
    failing(monkeypatch, 99, OSError(number, os.strerror(number)))
    said = []
    assert_same_run(train(tmp_path, every="1steps", say=said.append), train())
    assert len(said) == 1
    assert "no checkpoint was saved: cannot write" in said[0] and os.strerror(number) in said[0]
    assert names(tmp_path) == before
    assert (tmp_path / "checkpoint-000000002.safetensors").read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_file_of_which_half_fits_leaves_nothing(tmp_path):
    """The system itself refuses the second half of it."""
    import resource

    train(tmp_path, stop=2)
    before = names(tmp_path)
    size = (tmp_path / "checkpoint-000000002.safetensors").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        ended = train(tmp_path, every="1steps", say=said.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(said) == 1 and os.strerror(errno.EFBIG) in said[0]
    assert names(tmp_path) == before
    assert_same_run(ended, train())
    assert_same_run(train(tmp_path), ended)


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch):
    failing(monkeypatch, 2, OSError(errno.ENOSPC, "No space left on device"))
    said = []
    train(tmp_path, every="3steps", say=said.append)
    assert len(said) == 1
    assert [about_of(path)["t"] for path in file.files(tmp_path)] == [9, 12]


def test_stopped_on_a_full_disk(tmp_path, monkeypatch):
    train(tmp_path, stop=2)
    failing(monkeypatch, 99, OSError(errno.ENOSPC, "No space left on device"))
    said = []
    _, error = train(tmp_path, stop=2, say=said.append)
    assert error.saved is None and "saved" not in str(error)
    assert len(said) == 1
    monkeypatch.undo()
    assert_same_run(train(tmp_path), train())


def test_a_folder_that_vanishes(tmp_path):
    folder, said = tmp_path / "run", []
    checkpoints = dx.Checkpoints(folder, every="1steps", say=said.append)

    def on_step(i, steps, loss):
        if i == 2 and folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    net = network()
    history = dx.train(net, X, Y, **BASE, checkpoints=checkpoints, on_step=on_step)
    assert_same_run((net, history), train())
    assert len(said) == 1 and "no checkpoint was saved: cannot write" in said[0]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(dx.ModelFileError, match="file/run: cannot hold checkpoints: Not a directory"):
        train(tmp_path / "file" / "run")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        train(tmp_path, stop=2)
    finally:
        os.umask(before)
    assert file.files(tmp_path)[0].stat().st_mode & 0o777 == 0o640


def test_what_a_kill_left_is_taken_away(tmp_path):
    (tmp_path / ".0123456789abcdef.tmp").write_bytes(b"half")
    train(tmp_path, stop=2)
    assert names(tmp_path) == {"checkpoint-000000002.safetensors"}


# one run at a time


posix = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


@posix
def test_two_runs_cannot_share_a_folder(tmp_path):
    with FolderLock(tmp_path), pytest.raises(dx.LockedError, match="is in use by another run; wait for it to end"):
        train(tmp_path)
    train(tmp_path)
    assert names(tmp_path) == set()


@posix
def test_the_lock_is_given_back_however_a_run_ends(tmp_path):
    train(tmp_path, stop=2)
    with pytest.raises(dx.ConfigError):
        train(tmp_path, l2=1.0)
    with FolderLock(tmp_path):
        pass


@posix
def test_a_lock_that_is_acquired_twice_is_released_twice(tmp_path):
    lock = FolderLock(tmp_path)
    with lock:
        with lock:
            pass
        with pytest.raises(dx.LockedError):
            FolderLock(tmp_path).acquire()
    with FolderLock(tmp_path):
        pass


@posix
def test_a_lock_whose_file_was_taken_away_meanwhile_is_taken_on_the_new_one(tmp_path, monkeypatch):
    """Between opening the file and locking it, the run before ends, and takes the file away."""
    import fcntl

    flock, calls = fcntl.flock, []

    def late(handle, how):
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(handle)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with FolderLock(tmp_path):
        assert len(calls) == 2
        monkeypatch.undo()
        with pytest.raises(dx.LockedError):
            FolderLock(tmp_path).acquire()


@posix
def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    import fcntl

    def unsupported(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    train(tmp_path, stop=2)


def test_warnings_are_the_default_way_to_say_something(tmp_path):
    train(tmp_path, every="3steps")
    damage(file.files(tmp_path)[-1], "empty")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dx.train(network(), X, Y, **BASE, checkpoints=dx.Checkpoints(tmp_path, resume=True))
    assert "a checkpoint was skipped" in str(caught[0].message)


def test_what_was_left_out_of_an_epoch_before_it_was_stopped_counts(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4, 80)).astype("float32"), rng.integers(0, 3, 80)
    X[0, 5], X[1, 71] = np.nan, np.inf
    arguments = {"epochs": 1, "batch_size": 10, "shuffle": False, "on_nonfinite": "skip", "on_note": lambda text: None}

    def records(checkpoints=None, on_step=None):
        net = dx.Network((4, 6, 3), backend="cpu", seed=1)
        history = dx.train(net, X, y, checkpoints=checkpoints, on_step=on_step, **arguments)
        return [{key: record[key] for key in ("loss", "skipped")} for record in history], net.theta

    expected, theta = records()
    stopping = dx.Checkpoints(tmp_path, every="none")
    with pytest.raises(dx.StoppedError):
        records(stopping, lambda step, steps, loss: stopping.stop() if step == 4 else None)
    found, resumed = records(dx.Checkpoints(tmp_path, every="none", resume=True))
    assert found == expected and expected[0]["skipped"] == 2
    assert_array_equal(resumed, theta)


def test_a_run_with_another_scaler_is_another_run(tmp_path):
    X, y = np.random.default_rng(0).standard_normal((3, 40)), np.arange(40) % 2

    def scaled(shift):
        return dx.data.Scaler("standard", np.full(3, shift), np.ones(3))

    def run(scaler, checkpoints, on_step=None):
        net = dx.Network((3, 4, 2), backend="cpu", scaler=scaler)
        dx.train(net, X, y, epochs=1, batch_size=10, checkpoints=checkpoints, on_step=on_step)

    stopping = dx.Checkpoints(tmp_path, every="none")
    with pytest.raises(dx.StoppedError):
        run(scaled(0.0), stopping, lambda step, steps, loss: stopping.stop())
    for other in (scaled(100.0), None):
        with pytest.raises(dx.ConfigError, match="scaler"):
            run(other, dx.Checkpoints(tmp_path, every="none", resume=True))

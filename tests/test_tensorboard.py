"""What TensorBoard is given is the record of each epoch, read back from the file of events."""

import math
import struct
import subprocess
import sys

import pytest

import deepxp as dx

pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
from tensorboardX.proto.event_pb2 import Event

from deepxp.tensorboard import TensorBoard, tag


def events(folder):
    """Of each file in the folder, oldest first, its events: TFRecord frames (length, CRC, event, CRC)."""
    for path in sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event()
            event.ParseFromString(data[12 : 12 + length])
            yield event
            data = data[16 + length :]


def scalars(folder):
    """{tag: {step: value}} as TensorBoard would show them: a session that begins takes back what follows its step."""
    found = {}
    for event in events(folder):
        if event.HasField("session_log"):
            found = {name: {s: v for s, v in values.items() if s < event.step} for name, values in found.items()}
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_every_number_of_a_record_is_a_scalar_of_its_epoch(tmp_path):
    records = [
        {"epoch": e, "loss": 1.0 / e, "lr": 0.5, "validation_loss": 2.0 / e, "norm_W1": 3.0, "norm_dW12": 4.0}
        for e in (1, 2)
    ]
    with TensorBoard(tmp_path) as board:
        for record in records:
            board(record)
    assert scalars(tmp_path) == {
        "loss/training": {1: 1.0, 2: 0.5},
        "loss/validation": {1: 2.0, 2: 1.0},
        "learning_rate": {1: 0.5, 2: 0.5},
        "norm_W/layer_1": {1: 3.0, 2: 3.0},
        "norm_dW/layer_12": {1: 4.0, 2: 4.0},
    }


def test_it_is_an_on_epoch(tmp_path):
    X, y = [[0.0, 1.0, 0.5, 0.2]], [0, 1, 1, 0]
    with TensorBoard(tmp_path) as board:
        history = dx.train(dx.Network((1, 2), backend="cpu"), X, y, epochs=3, on_epoch=board)
    shown = scalars(tmp_path)
    assert shown.keys() == {tag(name) for name in history.records[0] if name != "epoch"}
    assert shown["loss/training"] == pytest.approx(dict(enumerate(history.loss, 1)), rel=1e-6)


def test_what_is_not_finite_is_left_out(tmp_path):
    with TensorBoard(tmp_path) as board:
        board({"epoch": 1, "loss": math.nan, "lr": 1.0})
    assert scalars(tmp_path) == {"learning_rate": {1: 1.0}}


def test_a_folder_that_was_written_before_begins_anew(tmp_path):
    for loss in (1.0, 2.0):
        with TensorBoard(tmp_path) as board:
            board({"epoch": 1, "loss": loss})
            if loss == 1.0:
                board({"epoch": 2, "loss": loss})
        for path in tmp_path.glob("events.out.*"):  # two that begin in one second would have one name
            path.rename(tmp_path / f"events.{loss}")
    assert scalars(tmp_path)["loss/training"] == {1: 2.0}


def test_without_tensorboardx_the_error_says_how_to_get_it():
    script = "import sys\nsys.modules['tensorboardX'] = None\nimport deepxp.tensorboard"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "tensorboardX; install it: python -m pip install tensorboardX" in done.stderr

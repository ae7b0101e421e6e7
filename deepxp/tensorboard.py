"""The records of a run for TensorBoard, written by tensorboardX. Importing this imports it: the extra `tensorboard`."""

import math
import os
from collections.abc import Mapping

try:
    from tensorboardX import SummaryWriter
except ImportError as error:
    raise ImportError(
        "deepxp.tensorboard needs tensorboardX; install it: python -m pip install tensorboardX"
    ) from error

TAGS = {"loss": "loss/training", "lr": "learning_rate"}  # tensorboardX replaces blanks


class TensorBoard:
    """`on_epoch` for `deepxp.train`: every number of a record as a scalar, with the epoch as its step.

        with TensorBoard("runs/a") as board:
            deepxp.train(net, X, y, on_epoch=board)

    `tensorboard --logdir runs` shows it. A folder that was written before is gone over from its first epoch on.
    Raises OSError where the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._writer = SummaryWriter(os.fspath(folder), purge_step=0)

    def __call__(self, record: Mapping[str, float]) -> None:
        for name, value in record.items():
            if name != "epoch" and math.isfinite(value):
                self._writer.add_scalar(tag(name), value, round(record["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Write what is still waiting."""
        self._writer.close()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def tag(name: str) -> str:
    """What TensorBoard calls a number of a record, those that belong in one plot with the same beginning:
    `loss/validation`, `norm_dW/layer_2`."""
    if name.startswith("validation_"):
        return f"{name.removeprefix('validation_')}/validation"
    if name.startswith("norm_"):
        letters = name.removeprefix("norm_")
        return f"norm_{letters.rstrip('0123456789')}/layer_{letters.lstrip('dW')}"
    return TAGS.get(name, name)

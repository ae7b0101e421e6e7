"""What training saw, an entry an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 5  # of the last epochs, where a history is printed


@dataclass(repr=False)
class History:
    """What `train` saw, an entry an epoch: `records` with the keys epoch, loss, lr, seconds; norm_W1, norm_dW1, ...,
    the lengths ||W[l]|| and ||dW[l]|| after its last step; and for validation data validation_loss and
    validation_<metric>. `best_epoch` is that of the weights the network was left with."""

    records: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

    def __repr__(self) -> str:
        """The last epochs as a table."""
        epochs = f"{len(self)} epoch{'s' * (len(self) != 1)}"
        if not self.records:
            return f"History of {epochs}"
        more = f", the last {SHOWN} of them" if len(self) > SHOWN else ""
        best = "" if self.best_epoch is None else f"; the weights are those of epoch {self.best_epoch}"
        names = list(self.records[-1])
        cells = [[f"{record.get(name, float('nan')):.4g}" for name in names] for record in self.records[-SHOWN:]]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        rows = (
            "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in (names, *cells)
        )
        return "\n".join([f"History of {epochs}{more}{best}", *rows])

    def __getitem__(self, key: str) -> list[float]:
        return [record[key] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.records)

    @property
    def loss(self) -> list[float]:
        """J of the training batches, averaged over each epoch."""
        return self["loss"]

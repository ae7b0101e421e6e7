"""What training saw, an entry an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class History:
    """What `train` saw, an entry an epoch: `records` with the keys epoch, loss, lr, seconds; norm_W1, norm_dW1, ...,
    the lengths ||W[l]|| and ||dW[l]|| after its last step; and for validation data validation_loss and
    validation_<metric>. `best_epoch` is that of the weights the network was left with."""

    records: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

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

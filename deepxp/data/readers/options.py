"""What a caller may ask of a reader."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple

from deepxp.errors import ConfigError

LIMIT_BYTES: Final = 8 * 2**30
LEAST_LIMIT: Final = 256 * 2**20
PACKED_RATIO: Final = 64  # data that packs better than this is rarely data


def limit_of(size: int, limit: int | None) -> int:
    """The most bytes that a file of `size` bytes may take in memory: `limit`, or where that is None 64 times its size,
    though 256 MiB in any case and never more than 8 GiB."""
    return min(LIMIT_BYTES, max(LEAST_LIMIT, PACKED_RATIO * size)) if limit is None else limit


class NoTarget(Enum):
    """The type of NO_TARGET; an enum with one member is how a type checker follows a sentinel."""

    NO_TARGET = "no target"


NO_TARGET: Final = NoTarget.NO_TARGET
"""Passed as `target`: the file holds features only, or its targets are not wanted."""

Target = str | int | NoTarget | None
Header = Literal["auto", "yes", "no"]
Names = tuple[str | int, ...]
"""Columns of a table: an int is a position from 0, as in arrays; text a name, or a number counted from 1."""


class Columns(NamedTuple):
    """The columns that a model was trained on, and the target, if it is known.

    features: their names; of a table without a header their positions from 0; None: all but the target, as they come.
    categories: of each of these columns, in the same order, the words that are its one-hot features; None: numbers.
    width: how many columns a table without a header has, with its target; 0 where they are found by name.
    """

    features: tuple[str | int, ...] | None = None
    target: str | int | None = None
    categories: tuple[tuple[str, ...] | None, ...] = ()
    width: int = 0


BY_POSITION: Final = Columns()


@dataclass(frozen=True)
class Options:
    """The keyword arguments of `deepxp.data.load`, checked once; each reader heeds those that its format knows.

    Raises ConfigError for a value that no format could use.
    """

    target: Target = None
    header: Header = "auto"
    delimiter: str | None = None
    n_features: int | None = None
    limit_bytes: int | None = None
    columns: Columns = BY_POSITION
    ignore: Names = ()
    categories: Names = ()

    def __post_init__(self) -> None:
        if isinstance(self.target, bool):
            raise ConfigError(f"target={self.target} is no column; give a name or a position, or NO_TARGET for none")
        for name, said in (("ignore", self.ignore), ("categories", self.categories)):
            if not all(isinstance(column, str | int) and not isinstance(column, bool) for column in said):
                raise ConfigError(f"{name}={said!r} are no columns; give names or positions")
        if self.header not in ("auto", "yes", "no"):
            raise ConfigError(f"header={self.header!r} is not known; give 'auto', 'yes' or 'no'")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ConfigError(f"delimiter={self.delimiter!r} separates no cells; give one character such as ',' or ';'")
        if self.n_features is not None and self.n_features < 1:
            raise ConfigError(f"n_features={self.n_features}: a sample has at least one feature")
        if self.limit_bytes is not None and self.limit_bytes < 1:
            raise ConfigError(f"limit_bytes={self.limit_bytes}: nothing can be read within that")

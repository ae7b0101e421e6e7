"""Columns of words in a table: true and false as 1 and 0, categories as features of 0 and 1."""

from collections.abc import Mapping, Sequence

import numpy as np

TRUTHS = ({"false": 0, "true": 1}, {"no": 0, "yes": 1})
MOST = 1000
"""Categories of one column: a column with more of them is one of names or numbers of rows, which tell nothing."""


class Words:
    """The words of a column and their numbers: categories, of which each is a feature, or truth values in any case.
    `open` where new words get numbers, as they come."""

    def __init__(self, codes: Mapping[str, int], *, is_category: bool, open: bool = False) -> None:
        self.codes, self.is_category, self.open = dict(codes), is_category, open

    def __str__(self) -> str:
        return " or ".join(sorted(self.codes, key=self.codes.__getitem__, reverse=True))

    def number(self, cell: str) -> int | None:
        """The number of a cell, or None where it is none of the words."""
        word = cell.strip() if self.is_category else cell.strip().lower()
        found = self.codes.get(word)
        if found is None and self.open and word and len(self.codes) < MOST:
            found = self.codes[word] = len(self.codes)
        return found


def truths(cell: str) -> Words | None:
    """The words of the column that a cell is from, if it says true or false, yes or no."""
    return next((Words(codes, is_category=False) for codes in TRUTHS if cell.strip().lower() in codes), None)


def categories(known: Sequence[str] | None = None) -> Words:
    """The words of a column of categories: those that are known, or those that it will turn out to hold."""
    return Words({word: number for number, word in enumerate(known or ())}, is_category=True, open=known is None)


def one_hot(table: np.ndarray, words: Mapping[int, Words]) -> tuple[np.ndarray, dict[int, tuple[str, ...]]]:
    """The table (m, n) with a feature for each category in the place of a column of their numbers, and the categories
    of these columns: sorted, where they were not known before."""
    found, parts = {}, []
    for column in range(table.shape[1]):
        values = table[:, column]
        if column not in words or not words[column].is_category:
            parts.append(values[:, None])
            continue
        codes = words[column].codes
        found[column] = tuple(sorted(codes) if words[column].open else codes)
        place = np.empty(len(codes), np.intp)
        place[[codes[word] for word in found[column]]] = np.arange(len(codes))
        parts.append((place[values.astype(np.intp)][:, None] == np.arange(len(codes))).astype(np.float64))
    return (np.concatenate(parts, axis=1) if found else table), found

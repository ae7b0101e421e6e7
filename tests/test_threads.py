"""Work split over threads: every piece is done, none is empty, none is done twice."""

from itertools import product

import pytest

from deepxp.kernels import threads


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_the_pieces_cover_the_range_and_none_is_empty(cores, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: cores)
    for length, unit, numbers in product((1, 2, 15, 16, 17, 31, 32, 33, 100, 1000), (1, 16), (0, 10**6, 10**9)):
        pieces = []
        threads.split(lambda start, stop, pieces=pieces: pieces.append((start, stop)), length, numbers, unit)
        pieces.sort()
        assert all(start < stop for start, stop in pieces)
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == length
        assert all(start % unit == 0 for start, _ in pieces)
        assert len(pieces) <= cores


def test_an_error_in_a_piece_is_raised():
    def work(start, stop):
        if start:
            raise ArithmeticError("in a thread")

    if threads.count() > 1:
        with pytest.raises(ArithmeticError, match="in a thread"):
            threads.split(work, 10**6, 10**9)

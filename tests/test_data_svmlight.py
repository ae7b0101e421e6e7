import gzip

import numpy as np
import pytest

from deepxp.data import NO_TARGET, load
from deepxp.errors import ConfigError, DataError, ShapeError


@pytest.fixture
def svm(tmp_path):
    def write(text, name="a.svm"):
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


def test_indices_from_1_fill_a_dense_table(svm):
    dataset = load(svm("# made today\n+1 1:0.5 3:2 # a comment\n\n-1 2:-1e3\n-1\n"))
    np.testing.assert_array_equal(dataset.X, [[0.5, 0.0, 2.0], [0.0, -1000.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(dataset.y, [1, -1, -1])
    assert dataset.X.dtype == np.float64
    assert dataset.where(1).endswith("a.svm:4")
    assert dataset.where_y(2).endswith("a.svm:5:1")


@pytest.mark.parametrize("name", ["a.svm", "a.svmlight", "a.libsvm"])
def test_every_suffix(svm, name):
    np.testing.assert_array_equal(load(svm("0 1:2\n1 1:3\n", name)).X, [[2.0], [3.0]])


def test_gzip(svm):
    np.testing.assert_array_equal(load(svm(gzip.compress(b"0.5 1:2\n"), "a.svm.gz")).y, [0.5])


def test_a_test_file_has_the_width_of_the_training_file(svm):
    assert load(svm("1 2:1\n"), n_features=5).X.shape == (1, 5)
    with pytest.raises(DataError, match=r"a\.svm:2:3: index 6, but 5 features are expected"):
        load(svm("1 2:1\n1 2:1 6:1\n"), n_features=5)


def test_targets_that_are_not_wanted(svm):
    assert load(svm("? 1:1\n"), target=NO_TARGET).y is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1:1\n1 0:5\n", r"a\.svm:2:2: index 0: indices count from 1 here; add 1 to every index of the file$"),
        ("1 -3:5\n", r"a\.svm:1:2: index -3 after 0: the indices of a line must rise"),
        ("1 2:1 2:2\n", r"a\.svm:1:3: index 2 after 2: the indices of a line must rise"),
        ("1 1:1 a:5\n", r"a\.svm:1:3: 'a:5' is not of the form index:value$"),
        ("1 qid:3 1:1\n", r"a\.svm:1:2: 'qid:3' is not of the form index:value$"),
        ("1 1:1 7\n", r"a\.svm:1:3: '7' is not of the form index:value$"),
        ("1 1:nan\n", r"a\.svm:1:2: 'nan' is not finite$"),
        ("1 1:1\n1,2 1:1\n", r"a\.svm:2:1: '1,2' is no label; a line starts with one number$"),
        ("1:5 2:3\n", r"a\.svm:1:1: '1:5' is no label"),
        ("1\n-1\n", r"a\.svm: has no feature columns"),
        ("# nothing\n\n", r"a\.svm: has no rows, only blank lines or comments"),
        (b"1 1:1\n\xff\n", r"a\.svm:2: byte 0xff is not UTF-8 text"),
    ],
)
def test_what_does_not_parse_is_named_by_line_and_column(svm, text, message):
    with pytest.raises(DataError, match=message):
        load(svm(text))


@pytest.mark.parametrize("text", ["1 99999999999999999999:1\n", "1 2000000000:1\n", "1 1:1\n" * 100 + "1 40000:1\n"])
def test_a_dense_table_beyond_the_limit_is_refused_before_it_is_made(svm, text):
    with pytest.raises(DataError, match=r"limit of .*limit_bytes"):
        load(svm(text), limit_bytes=2**20)


def test_a_target_column_is_refused(svm):
    with pytest.raises(ConfigError, match=r"the first number of each line is its target; target=2 cannot be"):
        load(svm("1 1:1\n"), target=2)


def test_a_wider_file_than_expected_is_no_silent_cut(svm):
    with pytest.raises((DataError, ShapeError), match="index 3, but 2 features"):
        load(svm("1 3:1\n"), n_features=2)

import gzip

import numpy as np
import pytest

from deepxp.data import NO_TARGET, load
from deepxp.data.readers import table
from deepxp.data.readers.options import Columns
from deepxp.errors import ConfigError, DataError, ShapeError

IRIS = "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,virginica\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_table_with_header_and_names_as_target(csv):
    dataset = load(csv(IRIS))
    np.testing.assert_array_equal(dataset.X, [[5.1, 3.5], [7.0, 3.2], [6.3, 3.3]])
    np.testing.assert_array_equal(dataset.y, ["setosa", "versicolor", "virginica"])
    assert dataset.features == ("length", "width")
    assert dataset.name.endswith("a.csv")


@pytest.mark.parametrize(
    "text",
    [
        "1,2,0\n3,4,1\n",
        "\ufeff1,2,0\n3,4,1\n",
        "1,2,0\r\n3,4,1\r\n",
        "1,2,0\n3,4,1",
        '"1","2",0\n3,"4",1\n',
        ' 1, "2",0\n3 ,4, 1\n',
        "\n# a comment, with a comma\n1,2,0\n\n  \n3,4,1\n\n",
        "1.0,2e0,0\n+3,.4e1,1\n",
        "a,b,t\n1,2,0\n3,4,1\n",
        gzip.compress(b"1,2,0\n3,4,1\n"),
    ],
    ids=["plain", "bom", "crlf", "no end", "quoted", "blanks", "skipped lines", "decimals", "header", "gzip"],
)
def test_the_same_table_written_in_other_ways(csv, text):
    dataset = load(csv(text, "a.csv.gz" if isinstance(text, bytes) else "a.csv"))
    np.testing.assert_array_equal(dataset.X, [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(dataset.y, [0, 1])
    assert dataset.X.dtype == np.float64 and dataset.y.dtype == np.int64


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", None), ("a.csv", "\t"), ("a.dat", "\t"), ("a.TSV", None)])
def test_tabs(csv, name, delimiter):
    np.testing.assert_array_equal(load(csv("1\t2\t0\n", name), delimiter=delimiter).X, [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("target", "y", "features"),
    [
        (None, [7, 8], ("a", "b")),
        ("t", [7, 8], ("a", "b")),
        ("b", [2, 5], ("a", "t")),
        (0, [1, 4], ("b", "t")),
        ("0", [1, 4], ("b", "t")),
        (-2, [2, 5], ("a", "t")),
    ],
)
def test_the_target_is_a_column_by_name_or_position(csv, target, y, features):
    dataset = load(csv("a,b,t\n1,2,7\n4,5,8\n"), target=target)
    np.testing.assert_array_equal(dataset.y, y)
    assert dataset.features == features


def test_no_target_takes_every_column_for_a_feature(csv):
    dataset = load(csv("1,2\n3,4\n"), target=NO_TARGET)
    assert dataset.y is None
    np.testing.assert_array_equal(dataset.X, [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("target", [None, "t", "2"])
def test_samples_to_predict_may_come_with_or_without_their_target(csv, target):
    with_target = load(csv("a,b,t\n1,2,x\n"), target=target, n_features=2)
    without = load(csv("a,b\n1,2\n"), target=target, n_features=2)
    np.testing.assert_array_equal(with_target.X, without.X)
    np.testing.assert_array_equal(with_target.y, ["x"])
    assert without.y is None


def test_another_number_of_features_than_expected_is_refused(csv):
    with pytest.raises(ShapeError, match=r"a\.csv: has 2 features per row, but 7 are expected"):
        load(csv("1,2,0\n"), n_features=7)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [("3 4 5", np.int64), ("-1 +1 007", np.int64), ("1.0 2 3", np.float64), ("1.5 2 nan", np.float64), ("a 2 3", str)],
)
def test_targets_are_whole_numbers_numbers_or_text(csv, column, dtype):
    y = load(csv("".join(f"1,{cell}\n" for cell in column.split()))).y
    assert np.issubdtype(y.dtype, dtype)
    np.testing.assert_array_equal(y, np.array(column.split()).astype(y.dtype))


def test_a_header_can_be_claimed_and_denied(csv):
    path = csv("2023,2024,t\n1,2,0\n")
    assert load(path, header="yes").features == ("2023", "2024")
    assert len(load(path, header="no").X) == 2
    assert len(load(path, target="t").X) == 1  # a target by name is a header that need not be claimed


@pytest.mark.parametrize("first", ["5.1,?,setosa", "id,2024,t", "1,,0"])
def test_a_first_row_that_could_be_header_or_sample_is_not_guessed(csv, first):
    with pytest.raises(
        DataError, match=r"a\.csv:1:[12]: '.*' is no number, but other cells of this row are; say header="
    ):
        load(csv(first + "\n1,2,0\n"))


def test_rows_know_their_lines(csv):
    dataset = load(csv('# made today\na,t\n\n1,"one\ntwo"\n\n2,b\n'))
    assert [dataset.where(row).rpartition("a.csv")[2] for row in range(2)] == [":4", ":7"]
    assert dataset.where_y(1).endswith("a.csv:7:2")
    np.testing.assert_array_equal(dataset.y, ["one\ntwo", "b"])


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,t\n1,2,0\n3,x4,1\n", r"a\.csv:3:2: 'x4' is text where a number belongs$"),
        ("a,b,t\n1,2,0\n1_0,4,1\n", r"a\.csv:3:1: '1_0' is text where a number belongs$"),
        ("a,b,t\n1,2,0\n3,,1\n", r"a\.csv:3:2: the cell is empty; every feature needs a number$"),
        ("a,b,t\n1,nan,0\n", r"a\.csv:2:2: 'nan' is not finite$"),
        ("a,b,t\n1,2,0\n1,-inf,0\n", r"a\.csv:3:2: '-inf' is not finite$"),
        ("a,b,t\n1,2,0\n1,2\n", r"a\.csv:3:3: 2 cells, but line 1 has 3$"),
        ("a,b,t\n1,2,0\n1,2,0,9\n", r"a\.csv:3:4: 4 cells, but line 1 has 3$"),
        ('a,b,t\n1,2,0\n"1\n5",2,0\n', r"a\.csv:3:1: '1\\n5' is text where a number belongs$"),
        ('a,b,t\n1,2,0\n"1,2,0\n', r"a\.csv:3: the cells cannot be told apart: unexpected end of data$"),
        ("a,b,t\n1,2,0\n1,2,\n", r"a\.csv:3:3: the target is missing"),
        ("a,b,t\n1,2,0\n1,2,NA\n", r"a\.csv:3:3: the target 'NA' stands among numbers"),
        (b"a,b,t\n1,2,caf\xe9\n", r"a\.csv:2: byte 0xe9 is not UTF-8 text; save the file as UTF-8$"),
        (b"\xff\xfea\0,\0", r"a\.csv:1: byte 0xff is not UTF-8 text"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(csv, text, message, block, monkeypatch):
    monkeypatch.setattr(table, "BLOCK_CELLS", block)
    with pytest.raises(DataError, match=message):
        load(csv(text))


@pytest.mark.parametrize(("row", "column"), [("x,0,1", 1), ("1,0,x", 3)])
def test_columns_are_counted_in_the_file_also_behind_the_target(csv, row, column):
    with pytest.raises(DataError, match=rf"a\.csv:2:{column}: 'x' is text where a number belongs"):
        load(csv(f"a,t,b\n{row}\n"), target="t")


def test_a_position_as_text_is_not_mistaken_for_a_cell(csv):
    np.testing.assert_array_equal(load(csv("1,2,0\n3,4,1\n"), target="2").y, [0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n# nothing\n", r"a\.csv: has no rows, only blank lines or comments"),
        ("a,b,t\n", r"a\.csv: has no rows after the header"),
        ("1\n2\n", r"a\.csv:1: has no feature columns$"),
        ("a;b;t\n1;2;0\n", r"has no feature columns; if ';' separates the cells, give delimiter=';'"),
        ("a\tb\n1\t2\n", r"give delimiter='\\t'"),
    ],
)
def test_a_table_without_samples_is_refused(csv, text, message):
    with pytest.raises(DataError, match=message):
        load(csv(text))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("price", r"a\.csv:1: no column is named 'price'; the first row is length, width, species"),
        (3, r"a\.csv:1: there is no column 3; the table has 3, counted from 0"),
        (-4, r"there is no column -4"),
    ],
)
def test_a_target_that_is_not_there_is_refused(csv, target, message):
    with pytest.raises(DataError, match=message):
        load(csv(IRIS), target=target)


def test_a_name_that_two_columns_have_is_refused(csv):
    with pytest.raises(DataError, match="2 columns are named 'a'; give the position of one"):
        load(csv("a,a,b\n1,2,3\n"), target="a")


def test_a_cell_may_hold_the_separator_that_the_parser_uses(csv):
    with pytest.raises(DataError, match=r"a\.csv:1:1: .* is text where a number belongs"):
        load(csv("1\x1f2,0\n"), header="no")


@pytest.mark.parametrize("packed", [False, True])
def test_more_text_than_the_limit_is_refused(csv, packed):
    text = b"1,2,0\n" * 1000
    path = csv(gzip.compress(text), "a.csv.gz") if packed else csv(text)
    with pytest.raises(DataError, match="more than the limit of 0 MiB; raise limit_bytes"):
        load(path, limit_bytes=5999)
    assert len(load(path, limit_bytes=180_000).X) == 1000


def test_text_counts_whether_or_not_it_is_kept(csv):
    with pytest.raises(DataError, match="raise limit_bytes"):
        load(csv("# nothing\n" * 100 + "1,2\n"), limit_bytes=1000)


def test_a_larger_table_than_the_limit_is_refused(csv):
    with pytest.raises(DataError, match="raise limit_bytes"):
        load(csv(b"1,2,0\n" * 1000), limit_bytes=15_999)


@pytest.mark.parametrize("block", [1, 5, 2**18])
def test_a_table_of_many_blocks(csv, block, monkeypatch):
    monkeypatch.setattr(table, "BLOCK_CELLS", block)
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[:20] = np.rint(X[:20])  # whole numbers first, then decimals
    lines = [",".join(map(str, [*row, i % 2])) for i, row in enumerate(X.tolist())]
    dataset = load(csv("\n".join(lines)))
    np.testing.assert_array_equal(dataset.X, X)
    np.testing.assert_array_equal(dataset.y, np.arange(50) % 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "::"}, "delimiter='::' separates no cells"),
        ({"header": "maybe"}, "header='maybe' is not known; give 'auto', 'yes' or 'no'"),
        ({"target": False}, "target=False is no column"),
        ({"n_features": 0}, "n_features=0"),
        ({"limit_bytes": 0}, "limit_bytes=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(csv, options, message):
    with pytest.raises(ConfigError, match=message):
        load(csv(IRIS), **options)


def test_columns_by_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,b,y,a\nr1,2,0,1\nr2,4,1,3\n", encoding="utf-8")
    found = load(path, columns=Columns(("a", "b"), "y"))
    assert found.X.tolist() == [[1, 2], [3, 4]]
    assert found.y.tolist() == [0, 1]
    assert (found.features, found.target, found.ignored) == (("a", "b"), "y", ("id",))
    assert load(path, columns=Columns(("a", "b")), target="id").y.tolist() == ["r1", "r2"]
    assert load(path, columns=Columns(("a", "b"), "gone")).y is None
    with pytest.raises(DataError, match="the model needs the columns a, c; this table has id, b, y, a; missing: c"):
        load(path, columns=Columns(("a", "c"), "y"))
    path.write_text("a,a,b\n1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="2 columns are named 'a'"):
        load(path, columns=Columns(("a", "b")))


def test_columns_by_name_without_a_header_are_those_by_position(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,2,0\n3,4,1\n", encoding="utf-8")
    found = load(path, columns=Columns(("a", "b"), "y"))
    assert found.X.tolist() == [[1, 2], [3, 4]]
    assert (found.target, found.ignored) == (2, ())
    assert load(path, columns=Columns(None, 0)).X.tolist() == [[2, 0], [4, 1]]
    assert load(path, columns=Columns(("a", "b"), "1")).X.tolist() == [[1, 2], [3, 4]]  # a name, not a position

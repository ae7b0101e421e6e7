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
        ("1", [1, 4], ("b", "t")),
        ("-1", [7, 8], ("a", "b")),
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


@pytest.mark.parametrize("target", [None, "t", "3"])
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
    [("3 4 5", np.int64), ("-1 +1 007", np.int64), ("1.0 2 3", np.float64), ("1.5 2 nan", np.float64), ("a 2 a", str)],
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


def test_a_first_row_of_numbers_whose_target_is_a_word_of_its_own_is_not_guessed(csv):
    path = csv("0,1,t\n1,2,0\n3,4,1\n5,6,0\n")
    with pytest.raises(
        DataError, match=r"a\.csv:1:3: no other row has the target 't': a header or a sample\? say header='yes' if"
    ):
        load(path)
    assert load(path, header="yes").features == ("0", "1")
    assert set(load(path, header="no").y) == {"t", "0", "1"}
    assert set(load(csv("1,2,ant\n3,4,bee\n5,6,ant\n")).y) == {"ant", "bee"}
    assert list(load(csv("1,2,ant\n3,4,bee\n"), n_features=2).y) == ["ant", "bee"]  # what a model is asked of


def test_rows_know_their_lines(csv):
    dataset = load(csv('# made today\na,t\n\n1,"one\ntwo"\n\n2,b\n'))
    assert [dataset.where(row).rpartition("a.csv")[2] for row in range(2)] == [":4", ":7"]
    assert dataset.where_y(1).endswith("a.csv:7:2")
    np.testing.assert_array_equal(dataset.y, ["one\ntwo", "b"])


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b,t\n1,2,0\n3,x4,1\n",
            r"a\.csv:3:2: 'x4' in column 'b' is text where a number belongs; mend it, or leave .* ignore='b'$",
        ),
        ("a,b,t\n1,2,0\n1_0,4,1\n", r"a\.csv:3:1: '1_0' in column 'a' is text where a number belongs; mend it"),
        ("a,b,t\n1,2,0\n3,,1\n", r"a\.csv:3:2: the cell of column 'b' is empty; every feature needs a number$"),
        ("a,b,t\n1,nan,0\n", r"a\.csv:2:2: 'nan' in column 'b' is not finite$"),
        ("a,b,t\n1,2,0\n1,-inf,0\n", r"a\.csv:3:2: '-inf' in column 'b' is not finite$"),
        ("a,b,t\n1,2,0\n1,2\n", r"a\.csv:3:3: 2 cells, but line 1 has 3$"),
        ("a,b,t\n1,2,0\n1,2,0,9\n", r"a\.csv:3:4: 4 cells, but line 1 has 3$"),
        ('a,b,t\n1,2,0\n"1\n5",2,0\n', r"a\.csv:3:1: '1\\n5' in column 'a' is text where a number belongs; mend it"),
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
    with pytest.raises(DataError, match=rf"a\.csv:2:{column}: 'x' in column '.' is text where a number belongs"):
        load(csv(f"a,t,b\n{row}\n"), target="t")


def test_a_position_as_text_is_not_mistaken_for_a_cell(csv):
    np.testing.assert_array_equal(load(csv("1,2,0\n3,4,1\n"), target="3").y, [0, 1])


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
        (3, r"a\.csv:1: there is no column at the position 3, counted from 0; the table has 3"),
        ("4", r"a\.csv:1: there is no column 4; the table has 3"),
        ("0", r"a\.csv:1: there is no column 0; the table has 3"),
        (-4, r"there is no column at the position -4"),
    ],
)
def test_a_target_that_is_not_there_is_refused(csv, target, message):
    with pytest.raises(DataError, match=message):
        load(csv(IRIS), target=target)


def test_a_name_that_two_columns_have_is_refused(csv):
    with pytest.raises(DataError, match="2 columns are named 'a'; give the number of one"):
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


# Words


def test_true_and_false_are_1_and_0(csv):
    dataset = load(csv("a,open,sold,t\n1,true,NO,x\n2,False,yes,y\n"))
    np.testing.assert_array_equal(dataset.X, [[1, 1, 0], [2, 0, 1]])
    np.testing.assert_array_equal(load(csv("1,no,0\n2,yes,1\n")).X, [[1, 0], [2, 1]])  # they make no header


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,t\n1,yes,0\n1,maybe,0\n", r"a\.csv:3:2: 'maybe' in column 'b' is not yes or no"),
        ("a,b,t\n1,yes,0\n1,true,0\n", r"a\.csv:3:2: 'true' in column 'b' is not yes or no"),
        ("a,b,t\n1,yes,0\n1,,0\n", r"a\.csv:3:2: the cell of column 'b' is empty"),
        ("a,b,t\n1,2,0\n1,no,0\n", r"a\.csv:3:2: 'no' in column 'b' is text where a number belongs"),
    ],
)
def test_a_column_is_one_of_truth_values_or_of_numbers_throughout(csv, text, message):
    with pytest.raises(DataError, match=message):
        load(csv(text))


SALES = "day,city,price,sold\n2024-01-01,Oslo,1.5,yes\n2024-01-02,Bergen,2.5,no\n2024-01-03,Oslo,3.5,yes\n"


def test_a_column_of_text_is_named_with_an_example_and_what_to_do(csv):
    said = (
        r"a\.csv:2:1: '2024-01-01' in column 'day' is text where a number belongs; leave the column out with "
        r"ignore='day', or make features of its words: categories='day'; the target is the last column, 'sold', unless "
        "target= names another$"
    )
    with pytest.raises(DataError, match=said):
        load(csv(SALES))
    with pytest.raises(DataError, match=r"2:2: 'Oslo' in column 'city' .* categories='city'$"):
        load(csv(SALES), target="sold", ignore="day")
    with pytest.raises(DataError, match=r"1:2: 'Oslo' in column '2' .* ignore='2'"):
        load(csv("1,Oslo,0\n"), header="no")


@pytest.mark.parametrize("block", [1, 2**18])
def test_categories_become_a_feature_for_each_word(csv, block, monkeypatch):
    monkeypatch.setattr(table, "BLOCK_CELLS", block)
    dataset = load(csv(SALES), ignore="day", categories=["city"])
    np.testing.assert_array_equal(dataset.X, [[0, 1, 1.5], [1, 0, 2.5], [0, 1, 3.5]])
    np.testing.assert_array_equal(dataset.y, ["yes", "no", "yes"])
    assert dataset.features == ("city=Bergen", "city=Oslo", "price")
    assert (dataset.ignored, dataset.target) == (("day",), "sold")
    assert dataset.columns == Columns(("city", "price"), "sold", (("Bergen", "Oslo"), None))


def test_another_table_is_read_with_the_same_categories(csv):
    columns = load(csv(SALES), ignore="day", categories="city").columns
    found = load(csv("price,city\n9.5,Bergen\n8.5,Oslo\n"), columns=columns)
    np.testing.assert_array_equal(found.X, [[1, 0, 9.5], [0, 1, 8.5]])
    assert found.y is None
    with pytest.raises(
        DataError,
        match=r"2:2: 'Rome' in column 'city' is a category that the model has not seen; it knows Bergen, Oslo;",
    ):
        load(csv("price,city\n9.5,Rome\n"), columns=columns)
    with pytest.raises(DataError, match="the model needs the columns city, price"):
        load(csv("1,2\n"), columns=columns)


def test_the_target_is_the_last_column_that_is_not_ignored(csv):
    dataset = load(csv(SALES), ignore=["day", "sold"], categories="city")
    assert (dataset.target, dataset.features) == ("price", ("city=Bergen", "city=Oslo"))
    for options in ({"ignore": "sold"}, {"categories": "sold"}):
        with pytest.raises(
            DataError, match=r":1: column 'sold' is the target, which cannot be ignored or made features"
        ):
            load(csv(SALES), target="sold", **options)


def test_columns_without_a_header_go_by_their_numbers(csv):
    text = "x7,Oslo,1.5,0\nx8,Bergen,2.5,1\n"
    dataset = load(csv(text), header="no", ignore="1", categories=1, target="4")
    np.testing.assert_array_equal(dataset.X, [[0, 1, 1.5], [1, 0, 2.5]])
    np.testing.assert_array_equal(dataset.y, [0, 1])
    assert dataset.columns == Columns((1, 2), 3, (("Bergen", "Oslo"), None), 4)
    for new in (text, "x7,Oslo,1.5\nx8,Bergen,2.5\n"):
        np.testing.assert_array_equal(load(csv(new), columns=dataset.columns, n_features=3).X, dataset.X)
    front = load(csv("0,7,Oslo\n1,8,Bergen\n"), target=0, categories="3", header="no")
    assert front.columns == Columns((1, 2), 0, (None, ("Bergen", "Oslo")), 3)
    np.testing.assert_array_equal(load(csv("7,Oslo\n8,Bergen\n"), columns=front.columns).X, front.X)
    with pytest.raises(
        DataError, match="has 4 columns; the model takes tables of 3, or of 2 without column 1, the tar"
    ):
        load(csv(text), columns=front.columns)
    with pytest.raises(DataError, match="a header or a sample"):
        load(csv("a,b,0\n"), categories=["1", "2"])


def test_a_column_of_too_many_categories_is_refused(csv):
    text = "a,t\n" + "".join(f"n{i},0\n" for i in range(1001))
    with pytest.raises(
        DataError, match=r":1002:1: column 'a' has more than 1000 categories; leave it out with ignore='a'"
    ):
        load(csv(text), categories="a")
    with pytest.raises(DataError, match="raise limit_bytes"):
        load(csv(text[: text.index("n900")]), categories="a", limit_bytes=900 * 900 * 8)


def test_categories_are_of_tables(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), y=[0, 1])
    with pytest.raises(ConfigError, match="is no table of text, whose columns are what ignore and categories name"):
        load(tmp_path / "a.npz", ignore="a")

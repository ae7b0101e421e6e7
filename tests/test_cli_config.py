import dataclasses
import tomllib

import pytest

from deepxp.cli import config, main
from deepxp.cli.options import ROWS, Settings
from deepxp.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_flag_goes_over_the_file_and_the_file_over_the_default(tmp_path):
    file = write(tmp_path, "epochs = 5\nhidden = [7, 3]\nlr = 1\n")
    chosen = config.settings({"epochs": "6"}, file)
    assert (chosen.epochs, chosen.hidden, chosen.lr, chosen.batch_size) == (6, (7, 3), 1.0, Settings.batch_size)
    assert config.settings({}) == Settings()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("hidden = []", "hidden", ()),
        ("hidden = 'none'", "hidden", ()),
        ("hidden = '7,3'", "hidden", (7, 3)),
        ("hidden = 7", "hidden", (7,)),
        ("batch-size = 9", "batch_size", 9),
        ("batch_size = 9", "batch_size", 9),
        ("header = true", "header", "yes"),
        ("header = false", "header", "no"),
        ("header = 'auto'", "header", "auto"),
        ("target = -1", "target", "-1"),
        ("delimiter = 'tab'", "delimiter", "\t"),
        ("device = 'cpu'", "device", "cpu"),
    ],
)
def test_values_of_a_file(tmp_path, text, name, value):
    assert getattr(config.settings({}, write(tmp_path, text)), name) == value


def test_none_takes_back_what_the_file_says(tmp_path):
    assert config.settings({"patience": "none"}, write(tmp_path, "patience = 5")).patience is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 5", r"run\.toml: unknown key 'epoch'; did you mean epochs\?"),
        ("batch-sizes = 5", "did you mean batch-size"),
        ("qwertz = 5", "there are data, target"),
        ("config = 'other.toml'", "unknown key 'config'"),
        ("[optimizer]\nlr = 1", "optimizer must be one of sgd"),
        ("epochs = 2.5", r"epochs must be a whole number, 1 or more, got 2\.5"),
        ("epochs = true", "epochs must be a whole number"),
        ("epochs = 0", "epochs must be a whole number, 1 or more, got 0"),
        ("lr = 'fast'", "lr must be a positive number, got 'fast'"),
        ("lr = inf", "lr must be a positive number"),
        ("hidden = [3, true]", "hidden must be sizes"),
        ("hidden = [3, 0]", "hidden must be sizes"),
        ("seed = -1", "seed must be a whole number, 0 or more"),
        ("test = 1.0", "test must be a fraction"),
        ("data = ['a', 'b']", "data must be text"),
        ("epochs = ", "is not TOML"),
    ],
)
def test_what_a_file_cannot_say(tmp_path, capsys, text, message):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        config.settings({}, file)
    assert main(["train", "--config", file]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("deepxp: error: ") and err.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read: No such file"):
        config.settings({}, str(tmp_path / "no.toml"))


def test_what_is_written_reads_back_equal(tmp_path):
    everything = Settings(
        data='a "b".csv',
        target="y",
        labels="l",
        delimiter="\t",
        hidden=(),
        lr=1e-7,
        clip_norm=1.5,
        patience=3,
        header="no",
    )
    for chosen in (everything, Settings()):
        assert config.settings({}, write(tmp_path, config.dumps(chosen))) == chosen


def test_the_folder_is_left_out_and_all_else_written():
    filled = {name: 1 for name in ROWS if ROWS[name].default is None}
    found = tomllib.loads(config.dumps(Settings(**{ROWS[name].name: value for name, value in filled.items()})))
    assert set(found) == set(ROWS) - {"out"}


def test_every_row_has_a_flag_and_its_default_is_of_its_kind(capsys):
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for name, row in ROWS.items():
        assert (f"--{name}" if name != "data" else "DATA") in out
        if row.default is not None:
            assert row.metadata["kind"].read(row.default) == row.default
    assert {row.name for row in dataclasses.fields(Settings)} == {name.replace("-", "_") for name in ROWS}


@pytest.mark.parametrize(
    ("said", "number"),
    [("500", 500), ("500M", 5e8), ("2G", 2e9), ("2GB", 2e9), ("1.5 kB", 1500), ("1GiB", 2**30), ("3Ki", 3072), (7, 7)],
)
def test_bytes_have_units(said, number):
    assert config.settings({"limit-bytes": said}).limit_bytes == number


@pytest.mark.parametrize("said", ["2X", "G", "-1", "0", "1e9", "2 G B", "0.1", 0, 1.5, True, ""])
def test_what_is_no_number_of_bytes_is_refused(said):
    with pytest.raises(ConfigError, match="--limit-bytes must be a number of bytes such as 500M, 2G, 2GiB or 20000000"):
        config.settings({"limit-bytes": said})


@pytest.mark.parametrize(
    ("said", "names"),
    [("a", ("a",)), ("day, my id", ("day", "my id")), (["a,b", 3], ("a,b", "3")), ("none", ()), ("", ())],
)
def test_columns_are_named_in_a_list(said, names):
    assert config.settings({"ignore": said, "categories": said}).ignore == names

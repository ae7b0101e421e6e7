"""A run is read back from its folder as it was, files that no run wrote are refused, and its page shows its numbers."""

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_benchmark_report import BROWSER, SVG, browse, words

from deepxp.errors import DataError
from deepxp.history import History
from deepxp.pages import axes
from deepxp.runs import page
from deepxp.runs.run import CONFIG, METRICS, RESULT, Result, Run, counts, dumps, read

C = np.array([[30, 2, 0], [0, 25, 0], [1, 0, 22]])
RESULT_OF_C = Result(
    command="deepxp train t.csv --lr 0.1",
    when="2026-11-23T06:22:29+00:00",
    device="cpu",
    data="t.csv: 400 samples, 4 features, 3 classes",
    network="4-8-3, relu, softmax-cross-entropy, float32: 67 parameters",
    training="8 epochs of 5 steps with 64 samples, adam, lr 0.1 (cosine)",
    versions={"deepxp": "0.1.0", "NumPy": "2.4"},
    parts={"train": 290, "validation": 30, "test": 80},
    best_epoch=6,
    stopped_early=True,
    part="test",
    metrics={"loss": 0.25, "accuracy": 77 / 80, "f1": 0.96},
    classes=["a", "b & <b>", "$c$"],
    confusion=counts(C),
    notes=["2 of 8 units of layer 1 are dead"],
)


def records(epochs=8):
    return [
        {
            "epoch": epoch, "loss": 2.0**-epoch, "lr": 0.01 * epoch, "seconds": 0.25, "norm_W1": 4.0 + epoch,
            "norm_W2": 2.0, "norm_dW1": 10.0**-epoch, "norm_dW2": 0.5, "validation_loss": 1.5**-epoch,
            "validation_accuracy": 1 - 0.5**epoch,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip


def run(epochs=8, result=RESULT_OF_C):
    history = History(records(epochs), result.best_epoch, result.stopped_early) if result else History(records(epochs))
    return Run(Path("runs/t"), history, {"lr": 0.1, "hidden": [8], "seed": 7}, result)


def write(folder, epochs=8, result=RESULT_OF_C, config="lr = 0.1\nhidden = [8]\nseed = 7\n"):
    folder.mkdir(exist_ok=True)
    (folder / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records(epochs)), encoding="utf-8")
    (folder / CONFIG).write_text(config, encoding="utf-8")
    if result is not None:
        (folder / RESULT).write_text(dumps(result), encoding="utf-8")
    return folder


# the folder


def test_a_run_is_read_as_it_was_written(tmp_path):
    found = read(write(tmp_path / "t"))
    assert found == replace(run(), folder=tmp_path / "t")
    np.testing.assert_array_equal(found.result.matrix(), C)
    assert found.name == "t"


def test_a_run_that_is_at_work_has_no_result(tmp_path):
    found = read(write(tmp_path / "t", result=None))
    assert found.result is None
    assert found.history.best_epoch is None
    assert found.history["loss"] == run().history["loss"]


def test_null_is_nan_and_what_some_epochs_lack_is_nan(tmp_path):
    folder = write(tmp_path / "t", epochs=1, result=replace(RESULT_OF_C, metrics={"loss": math.inf}))
    with (folder / METRICS).open("a") as file:
        file.write('{"epoch": 2, "loss": null, "skipped": 3}\n')
    found = read(folder)
    assert math.isnan(found.history["loss"][1]) and math.isnan(found.history["norm_W1"][1])
    assert math.isnan(found.history["skipped"][0]) and found.history["skipped"][1] == 3
    assert math.isnan(found.result.metrics["loss"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "is not the record of an epoch"),
        ("[1, 2]", "is not the record of an epoch"),
        ('{"epoch": 1}', "no epoch or no loss"),
        ('{"epoch": "x", "loss": 1}', "is not the record"),
        ('{"epoch": 0, "loss": 1}', "no epoch"),
        ('{"epoch": NaN, "loss": 1}', "no epoch"),
        ('{"epoch": 1.5, "loss": 1}', "no epoch"),
        ('{"epoch": 1e308, "loss": 1}', "no epoch"),
        ('{"epoch": 9007199254740992, "loss": 1}', "no epoch"),
        ('{"epoch": 1, "loss": [1]}', "is not the record"),
        ('{"epoch": 1, "loss": 1' + "0" * 400 + "}", "is not the record"),
        ('{"epoch": 1, "loss": ' + "[" * 100 + "]" * 100 + "}", "nested deeper"),
        ('{"epoch": 1, "loss": 1, "x": "' + "y" * 2**18 + '"}', "characters of JSON"),
    ],
)
def test_metrics_that_no_run_wrote_are_refused(tmp_path, line, said):
    (tmp_path / METRICS).write_text(line + "\n")
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path)
    assert f"{METRICS}, line 1" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"confusion": [[0, 3, 1]]}, {"confusion": [[-1, 0, 1]]}, {"confusion": [[0, 0]]}, {"confusion": [[0, 0, "1"]]},
        {"confusion": 3}, {"classes": [1, 2, 3]}, {"classes": None}, {"metrics": {"loss": "x"}}, {"metrics": [1]},
        {"metrics": {"loss": 10**400}}, {"metrics": {"loss": math.inf}}, {"classes": ["\ud800", "b", "c"]},
        {"network": "\udfff"},
        {"command": 3}, {"best_epoch": "x"}, {"best_epoch": 1.5}, {"versions": {"a": 1}}, {"parts": {"train": "x"}},
        {"notes": [1]}, {"part": 5}, {"novelty": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_result_that_no_run_wrote_is_refused(tmp_path, change):
    folder = write(tmp_path / "t")
    (folder / RESULT).write_text(json.dumps(json.loads(dumps(RESULT_OF_C)) | change))
    with pytest.raises(DataError, match="does not say how a run ended"):
        read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"command": 1}', "[" * 10000])
def test_a_result_that_is_none_is_refused(tmp_path, text):
    folder = write(tmp_path / "t")
    (folder / RESULT).write_text(text)
    with pytest.raises(DataError, match="does not say how a run ended"):
        read(folder)


def test_a_folder_that_is_no_run_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match="no epoch has ended"):
        read(tmp_path)
    (tmp_path / METRICS).write_text("")
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path)
    (tmp_path / METRICS).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not text"):
        read(tmp_path)
    with pytest.raises(DataError, match="is not TOML"):
        read(write(tmp_path / "t", config="lr = "))


def test_epochs_that_each_have_names_of_their_own_are_refused(tmp_path):
    lines = [json.dumps({"epoch": e, "loss": 1} | {f"{e} {k}": 1 for k in range(900)}) for e in range(1, 101)]
    (tmp_path / METRICS).write_text("\n".join(lines))
    with pytest.raises(DataError, match="100 epochs of 90002 numbers are more than a run writes"):
        read(tmp_path)


def test_of_too_many_classes_no_matrix_is_made():
    names = [str(k) for k in range(1001)]
    assert replace(RESULT_OF_C, classes=names).matrix() is None


# the page


def tree(of):
    text = page.html(of)
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(re.sub(' xmlns="http://www.w3.org/1999/xhtml"', "", text))


def table(of, caption):
    found = [t for t in tree(of).iter("table") if caption in words(t.find("caption"))]
    assert len(found) == 1
    heads = [words(th) for th in found[0].findall("./thead/tr/th")]
    return heads, [[words(cell) for cell in row] for row in found[0].findall("./tbody/tr")]


def test_the_headline_is_what_came_out():
    found = tree(run())
    assert words(found.find(".//h1")) == "t.csv: 96.25 % of 80 test samples are right"
    assert "67 parameters; trained on cpu in 2.00 s" in words(found.find(".//p[@class='lead']"))
    said = words(found.find(".//header"))
    assert "stopped early, after epoch 8; the weights are those of epoch 6" in said
    assert "Note: 2 of 8 units of layer 1 are dead." in said
    numbers = replace(RESULT_OF_C, metrics={"loss": 1.0, "r2": 0.5}, classes=None, confusion=None)
    assert words(tree(run(result=numbers)).find(".//h1")) == "t.csv: R² 0.5000 on the 80 test samples"
    assert words(tree(run(result=None)).find(".//h1")) == "t"


def test_a_run_whose_epochs_are_all_the_last_that_there_can_be_has_a_page():
    last = [{"epoch": 2.0**53 - 1, "loss": 0.5 / k, "norm_W1": 1.0, "norm_dW1": 1.0} for k in (1, 2)]
    assert tree(Run(Path("runs/t"), History(last), {}, None)).find(f".//{SVG}svg") is not None


def test_every_epoch_is_in_the_table():
    heads, rows = table(run(), "Every epoch")
    assert heads == ["epoch", "loss", "lr", "seconds", "validation loss", "validation accuracy"]
    for row, record in zip(rows, records(), strict=True):
        assert row[0] == str(record["epoch"])
        assert float(row[1]) == pytest.approx(record["loss"], rel=1e-3)
        assert row[3] == "250 ms"
        assert float(row[5].removesuffix(" %")) == pytest.approx(100 * record["validation_accuracy"], abs=0.005)


def test_of_many_epochs_some_are_in_the_table_the_best_and_the_last_among_them():
    _, rows = table(run(5000, replace(RESULT_OF_C, best_epoch=4711)), "Every epoch of 25")
    shown = [int(row[0]) for row in rows]
    assert len(shown) <= page.MOST_ROWS + 2
    assert {1, 26, 4711, 5000} <= set(shown)


def test_every_number_of_the_confusion_matrix_is_in_the_table():
    heads, rows = table(run(), "The 80 test samples")
    assert heads == ["true", "a", "b & <b>", "$c$", "right"]
    assert [row[0] for row in rows] == ["a", "b & <b>", "$c$"]
    assert [[int(cell or 0) for cell in row[1:-1]] for row in rows] == C.tolist()
    assert [row[-1] for row in rows] == ["93.8 %", "100.0 %", "95.7 %"]


def test_of_many_classes_the_most_frequent_confusions_are_listed():
    wrong = np.eye(40, dtype=int) * 5
    wrong[3, 4], wrong[7, 1] = 9, 11
    result = replace(RESULT_OF_C, classes=[f"k{k}" for k in range(40)], confusion=counts(wrong))
    _, rows = table(run(result=result), "the most frequent confusions among 40 classes")
    assert rows == [["k7", "k1", "11"], ["k3", "k4", "9"]]


def svgs(of):
    return {s.find(f"{SVG}text").text: s for s in tree(of).iter(f"{SVG}svg") if s.get("role") == "img"}


def heights(svg):
    """From the labels of its vertical axis: what a height in the plot means."""
    ticks = [x for x in svg.iter(f"{SVG}text") if x.get("text-anchor") == "end" and re.match(r"-?[\d.]", x.text)]
    ticks = [x for x in ticks if float(x.get("x")) < axes.LEFT]
    (y0, low), *rest, (y1, high) = sorted((float(x.get("y")) - 4, float(x.text.replace(",", ""))) for x in ticks)
    even = abs((rest[0][1] - low) / (rest[0][0] - y0) - (high - low) / (y1 - y0)) < 1e-3 * abs((high - low) / (y1 - y0))
    if even:
        return lambda y: low + (y - y0) / (y1 - y0) * (high - low)
    return lambda y: math.exp(math.log(low) + (y - y0) / (y1 - y0) * (math.log(high) - math.log(low)))


@pytest.mark.parametrize(
    ("title", "keys", "unit"),
    [
        ("loss", ["loss", "validation_loss"], 1.0),
        ("validation accuracy", ["validation_accuracy"], 100.0),
        ("learning rate", ["lr"], 1.0),
        ("‖W[l]‖", ["norm_W1", "norm_W2"], 1.0),
        ("‖dW[l]‖", ["norm_dW1", "norm_dW2"], 1.0),
    ],
)
def test_points_are_where_their_numbers_are(title, keys, unit):
    svg = svgs(run())[title]
    at = heights(svg)
    drawn = [line.get("points").split() for line in svg.iter(f"{SVG}polyline")]
    assert len(drawn) == len(keys)
    for line, key in zip(drawn, keys, strict=True):
        values = [unit * record[key] for record in records()]
        spread = max(values) - min(values)
        found = [at(float(point.split(",")[1])) for point in line]
        assert found == pytest.approx(values, rel=0.03, abs=0.02 * spread)


def test_a_peak_among_many_epochs_is_drawn():
    many = run(5000)
    many.history.records[3333]["loss"] = 700.0
    line = next(svgs(many)["loss"].iter(f"{SVG}polyline")).get("points").split()
    assert len(line) <= page.MOST_POINTS + 2
    assert min(float(point.split(",")[1]) for point in line) < min(float(point.split(",")[1]) for point in line[:5])


def test_one_epoch_is_a_mark():
    assert list(svgs(run(1))["loss"].iter(f"{SVG}circle"))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308, 5e-324, 0.0, -1.0])
def test_a_page_of_strange_numbers_is_a_page(value):
    strange = run()
    strange.history.records[:] = [r | dict.fromkeys(("loss", "norm_dW1", "seconds"), value) for r in records()]
    assert tree(strange) is not None


def test_the_page_refers_to_nothing_outside_itself_and_escapes_names():
    text, found = page.html(run()), tree(run())
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= {
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/2000/svg",
    }
    for node in found.iter():
        assert node.tag.removeprefix(SVG) not in {"script", "link", "img", "iframe", "object", "use", "image", "b"}
        assert not {"src", "href", "onload", "onclick"} & {name.rpartition("}")[2] for name in node.attrib}
    assert not re.search(r"url\(|@import|@font-face", text)


def test_what_was_run_and_how_the_model_is_used_is_said():
    said = words(tree(run()))
    for part in (
        "deepxp train t.csv --lr 0.1",
        "290 to train; 30 to validation; 80 to test",
        "deepxp 0.1.0, NumPy 2.4",
        "deepxp predict runs/t/model.safetensors DATA",
        "net = deepxp.load('runs/t/model.safetensors')",
    ):
        assert part in said
    _, rows = table(run(), "deepxp train --config runs/t/config.toml repeats the run")
    assert rows == [["lr", "0.1"], ["hidden", "8"], ["seed", "7"]]


@pytest.mark.parametrize(("loss", "how"), [("squared-error", ""), ("softmax-cross-entropy", "--proba ")])
def test_probabilities_are_asked_for_where_there_are_any(loss, how):
    said = words(tree(Run(Path("runs/t"), run().history, {"loss": loss}, RESULT_OF_C)))
    assert f"deepxp predict runs/t/model.safetensors DATA {how}--out said.csv" in said


# axes


@pytest.mark.parametrize("values", [(0.0, 1.0), (-3.0, 7.2), (0.81, 0.99), (5.0, 5.0), (0.0, 0.0), (1e6, 1e6 + 3)])
def test_an_even_axis_has_few_round_ticks_around_its_values(values):
    axis = axes.even_axis("y", values, str)
    assert axis.low <= min(values) and max(values) <= axis.high and axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 8
    gaps = np.diff(axis.ticks)
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_it(tmp_path):
    path = tmp_path / "run.html"
    path.write_text(page.html(run()), encoding="utf-8")
    done = browse(path, tmp_path)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == page.html(run()).count("<svg")
    assert "96.25 % of 80 test samples are right" in done.stdout

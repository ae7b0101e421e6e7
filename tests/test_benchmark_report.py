"""The page and the text: what they show is what is in the JSON, and a browser shows all of it."""

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from cupy_double import cupy_double  # noqa: F401 - fixtures
from test_benchmark_fakes import (
    SETTINGS,
    World,
    both,  # noqa: F401
    measured,
    pair,
)

from deepxp.benchmark import plots, report, tables
from deepxp.benchmark.results import FORMAT
from deepxp.cli.report import as_json
from deepxp.pages import axes

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCALES = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
PRODUCTS = {"W A": "W A", "dZ Aᵀ": "dZ A^T", "Wᵀ dZ": "W^T dZ"}
SVG = "{http://www.w3.org/2000/svg}"


def page(results):
    """The page as a tree. It has to be well-formed; HTML's names are in a namespace of their own."""
    text = report.html(results)
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(re.sub(' xmlns="http://www.w3.org/1999/xhtml"', "", text))


def words(node):
    return " ".join("".join(node.itertext()).split())


def same(shown, value):
    """Does the text say the number, to the digits that it shows? Written apart from the code that formats."""
    if value is None:
        return shown in ("–", "-")
    if shown in ("–", "-", "0"):
        return shown == "0" and value == 0
    text, _, unit = shown.replace(",", "").partition(" ")
    digits = len(text.partition(".")[2])
    scale = SCALES[unit] if unit else 1.0
    return abs(float(text) - value / scale) <= 0.5 * 10**-digits * (1 + 1e-9)


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        ("1.23 ms", 0.0012345),
        ("0", 0.0),
        ("–", None),
        ("1,234", 1234.4),
        ("57", 57.4),
        ("0.4", 0.44),
        ("12.3 µs", 1.234e-5),
    ],
)
def test_the_comparison_takes_what_is_right(shown, value):
    assert same(shown, value)


@pytest.mark.parametrize(
    ("shown", "value"),
    [("1.24 ms", 0.00123), ("1.23 µs", 0.00123), ("–", 1.0), ("0", 0.0002), ("0", 0.7), ("1.23", None), ("57", 58.1)],
)
def test_the_comparison_refuses_what_is_wrong(shown, value):
    assert not same(shown, value)


def by_head(table):
    """Of every row of a table of cells: m, contender, and its texts by the heads of their columns."""
    heads = [words(th) for th in table.findall("./thead/tr/th")][2:]
    for body in table.findall("tbody"):
        for row in body.findall("tr"):
            marks = [words(th) for th in row.findall("th")]
            m = int(marks[0]) if len(marks) == 2 else m  # noqa: F821 - of the row before: it spans several
            yield m, marks[-1], list(zip(heads, (words(td) for td in row.findall("td")), strict=True))


def expected(cell, caption, position, head):
    """What the JSON says for a column."""
    items = cell["items"]
    if "training step" in caption:
        if head in ("transfer", "together"):
            return cell["transfer_seconds" if head == "transfer" else "step_with_transfer_seconds"]
        fields = {"compute": "seconds", "first call": "first_seconds", "least": "low_seconds"}
        fields |= {"greatest": "high_seconds", "rounds": "rounds"}
        return items.get("step", {}).get(fields[head])
    if "products" in caption:
        item = [*PRODUCTS.values()][position // 3]
        assert head == [[*PRODUCTS][position // 3], "GFLOP/s", "% of peak"][position % 3]
        return items.get(item, {}).get(["seconds", "gflops", "percent_of_peak"][position % 3])
    item, field = {
        "softmax": ("softmax", "seconds"),
        "GB/s": ("softmax", "gb_per_second"),
        "copy GB/s": ("copy", "gb_per_second"),
        "% of copy": ("softmax", "percent_of_copy"),
        "with loss": ("loss", "seconds"),
    }[head]
    return items.get(item, {}).get(field)


def check_tables(results):
    """Every number of the tables of cells is the JSON's; returns how many there were."""
    told = json.loads(as_json(results.as_dict()))
    cells = {(c["m"], c["n"], c["contender"]): c for c in told["cells"]}
    section = next(s for s in page(results).iter("section") if words(s.find("h2")) == "Every number")
    seen, n = 0, None
    for node in section:
        if node.tag == "h3":
            n = int(words(node).removeprefix("n = "))
        for table in node.iter("table"):
            for m, contender, texts in by_head(table):
                for i, (head, shown) in enumerate(texts):
                    value = expected(cells[m, n, contender], words(table.find("caption")), i, head)
                    assert same(shown, value), (m, n, contender, head, shown, value)
                    seen += 1
    return seen


def test_every_number_in_the_tables_is_the_jsons(both):  # noqa: F811
    assert check_tables(both) == len(both.cells) * (7 + 9 + 5)


def test_a_wrong_number_in_a_table_is_noticed(both, monkeypatch):  # noqa: F811
    monkeypatch.setattr(report, "duration", lambda seconds: tables.duration(1.02 * seconds))
    with pytest.raises(AssertionError):
        check_tables(both)


def test_the_tables_of_starts_and_crossovers_are_the_jsons(both):  # noqa: F811
    told, tree = json.loads(as_json(both.as_dict())), page(both)
    sections = {words(s.find("h2")): s for s in tree.iter("section")}
    rows = sections["Starting"].findall(".//tbody/tr")
    assert len(rows) == len(told["contenders"])
    for row, contender in zip(rows, told["contenders"], strict=True):
        start, first, gflops, N, product = (words(td) for td in row.findall("td"))
        cell = next(c for c in told["cells"] if c["contender"] == contender["name"])
        assert words(row.find("th")) == contender["name"]
        assert same(start, contender["start_seconds"])
        assert same(first, sum(item["first_seconds"] for item in cell["items"].values()))
        assert same(gflops, contender["peak"]["gflops"]) and str(contender["peak"]["N"]) == N
        assert same(product, contender["peak"]["first_seconds"])
    crossings = {(c["item"], c["n"], c["transfer"]): c for c in told["crossovers"]}
    for row in sections["Where the GPU begins to win"].findall(".//tbody/tr"):
        item = PRODUCTS.get(words(row.find("th")), words(row.find("th")))
        keys = [(item, n, moved) for n in SETTINGS.n for moved in (False, True)]
        for key, td in zip(keys, row.findall("td"), strict=True):
            assert words(td) == str(crossings[key]["from_m"] or "never")


def test_the_text_has_a_table_for_each_m_and_n_with_the_devices_as_rows(both):  # noqa: F811
    lines = tables.text(both).splitlines()
    for m in SETTINGS.m:
        for n in SETTINGS.n:
            at = lines.index(f"m = {m}, n = {n}")
            for row, line in zip(both.contenders, lines[at + 3 :], strict=False):
                cell = both.cell(m, n, row.name)
                assert line.startswith(row.name)
                shown = re.findall(r"(?<=  )\S+ [mµn]?s\b|(?<=  )0(?=  )", line)
                step, softmax, loss = cell.items["step"], cell.items["softmax"], cell.items["loss"]
                values = [step.seconds, cell.transfer_seconds, step.first_seconds, softmax.seconds, loss.seconds]
                assert len(shown) == 5 and all(map(same, shown, values)), line
                percents = [int(float(x)) for x in re.findall(r"([\d.]+)%", line)]
                assert len(percents) == 4 and percents[-1] == 100
    assert any("the m from which on gpu:0 is faster than cpu" in line for line in lines)
    assert max(map(len, lines)) <= 128


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0"), (1.0, "1.00 s"), (9.996e-4, "1.00 ms"), (0.0123, "12.3 ms"), (4e-10, "0.400 ns"), (12345.0, "12,345 s")],
)
def test_durations(seconds, said):
    assert tables.duration(seconds) == said


def test_what_was_not_measured_is_a_dash_with_its_reason():
    world = World()
    results = measured(world, pair(world))
    cells = [
        replace(c, items={k: v for k, v in c.items.items() if k != "step"}, skipped={"step": "it took <too> long"})
        if c.m == 8
        else c
        for c in results.cells
    ]
    results = replace(
        results, cells=tuple(replace(c, step_with_transfer_seconds=None) if c.m == 8 else c for c in cells)
    )
    assert check_tables(results)
    assert "step at m = 8 on gpu:0: it took <too> long" in words(page(results))
    assert "not measured on gpu:0: it took <too> long (step)" in tables.text(results)
    assert "{}" not in report.html(replace(results, cells=tuple(replace(c, items={}) for c in results.cells)))


def test_the_page_refers_to_nothing_outside_itself(both):  # noqa: F811
    text = report.html(both)
    names = {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}
    in_text = {url.rstrip(").,;") for text in words(page(both)).split() for url in re.findall(r"https?://\S+", text)}
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= names | in_text
    for node in page(both).iter():
        assert node.tag.removeprefix(SVG) not in {"script", "link", "img", "iframe", "object", "use", "image", "base"}
        assert not {"src", "href", "onload", "onclick"} & {name.rpartition("}")[2] for name in node.attrib}
    assert not re.search(r"url\(|@import|@font-face", text)


def test_names_are_escaped(both):  # noqa: F811
    rows = tuple(replace(row, name=f"<b>&{row.name}") for row in both.contenders)
    cells = tuple(replace(c, contender=f"<b>&{c.contender}") for c in both.cells)
    tree = page(replace(both, contenders=rows, cells=cells, conclusions=("a < b & c",)))
    assert not list(tree.iter("b"))
    assert "<b>&gpu:0" in words(tree)
    assert "a < b & c" in words(tree)


def test_the_headline_names_machine_and_crossover(both):  # noqa: F811
    tree = page(both)
    assert words(tree.find(".//h1")) == f"deepxp on {both.machine['cpu']} and on Double GPU"
    assert words(tree.find(".//p[@class='lead']")) == both.conclusions[0]


def test_the_json_is_whole(both):  # noqa: F811
    told = json.loads(as_json(both.as_dict()))
    assert told["format"] == FORMAT
    assert set(told) == {"format", *vars(both)}
    assert told["settings"]["m"] == list(SETTINGS.m)
    assert len(told["cells"]) == len(SETTINGS.m) * len(SETTINGS.n) * len(both.contenders)


def test_every_key_of_the_json_is_in_the_schema(both):  # noqa: F811
    from deepxp.benchmark import results

    def keys(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield name
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    documented = set(re.findall(r"[A-Za-z_]+", results.__doc__))
    found = {key for key in keys(json.loads(as_json(both.as_dict()))) if " " not in key}
    assert found - documented == set()


# plots


def test_a_plot_has_a_point_for_every_number(both):  # noqa: F811
    svgs = [s for s in page(both).iter(f"{SVG}svg") if s.get("role") == "img"]
    per_n, n, m = len(both.contenders), len(SETTINGS.n), len(SETTINGS.m)
    assert len(svgs) == n + 3 + n
    marks = [len([x for x in svg.iter() if x.find(f"{SVG}title") is not None]) for svg in svgs]
    assert marks == [m * (per_n + 1)] * n + [m * n * 2] * 3 + [m * per_n] * n


def heights(svg):
    """From the labels of its vertical axis: what a height in the plot means."""
    ticks = [x for x in svg.iter(f"{SVG}text") if x.get("text-anchor") == "end" and x.text[0].isdigit()]
    (y0, low), *_, (y1, high) = sorted((float(x.get("y")) - 4, reading(x.text)) for x in ticks)
    return lambda y: math.exp(math.log(low) + (y - y0) / (y1 - y0) * (math.log(high) - math.log(low)))


def reading(text):
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * (SCALES[unit] if unit else 1.0)


def test_the_peak_is_drawn_in_where_it_is(both):  # noqa: F811
    for svg in ET.fromstring(f"<div>{plots.products(both)}</div>").iter(f"{SVG}svg"):
        if svg.get("role") != "img":
            continue
        at = heights(svg)
        drawn = [x.get("d") for x in svg.iter(f"{SVG}path") if "dashed" in x.get("class")]
        said = [x.text for x in svg.iter(f"{SVG}text") if x.text.startswith("peak")]
        assert said == [f"peak {tables.number(row.peak.gflops)}" for row in both.contenders]
        for d, row in zip(drawn, both.contenders, strict=True):
            y = float(re.match(r"M\d+ ([\d.]+)H", d)[1])
            assert at(y) == pytest.approx(row.peak.gflops, rel=0.02)


def test_points_are_where_their_numbers_are(both):  # noqa: F811
    svgs = [s for s in page(both).iter(f"{SVG}svg") if s.get("role") == "img"]
    for n, svg in zip(SETTINGS.n, svgs, strict=False):
        at = heights(svg)
        lines = [x.get("points").split() for x in svg.iter(f"{SVG}polyline")]
        cells = [[both.cell(m, n, row.name) for m in SETTINGS.m] for row in both.contenders]
        expected = [[c.seconds("step") / c.m for c in row] for row in cells]
        expected.append([c.step_with_transfer_seconds / c.m for c in cells[-1]])
        assert len(lines) == len(expected)
        for line, values in zip(lines, expected, strict=True):
            assert [at(float(point.split(",")[1])) for point in line] == pytest.approx(values, rel=0.02)


def test_ticks_are_at_1_2_5_or_powers_of_ten():
    assert axes.ticks(10, 200) == [10, 20, 50, 100, 200]
    assert axes.ticks(1e-6, 1e-2) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    assert len(axes.ticks(1e-20, 1e20)) <= axes.MOST_TICKS
    assert axes.bounds([30, 110]) == (20, 200)
    assert axes.bounds([50]) == (20, 50) or axes.bounds([50])[0] < 50 <= axes.bounds([50])[1]
    assert axes.bounds([0.0021, 0.0049]) == (0.002, 0.005)


@pytest.mark.parametrize("heights", [[50, 50, 50], [10, 12, 200], [195, 200, 198], [40, 20, 30]])
def test_labels_do_not_overlap(heights):
    placed = axes.apart(heights, 20, 200)
    ordered = sorted(placed)
    assert all(b - a >= axes.LINE for a, b in pairwise(ordered))
    assert ordered[0] >= 20 and ordered[-1] <= 200
    assert sorted(range(3), key=lambda i: heights[i]) == sorted(range(3), key=lambda i: placed[i])


@pytest.mark.parametrize("sizes", [(32,), (32, 128, 512), tuple(2**i for i in range(16)), (1, 3, 700), (100, 101)])
def test_sizes_on_the_axis_do_not_touch(sizes):
    lines = [axes.Line(tuple(axes.Point(m, 1.0, "") for m in sizes), 0, 0)]
    svg = ET.fromstring(axes.panel("t", lines, plots._m_axis(lines), axes.log_axis("y", [0.5, 2], str)))
    labels = [x for x in svg.iter(f"{SVG}text") if x.get("text-anchor") == "middle" and x.get("class") == "tick"]
    assert labels
    spans = [(float(x.get("x")), 3.3 * len(x.text)) for x in labels]
    assert all(b - wb - (a + wa) > 4 for (a, wa), (b, wb) in pairwise(spans))


# a browser


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_it(both, tmp_path):  # noqa: F811
    path = tmp_path / "bench.html"
    path.write_text(report.html(both), encoding="utf-8")
    done = browse(path, tmp_path)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == report.html(both).count("<svg")
    assert done.stdout.count("<td>") == report.html(both).count("<td>")
    for part in ("Every number", "How it was measured", both.conclusions[0]):
        assert part in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_browser_reports_errors_of_a_page(tmp_path):
    path = tmp_path / "wrong.html"
    path.write_text("<script>missing()</script>")
    assert "CONSOLE" in browse(path, tmp_path).stderr


def browse(path, folder):
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split(), "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

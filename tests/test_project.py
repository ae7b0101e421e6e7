"""What stands around the code can be followed: CONTRIBUTING.md, the forms for issues, CITATION.cff."""

import ast
import re
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import deepxp as dx
from deepxp.backend import Backend
from deepxp.cli.parser import parse
from deepxp.ops import updates
from deepxp.ops.activations import ACTIVATIONS
from deepxp.ops.losses import Loss
from deepxp.optimizers import Optimizer

ROOT = Path(__file__).resolve().parents[1]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
if not FORMS.is_dir():
    pytest.skip("CONTRIBUTING.md and the rest are in the checkout and the sdist only", allow_module_level=True)

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "CONTRIBUTING.md", ROOT / ".github" / "pull_request_template.md", *sorted(FORMS.glob("*.yml")))
}


# --- CONTRIBUTING.md --------------------------------------------------------------------------------------------------


def example(about):
    """The Python of the guide in which a word stands."""
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)]
    (found,) = [block for block in blocks if re.search(rf"(def|class) {about}\b", block)]
    return found


def trained(**options):
    """The losses of a small training of numbers with what the guide made."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 64))
    given = {"hidden": "tanh", "loss": "squared-error"}
    given |= {key: options.pop(key) for key in given.keys() & options.keys()}
    net = dx.Network((3, 8, 1), backend=Backend("reference", np), dtype="float64", seed=0, **given)
    y = 3.0 * np.tanh(X[0]) - X[1]
    assert dx.gradcheck(net, X, y[None, :]).passed
    return dx.train(net, X, y, epochs=20, batch_size=16, **options)["loss"]


def test_the_activation_of_the_guide_is_accepted_and_trains():
    names = {"__name__": "guide"}
    exec(example("softplus"), names)
    g = dx.Activation("softplus", names["softplus"], names["softplus_backward"])
    losses = trained(hidden=g, optimizer=dx.Adam(lr=0.05))
    assert losses[-1] < 0.5 * losses[0]
    assert names["net"].g[1].name == "softplus"


def test_the_update_rule_of_the_guide_trains():
    names = {"__name__": "guide"}
    exec(example("adagrad"), names)
    scope = {"dataclass": dataclass, "ClassVar": ClassVar, "Optimizer": Optimizer}
    exec(example("AdaGrad"), scope | {"updates": SimpleNamespace(Rule=updates.Rule, adagrad=names["adagrad"])}, names)
    losses = trained(optimizer=names["AdaGrad"](lr=0.1))
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_of_the_guide_trains_on_any_numbers():
    names = {"__name__": "guide"}
    exec(example("log_cosh"), names)
    losses = trained(loss=Loss("log-cosh", ACTIVATIONS["identity"], names["log_cosh"]), optimizer=dx.Adam(lr=0.05))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_named_is_there(name):
    named = re.findall(r"(?:deepxp|tests|docs|bench|\.ci)/[\w./]*\w|\b[A-Z]+\.(?:md|cff)\b", TEXTS[name])
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert name != "CONTRIBUTING.md" or len(set(named)) > 15


def test_a_session_of_nox_that_is_named_is_there():
    sessions = {
        node.name: [ast.unparse(decorator) for decorator in node.decorator_list]
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    named = set(re.findall(r"nox -s (\w+)", GUIDE))
    assert {"release", "gpu", "bench"} <= named
    assert [name for name in named if not any("nox.session" in line for line in sessions.get(name, []))] == []


def test_a_list_that_is_named_in_a_test_is_there():
    """What the guide tells to extend, by its name."""
    for file, name in (
        *(("test_updates.py", "RULES"), ("test_tape.py", "RULES"), ("test_kernels.py", "RULES")),
        *(("test_functions.py", "RATES"), ("test_functions.py", "STATES"), ("test_functions.py", "ACTIVATIONS")),
        *(("test_network.py", "ACTIVATIONS"), ("test_gradcheck.py", "ACTIVATIONS")),
        *(("test_activations.py", "LIMITS"), ("test_losses.py", "EVALUATE")),
    ):
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^{name} = ", text, re.MULTILINE), (file, name)


# --- the forms --------------------------------------------------------------------------------------------------------

KEYS = {  # of the attributes of each type of element: those it must have, and those it may have
    "markdown": ({"value"}, set()),
    "textarea": ({"label"}, {"description", "placeholder", "value", "render"}),
    "dropdown": ({"label", "options"}, {"description", "multiple", "default"}),
    "checkboxes": ({"label", "options"}, {"description"}),
}


def complaints(form):
    """What GitHub would not take, as far as these forms go."""
    if not form.keys() >= {"name", "description", "body"} or form.keys() - {"name", "description", "body", "labels"}:
        yield f"the form has {sorted(form)}"
    ids = [element["id"] for element in form.get("body", []) if "id" in element]
    if len(set(ids)) < len(ids) or [name for name in ids if not re.fullmatch(r"[\w-]+", name)]:
        yield f"the names are {ids}"
    for element in form.get("body", []):
        must, may = KEYS[element["type"]]
        given = element["attributes"]
        if element.keys() - {"type", "id", "attributes", "validations"} or not must <= given.keys() <= must | may:
            yield f"{element}"
        texts = [text for key, text in given.items() if key not in ("options", "multiple", "default")]
        if not all(type(text) is str for text in texts):
            yield f"not all is text in {given}"
        kind = {"dropdown": str, "checkboxes": dict}.get(element["type"])
        if kind and not all(type(option) is kind for option in given["options"]):
            yield f"options {given['options']}"


def read(name):
    yaml = pytest.importorskip("yaml", reason="PyYAML, of the extra test, is not installed")
    return yaml.safe_load((FORMS / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["bug", "performance", "feature"])
def test_a_form_is_one_that_is_taken(name):
    assert {path.stem for path in FORMS.glob("*.yml")} == {"bug", "performance", "feature", "config"}
    assert [*complaints(read(name))] == []


def test_the_checker_sees_a_form_that_is_not_taken():
    whole = {"name": "n", "description": "d", "body": [{"type": "textarea", "id": "a", "attributes": {"label": "l"}}]}
    assert [*complaints(whole)] == []
    for wrong in (
        {"body": []},
        whole | {"about": "x"},
        whole | {"body": whole["body"] * 2},
        whole | {"body": [{"type": "textarea", "attributes": {"title": "l"}}]},
        whole | {"body": [{"type": "textarea", "attributes": {"label": True}}]},
        whole | {"body": [{"type": "checkboxes", "attributes": {"label": "l", "options": ["a"]}}]},
    ):
        assert len([*complaints(wrong)]) == 1, wrong


def test_a_bug_report_asks_for_info_and_a_performance_report_for_the_benchmark():
    def required(name):
        return {e["attributes"]["label"] for e in read(name)["body"] if e.get("validations", {}).get("required")}

    assert "python -m deepxp info" in required("bug")
    assert {"python -m deepxp info", "deepxp bench --json bench.json"} <= required("performance")


@pytest.mark.parametrize("name", TEXTS)
def test_a_command_that_is_asked_for_exists(name):
    for line in re.findall(r"(?:python -m )?\bdeepxp ((?:train|check|info|bench|explain)(?: --\w+)*)", TEXTS[name]):
        words = line.split()
        parse([*words, *({"--json": ["bench.json"]}.get(words[-1], []) if words[0] == "bench" else [])])


# --- CITATION.cff -----------------------------------------------------------------------------------------------------

CFF = {  # the top level of a citation of software in version 1.2.0 of the format, as far as it is used here
    *("cff-version", "message", "type", "title", "abstract", "authors", "version", "date-released", "license"),
    *("keywords", "repository-code", "url", "doi", "identifiers"),
}


def test_the_citation_is_one_and_agrees_with_the_package():
    yaml = pytest.importorskip("yaml", reason="PyYAML, of the extra test, is not installed")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found.keys() <= CFF and found.keys() >= {"cff-version", "message", "title", "authors"}
    assert (found["cff-version"], found["type"]) == ("1.2.0", "software")
    assert found["version"] == dx.__version__
    assert found["license"] == project["license"]
    assert [author["name"] for author in found["authors"]] == [author["name"] for author in project["authors"]]
    assert set(found["keywords"]) <= set(project["keywords"])

"""Settings come back from TOML as they were."""

import math
import tomllib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepxp.errors import ConfigError
from deepxp.toml import dumps

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalar = st.one_of(text, st.booleans(), st.integers(), st.floats(allow_nan=False))
value = st.one_of(scalar, st.lists(scalar, max_size=4), st.lists(st.lists(scalar, max_size=2), max_size=2))
table = st.dictionaries(text, value, max_size=5)


def same(a: object, b: object) -> bool:
    """Equal in type as well: in Python 1 == True == 1.0, and 0.0 == -0.0"""
    return repr(a) == repr(b)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(table, st.dictionaries(text, table, max_size=3))
@example({"": "", "é ü.[]": '"""\\', "a-b_C9": "\x00\x08\t\n\x0b\x0c\r\x1b\x1f\x7f\x85\u2028\U0001f600'#="}, {})
@example({"big": [1e16, 5e-324, 1.7976931348623157e308, -0.0, 1e-07, math.inf, -math.inf], "n": [2**63, -(2**70)]}, {})
@example({"x": 1}, {"": {}, "t.u": {"]": [True, 1, 1.0]}})
def test_round_trip(flat, nested):
    config = {**flat, **nested}
    assert tomllib.loads(dumps(config)) == config
    # Tables move behind the values, so compare the types one by one.
    assert all(same(tomllib.loads(dumps({key: item})), {key: item}) for key, item in config.items())


def test_the_text_itself():
    config = {
        "hidden": (256, 128),
        "split": {"seed": 0, "by": None},
        "lr": 1e-3,
        "resume": False,
        "out": None,
        "note": 'a "b"\n',
    }
    assert dumps(config) == (
        'hidden = [256, 128]\nlr = 0.001\nresume = false\nnote = "a \\"b\\"\\n"\n\n[split]\nseed = 0\n'
    )


def test_empty_and_deeper():
    assert dumps({}) == "" and dumps({"a": None}) == ""
    assert dumps({"a": {"b": {"c": 1}}}) == "[a]\n\n[a.b]\nc = 1\n"


def test_nan_and_subclasses_of_the_plain_types():
    assert math.isnan(tomllib.loads(dumps({"a": math.nan}))["a"])
    assert dumps({"a": np.float64(0.1), "b": np.str_("x")}) == 'a = 0.1\nb = "x"\n'


@pytest.mark.parametrize(
    "config", [{"a": 1j}, {"a": [None]}, {"a": [{"b": 1}]}, {"a": np.int64(1)}, {1: 2}, {"a": "\ud800"}, {"\ud800": 1}]
)
def test_what_toml_cannot_hold(config):
    with pytest.raises(ConfigError, match="TOML"):
        dumps(config)

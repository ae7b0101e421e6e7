import numpy as np
import pytest

from deepxp.data import Scaler, scaling
from deepxp.errors import ConfigError, DataError, ShapeError


@pytest.fixture
def X():
    return np.random.default_rng(0).normal([5.0, -3.0, 1e6], [2.0, 0.1, 1.0], (200, 3))


def test_standard_gives_mean_0_and_deviation_1(X):
    scaled = Scaler.fit(X, "standard").transform(X, np.float64)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-9)


def test_minmax_gives_0_to_1(X):
    scaled = Scaler.fit(X, "minmax").transform(X, np.float64)
    np.testing.assert_allclose([scaled.min(axis=0), scaled.max(axis=0)], [[0.0] * 3, [1.0] * 3], atol=1e-15)


def test_range_divides_the_whole_table_by_one_number():
    X = np.array([[0, 51], [255, 102]], np.uint8)
    scaler = Scaler.fit(X, "range")
    np.testing.assert_array_equal(scaler.shift, [0.0, 0.0])
    np.testing.assert_allclose(scaler.transform(X, np.float64), [[0.0, 0.2], [1.0, 0.4]], rtol=1e-15)


def test_range_heeds_negative_values():
    np.testing.assert_array_equal(Scaler.fit(np.array([[-4.0, 2.0]]), "range").factor, [0.25, 0.25])


def test_none_changes_nothing(X):
    np.testing.assert_array_equal(Scaler.fit(X, "none").transform(X, np.float64), X)


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.uint8, "range"), (np.uint16, "range"), (np.int8, "standard"), (np.float32, "standard")]
)
def test_auto_takes_unsigned_integers_for_images(dtype, kind):
    assert Scaler.fit(np.array([[1, 2], [3, 5]], dtype)).kind == kind


@pytest.mark.parametrize("kind", ["standard", "minmax", "range", "none"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e-300])
def test_constant_features_have_factor_1_and_no_rounding_blown_up(kind, value):
    X = np.column_stack([np.full(1000, value), np.linspace(0.0, 1.0, 1000)])
    scaler = Scaler.fit(X, kind)
    assert scaler.factor[0] == 1.0
    np.testing.assert_array_equal(
        scaler.transform(X, np.float64)[:, 0], 0.0 if kind in ("standard", "minmax") else value
    )


def test_an_all_zero_table_stays_zero():
    X = np.zeros((4, 2), np.uint8)
    np.testing.assert_array_equal(Scaler.fit(X).transform(X), 0.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("stored", [np.uint8, np.int64, np.float32, np.float64])
def test_the_result_has_the_dtype_asked_for(dtype, stored):
    X = np.array([[1, 2], [3, 5]], stored)
    scaler = Scaler.fit(X)
    assert scaler.transform(X, dtype).dtype == dtype
    assert scaler.shift.dtype == scaler.factor.dtype == np.float64


def test_float32_is_summed_in_float64():
    X = np.full((200_000, 1), 0.1, np.float32)
    X[0] = 0.2
    expected = X.astype(np.float64).mean()
    np.testing.assert_allclose(Scaler.fit(X, "standard").shift, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["standard", "minmax", "range"])
def test_blocks_make_no_difference(X, kind, monkeypatch):
    whole = Scaler.fit(X, kind)
    monkeypatch.setattr(scaling, "BLOCK_VALUES", 7)
    blocks = Scaler.fit(X, kind)
    np.testing.assert_allclose(blocks.shift, whole.shift, rtol=1e-13)
    np.testing.assert_allclose(blocks.factor, whole.factor, rtol=1e-12)
    np.testing.assert_allclose(blocks.transform(X), whole.transform(X), rtol=1e-6, atol=1e-9)


def test_the_input_is_not_written_to(X):
    before = X.copy()
    Scaler.fit(X).transform(X)
    np.testing.assert_array_equal(X, before)


def test_what_was_fitted_decides_not_what_is_transformed(X):
    scaler = Scaler.fit(X[:100])
    np.testing.assert_array_equal(scaler.transform(X)[150:], scaler.transform(X[150:]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["standard", "minmax", "range"])
def test_fit_names_the_value_that_is_not_finite(X, bad, kind, monkeypatch):
    monkeypatch.setattr(scaling, "BLOCK_VALUES", 30)
    X[122, 1] = bad
    with pytest.raises(DataError, match=f"^row 123, feature 2: {bad} is not a finite number$"):
        Scaler.fit(X, kind)


def test_transform_names_the_value_that_is_not_finite(X):
    scaler = Scaler.fit(X)
    X[7, 2] = np.nan
    with pytest.raises(DataError, match=r"^a\.npz, row 8, feature 3: nan is not a finite number$"):
        scaler.transform(X, where=lambda row: f"a.npz, row {row + 1}")


def test_transform_names_the_value_that_does_not_fit_the_dtype():
    X = np.array([[1.0, 2.0], [3.0, 1e39]])
    with pytest.raises(DataError, match=r"^row 2, feature 2: 1e\+39 does not fit float32$"):
        Scaler.fit(X, "none").transform(X)


@pytest.mark.parametrize("values", [(-1e308, 1e308), (0.0, 5e-324)])
@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_a_spread_beyond_float64_is_refused(values, kind):
    X = np.array([[0.0, values[0]], [1.0, values[1]]])
    with pytest.raises(DataError, match=r"feature 2: values from .* cannot be scaled"):
        Scaler.fit(X, kind)


def test_another_number_of_features_is_refused(X):
    scaler = Scaler.fit(X)
    with pytest.raises(ShapeError, match=r"X has shape \(200, 2\), but 3 features per row are expected$"):
        scaler.transform(X[:, :2])
    with pytest.raises(ShapeError, match=r"its samples are columns: pass X\.T"):
        scaler.transform(X.T)


@pytest.mark.parametrize("X", [np.ones(3), np.ones((0, 3)), np.ones((3, 0))])
def test_what_is_no_table_is_refused(X):
    with pytest.raises(ShapeError, match="must be a table"):
        Scaler.fit(X)


def test_what_is_no_real_number_is_refused():
    with pytest.raises(DataError, match="dtype complex128"):
        Scaler.fit(np.ones((2, 2), complex))


def test_an_unknown_kind_is_refused(X):
    with pytest.raises(ConfigError, match="'robust' is not known; known are auto, standard, minmax, range, none"):
        Scaler.fit(X, "robust")


def test_an_integer_dtype_is_refused(X):
    with pytest.raises(ConfigError, match="dtype int32 cannot hold scaled features"):
        Scaler.fit(X).transform(X, np.int32)

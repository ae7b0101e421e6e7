"""The scikit-learn estimators: scikit-learn's own checks, and its MLPClassifier and MLPRegressor, step for step.

One random_state draws the same weights, splits and orders here and there, so that whole fits can be compared: every
weight, every loss and every decision to stop. What is left between them is rounding.
"""

import inspect
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import deepxp as dx
from deepxp.backend import Backend
from deepxp.data import digits
from deepxp.estimators import DeepClassifier, DeepRegressor
from deepxp.estimators.quasinewton import objective
from deepxp.estimators.samples import Samples
from deepxp.ops.losses import POISSON

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DOCUMENT = Path(__file__).parent.parent / "docs" / "estimators.md"
SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 12, "random_state": 3, "learning_rate_init": 0.02}
COMMON = [
    "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_", "n_layers_",
    "n_outputs_", "out_activation_", "n_features_in_",
]  # fmt: skip


def flowers():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def patients(outputs=1):
    X, y = load_diabetes(return_X_y=True)
    Y = np.c_[y / 100, X[:, 1] * 20, (y / 100) ** 2]
    return X[:150] * 20, Y[:150, 0] if outputs == 1 else Y[:150, :outputs]


def weights(m):
    return np.random.default_rng(1).random(m)


def assert_same_fit(deep, mlp, rtol=1e-9):
    for name in COMMON:
        if hasattr(mlp, name):
            ours, theirs = getattr(deep, name), getattr(mlp, name)
            if theirs is None or isinstance(theirs, str):
                assert ours == theirs, name
            else:
                assert_allclose(ours, theirs, rtol=rtol, err_msg=name)
    for ours, theirs in zip(deep.coefs_ + deep.intercepts_, mlp.coefs_ + mlp.intercepts_, strict=True):
        assert ours.dtype == theirs.dtype
        assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


# --- scikit-learn's own checks ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([DeepClassifier(max_iter=50), DeepRegressor(max_iter=50)])
def test_a_check_of_scikit_learn(estimator, check):
    check(estimator)


# --- the same fit ----------------------------------------------------------------------------------------------------

FITS = {
    "adam": {},
    "adam, much L2": {"alpha": 3.0},
    "adam, large epsilon": {"epsilon": 0.1, "beta_1": 0.5, "beta_2": 0.9},
    "batches that do not fit": {"batch_size": 40},
    "in order": {"batch_size": 40, "shuffle": False},
    "sgd": {"solver": "sgd", "alpha": 0.5},
    "sgd without nesterov": {"solver": "sgd", "nesterovs_momentum": False},
    "sgd without friction": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 0.001},
    "sgd without momentum": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 40},
    # smooth: at a kink of relu the search may go either way for a difference in the last bit
    "lbfgs": {"solver": "lbfgs", "activation": "tanh"},
    "lbfgs, few evaluations": {"solver": "lbfgs", "activation": "tanh", "max_fun": 5},
    "stopped by tol": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 60},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "validation_fraction": 0.2, "max_iter": 60},
    "logistic": {"activation": "logistic"},
    "tanh, one layer": {"activation": "tanh", "hidden_layer_sizes": 6},
    "identity, no hidden layer": {"activation": "identity", "hidden_layer_sizes": ()},
}
fits = pytest.mark.parametrize("options", FITS.values(), ids=FITS.keys())
weighted = pytest.mark.parametrize("w", [None, weights(150)], ids=["", "weighted"])


@fits
@weighted
def test_a_classifier_takes_every_step_of_MLPClassifier(options, w):
    X, y = flowers()
    deep, mlp = (C(**SMALL | options).fit(X, y, w) for C in (DeepClassifier, MLPClassifier))
    assert_same_fit(deep, mlp)
    assert_array_equal(deep.predict(X), mlp.predict(X))
    assert_allclose(deep.predict_proba(X), mlp.predict_proba(X), rtol=1e-7, atol=1e-12)
    assert_allclose(deep.predict_log_proba(X), mlp.predict_log_proba(X), rtol=1e-7)
    assert deep.score(X, y, w) == pytest.approx(mlp.score(X, y, w))


@fits
@weighted
def test_a_regressor_takes_every_step_of_MLPRegressor(options, w):
    X, y = patients()
    deep, mlp = (R(**SMALL | options).fit(X, y, w) for R in (DeepRegressor, MLPRegressor))
    assert_same_fit(deep, mlp)
    assert_allclose(deep.predict(X), mlp.predict(X), rtol=1e-8)


def targets(kind):
    X, y = flowers()
    return X, {
        "two classes": y == 1,
        "names": np.array(["rose", "iris", "moss"], dtype=object)[y],
        "two names": np.where(y > 0, "b", "a"),
        "several labels": np.c_[y == 0, y > 0, X[:, 0] > 0].astype(int),
        "several labels, sparse": sparse.csr_matrix(np.c_[y == 0, y > 0, X[:, 0] > 0].astype(int)),
        "one class": np.ones_like(y),
    }[kind]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    "kind", ["two classes", "names", "two names", "several labels", "several labels, sparse", "one class"]
)
def test_every_kind_of_target_is_fitted_and_predicted_as_MLPClassifier_does(kind, solver):
    X, y = targets(kind)
    deep, mlp = (C(**SMALL, solver=solver, activation="tanh").fit(X, y) for C in (DeepClassifier, MLPClassifier))
    assert_same_fit(deep, mlp)
    assert_array_equal(deep.classes_, mlp.classes_)
    assert_allclose(deep.predict_proba(X), mlp.predict_proba(X), rtol=1e-6, atol=1e-12)
    ours, theirs = deep.predict(X), mlp.predict(X)
    assert sparse.issparse(ours) == sparse.issparse(theirs)
    ours, theirs = (p.toarray() if sparse.issparse(p) else p for p in (ours, theirs))
    assert ours.dtype == theirs.dtype
    assert_array_equal(ours, theirs)
    assert deep.score(X, y) == mlp.score(X, y)


def test_a_split_for_early_stopping_keeps_the_proportion_of_two_classes():
    X, y = flowers()
    options = SMALL | {"early_stopping": True, "max_iter": 4}
    assert_same_fit(*(C(**options).fit(X, y == 1, weights(150)) for C in (DeepClassifier, MLPClassifier)))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_poisson_loss_is_that_of_MLPRegressor(solver):
    X, y = patients()
    counts = np.floor(y * 2)
    assert (counts == 0).any()
    options = SMALL | {"solver": solver, "activation": "tanh"}
    deep, mlp = (R("poisson", **options).fit(X, counts) for R in (DeepRegressor, MLPRegressor))
    assert_same_fit(deep, mlp)
    assert deep.out_activation_ == "exp"
    assert_allclose(deep.predict(X), mlp.predict(X), rtol=1e-8)


def test_several_numbers_are_fitted_as_MLPRegressor_does():
    X, Y = patients(3)
    deep, mlp = (R(**SMALL, early_stopping=True).fit(X, Y, weights(150)) for R in (DeepRegressor, MLPRegressor))
    assert_same_fit(deep, mlp)
    assert deep.predict(X).shape == Y.shape


def test_lbfgs_fits_several_numbers_better_than_a_loss_that_its_gradient_does_not_belong_to():
    """MLPRegressor gives lbfgs a mean over the outputs and the gradient of the sum, and the line search fails."""
    X, Y = patients(3)
    options = {"hidden_layer_sizes": (10,), "random_state": 0, "solver": "lbfgs", "max_iter": 200}
    deep, mlp = (R(**options) for R in (DeepRegressor, MLPRegressor))
    assert deep.fit(X, Y).score(X, Y) > mlp.fit(X, Y).score(X, Y)
    error = 0.5 * ((deep.predict(X) - Y) ** 2).mean()
    assert_allclose(deep.loss_, error + deep.alpha / 2 / len(X) * sum((W**2).sum() for W in deep.coefs_), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_precision_is_that_of_X(dtype):
    X, y = flowers()
    deep, mlp = (C(**SMALL).fit(X.astype(dtype), y) for C in (DeepClassifier, MLPClassifier))
    assert_same_fit(deep, mlp, rtol=1e-9 if dtype == "float64" else 1e-3)
    assert deep.predict_proba(X.astype(dtype)).dtype == dtype


def test_dtype_asks_for_another_precision():
    X, y = flowers()
    assert DeepClassifier(**SMALL, dtype="float32").fit(X, y).coefs_[0].dtype == np.float32
    assert DeepRegressor(**SMALL, dtype="float64").fit(X.astype("float32"), y).predict(X).dtype == np.float64


# --- fits that go on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_with_the_state_of_the_solver(solver):
    X, y = flowers()
    options = SMALL | {"solver": solver, "learning_rate": "invscaling", "batch_size": 25}
    deep, mlp = DeepClassifier(**options), MLPClassifier(**options)
    for rows in (slice(0, 50), slice(30, 150), slice(None, None, 2)):  # the second has more batches than the first
        for model in (deep, mlp):
            model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert_same_fit(deep, mlp)
    assert deep.n_iter_ == 1 and len(deep.loss_curve_) == 3


def test_a_regressor_learns_by_partial_fit_too():
    X, y = patients()
    deep, mlp = DeepRegressor(**SMALL), MLPRegressor(**SMALL)
    for size in (40, 150):
        for model in (deep, mlp):
            model.partial_fit(X[:size], y[:size])
    assert_same_fit(deep, mlp)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_warm_start_goes_on_with_the_weights(solver):
    X, y = flowers()
    options = SMALL | {"solver": solver, "activation": "tanh", "warm_start": True}
    deep, mlp = (C(**options).fit(X, y) for C in (DeepClassifier, MLPClassifier))
    assert_same_fit(deep.fit(X, y), mlp.fit(X, y))
    with pytest.raises(ValueError, match="and y has others"):
        deep.fit(X, np.where(y == 2, 0, y))
    with pytest.raises(ValueError, match="the network was made as"):
        deep.set_params(hidden_layer_sizes=(9,)).fit(X, y)


def test_without_warm_start_a_fit_begins_anew():
    X, y = flowers()
    twice, once = DeepClassifier(**SMALL).fit(X, y).fit(X, y), DeepClassifier(**SMALL).fit(X, y)
    assert_array_equal(twice.coefs_[0], once.coefs_[0])
    assert twice.loss_curve_ == once.loss_curve_


def test_a_pickle_in_the_middle_of_partial_fits_changes_nothing():
    X, y = flowers()
    straight, travelled = DeepClassifier(**SMALL), DeepClassifier(**SMALL)
    for _ in range(3):
        straight.partial_fit(X, y, classes=[0, 1, 2])
        travelled = pickle.loads(pickle.dumps(travelled.partial_fit(X, y, classes=[0, 1, 2])))
    for a, b in zip(straight.coefs_, travelled.coefs_, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(straight.predict_proba(X), travelled.predict_proba(X))


def test_partial_fit_says_what_it_needs():
    X, y = flowers()
    with pytest.raises(ValueError, match="first call of partial_fit must name all classes"):
        DeepClassifier().partial_fit(X, y)
    model = DeepClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"not in classes_ .*\[7\]"):
        model.partial_fit(X, np.full_like(y, 7))
    with pytest.raises(ValueError, match="not those of the first call"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="does not support early_stopping"):
        DeepRegressor(early_stopping=True).partial_fit(X, y)
    assert not hasattr(DeepClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(DeepRegressor(solver="lbfgs"), "partial_fit")


# --- parameters and attributes ---------------------------------------------------------------------------------------

pairs = pytest.mark.parametrize(
    ("Deep", "MLP"), [(DeepClassifier, MLPClassifier), (DeepRegressor, MLPRegressor)], ids=["classifier", "regressor"]
)


@pairs
def test_every_parameter_has_the_name_default_and_place_that_it_has_there(Deep, MLP):
    ours, theirs = (inspect.signature(C).parameters for C in (Deep, MLP))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert {name: (p.default, p.kind) for name, p in ours.items() if name in theirs} == {
        name: (p.default, p.kind) for name, p in theirs.items()
    }
    assert list(ours)[len(theirs) :] == ["device", "dtype", "dropout"]


@pairs
def test_a_parameter_may_be_what_it_may_be_there(Deep, MLP):
    ours, theirs = Deep._parameter_constraints, MLP._parameter_constraints
    assert ours.keys() == theirs.keys()
    for name in ours:
        allowed = [[getattr(c, "options", None) or str(c) for c in each[name]] for each in (ours, theirs)]
        assert allowed[0] == allowed[1], name


@pairs
@pytest.mark.parametrize("early_stopping", [False, True])
def test_every_attribute_of_a_fit_there_is_one_here(Deep, MLP, early_stopping):
    X, y = flowers()
    ours, theirs = (C(**SMALL, early_stopping=early_stopping).fit(X, y) for C in (Deep, MLP))
    public = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert {name for name in public if not hasattr(ours, name)} == set()
    assert [W.shape for W in ours.coefs_] == [(4, 7), (7, 5), (5, ours.n_outputs_)]
    assert [b.shape for b in ours.intercepts_] == [(7,), (5,), (ours.n_outputs_,)]


@pairs
def test_what_a_fit_finds_is_not_there_before(Deep, MLP):
    assert not any(hasattr(Deep(), name) for name in [*COMMON, "coefs_", "intercepts_", "classes_"])
    with pytest.raises(NotFittedError):
        Deep().predict(flowers()[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dropout": 0.5, "solver": "lbfgs"}, "dropout needs solver='adam' or 'sgd'"),
        ({"dropout": 1.5}, "0 <= rate < 1"),
        ({"device": "tpu"}, "tpu"),
        ({"dtype": "int8"}, "float32, float64"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": "sine"}, "activation"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "raise validation_fraction"),
    ],
)
def test_what_does_not_fit_is_said(options, said):
    with pytest.raises(ValueError, match=said):
        DeepClassifier(**SMALL | options).fit(*flowers())


def test_poisson_refuses_negative_numbers_and_a_fit_weights_that_are_not_finite():
    X, y = patients()
    with pytest.raises(ValueError, match="needs y >= 0"):
        DeepRegressor("poisson").fit(X, y - 10)
    with pytest.raises(ValueError, match="weights that are not finite"):
        DeepRegressor(**SMALL | {"solver": "sgd", "learning_rate_init": 1e9}).fit(X, y)


def test_a_fit_that_does_not_converge_warns_and_one_that_does_is_silent():
    X, y = flowers()
    for solver in ("adam", "lbfgs"):
        with pytest.warns(ConvergenceWarning, match="converge"):
            DeepClassifier(**SMALL | {"max_iter": 3, "solver": solver}).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DeepClassifier(**SMALL | {"tol": 1.0, "max_iter": 99}).fit(X, y).n_iter_ == 12
    with pytest.warns(UserWarning, match="clipped to the 150 samples"):
        DeepClassifier(**SMALL, batch_size=1000).fit(X, y)


@pytest.mark.parametrize(
    "options",
    [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1}],
)
def test_verbose_prints_what_MLPClassifier_prints(options):
    X, y = flowers()
    printed = []
    for C in (DeepClassifier, MLPClassifier):
        with redirect_stdout(io.StringIO()) as out:
            C(**SMALL | options, verbose=True).fit(X, y)
        printed.append(out.getvalue())
    assert printed[0] == printed[1] != ""


def test_ctrl_c_ends_a_fit_and_keeps_what_it_has(monkeypatch):
    X, y = flowers()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepxp.estimators.descent._watch", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = DeepClassifier(**SMALL).fit(X, y)
    assert len(model.loss_curve_) == 1 and model.predict(X).shape == y.shape


# --- dropout, devices, weights ---------------------------------------------------------------------------------------


def test_dropout_is_drawn_anew_in_every_epoch_from_the_random_state():
    X, y = flowers()
    plain, one, other = (DeepClassifier(**SMALL, dropout=d).fit(X, y) for d in (0.0, 0.5, [0.5, 0.5]))
    assert_array_equal(one.coefs_[0], other.coefs_[0])
    assert np.abs(one.coefs_[0] - plain.coefs_[0]).max() > 0.01
    still = DeepClassifier(**SMALL | {"learning_rate_init": 1e-12}, shuffle=False, dropout=0.5).fit(X, y)
    assert np.unique(np.round(still.loss_curve_, 6)).size == still.n_iter_ > 5  # only what is dropped differs
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))  # nothing is dropped in a prediction


def test_a_fit_on_the_gpu_is_the_fit_on_the_cpu(cupy_double):
    X, y = flowers()
    for options in ({}, {"solver": "sgd", "learning_rate": "invscaling"}, {"solver": "lbfgs"}):
        gpu, cpu = (DeepClassifier(**SMALL | options, device=d).fit(X, y, weights(150)) for d in ("gpu", "cpu"))
        assert gpu.network_.backend.name == "gpu:0"
        assert_same_fit(gpu, cpu, rtol=1e-7)
        assert isinstance(gpu.coefs_[0], np.ndarray)
        assert_allclose(gpu.predict_proba(X), cpu.predict_proba(X), rtol=1e-6)
        assert_array_equal(pickle.loads(pickle.dumps(gpu)).predict(X), cpu.predict(X))


@pytest.mark.gpu
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_fit_on_a_real_gpu_is_close_to_the_fit_on_the_cpu(solver):
    gpu = next(device for device in dx.devices() if device.name != "cpu")
    if not gpu.usable:
        pytest.skip(gpu.reason)
    X, y = flowers()
    gpu, cpu = (DeepClassifier(**SMALL, solver=solver, device=d).fit(X, y) for d in ("gpu", "cpu"))
    assert_allclose(gpu.predict_proba(X), cpu.predict_proba(X), rtol=1e-5, atol=1e-9)


def test_a_batch_of_no_weight_is_passed_over():
    X, y = flowers()
    w = np.r_[np.zeros(30), np.ones(120)]
    options = SMALL | {"batch_size": 30, "shuffle": False, "alpha": 0.0}
    some, rest = DeepClassifier(**options).fit(X, y, w), DeepClassifier(**options).fit(X[30:], y[30:])
    for a, b in zip(some.coefs_, rest.coefs_, strict=True):
        assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_the_rows_they_stand_for(solver):
    X, y = flowers()
    X = np.where(X > 0.3, X, 0.0)
    options = SMALL | {"solver": solver, "batch_size": 40, "early_stopping": solver == "adam"}
    dense = DeepClassifier(**options).fit(X, y)
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        rows = DeepClassifier(**options).fit(kind(X), y)
        assert_array_equal(rows.coefs_[0], dense.coefs_[0])
        assert_array_equal(rows.predict_proba(kind(X)), dense.predict_proba(X))


@pytest.mark.parametrize("loss", ["squared-error", "sigmoid-cross-entropy", POISSON], ids=str)
def test_the_gradient_that_lbfgs_gets_is_that_of_its_objective(loss):
    r = np.random.default_rng(0)
    net = dx.Network((4, 3, 2), "tanh", loss, backend=Backend("reference", np), dtype="float64", seed=1)
    J = objective(net, Samples.of(net.backend, r.normal(size=(9, 4)), r.random((9, 2)), r.random(9)), alpha=2.0)
    theta, direction, h = net.theta.copy(), r.normal(size=net.theta.shape), 1e-6
    numeric = (J(theta + h * direction)[0] - J(theta - h * direction)[0]) / (2 * h)
    assert_allclose(J(theta)[1] @ direction, numeric, rtol=1e-8)


# --- at home in scikit-learn -----------------------------------------------------------------------------------------


def test_the_digits_are_read_as_well_as_by_MLPClassifier():
    data = digits()
    X, X_test, y, y_test = train_test_split(data.X / 16, data.y, random_state=0)
    options = {"hidden_layer_sizes": (64,), "max_iter": 40, "random_state": 0}
    mlp = MLPClassifier(**options).fit(X, y).score(X_test, y_test)
    assert DeepClassifier(**options).fit(X, y).score(X_test, y_test) == mlp > 0.94
    assert DeepClassifier(**options, dtype="float32").fit(X, y).score(X_test, y_test) > mlp - 0.01


def test_pipelines_searches_in_processes_calibration_and_clones():
    X, y = flowers()
    pipeline = make_pipeline(StandardScaler(), DeepClassifier(**SMALL))
    assert len(cross_val_score(pipeline, X, y, cv=2)) == 2
    grid = {"deepclassifier__alpha": [1e-4, 1.0], "deepclassifier__dropout": [0.0, 0.2]}
    alone, two = (GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(X, y) for n in (1, 2))
    assert_array_equal(alone.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert_array_equal(alone.best_estimator_.predict(X), two.best_estimator_.predict(X))
    calibrated = CalibratedClassifierCV(DeepClassifier(**SMALL), cv=2).fit(X, y, sample_weight=weights(150))
    assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0)
    fitted = DeepRegressor("poisson", **SMALL, dropout=[0.1, 0.2]).fit(X, y)
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params() and not hasattr(twin, "coefs_")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_name_their_features(library):
    frames = pytest.importorskip(library)
    X, y = flowers()
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    model = DeepClassifier(**SMALL).fit(frame, frames.Series(y), frames.Series(weights(150)))
    assert_same_fit(model, MLPClassifier(**SMALL).fit(X, y, weights(150)))
    assert model.feature_names_in_.tolist() == names
    assert_array_equal(model.predict(frame), MLPClassifier(**SMALL).fit(X, y, weights(150)).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[names[::-1]])


DISPATCHED = """
import sys, warnings, numpy as np, sklearn
from importlib import import_module
from deepxp.estimators import DeepClassifier, DeepRegressor
warnings.simplefilter("ignore")
xp = import_module(sys.argv[1])
r = np.random.default_rng(0)
X, y = r.normal(size=(60, 4)), r.integers(0, 3, 60)
options = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}
plain = DeepClassifier(**options).fit(X, y).predict_proba(X), DeepRegressor(**options).fit(X, y).predict(X)
with sklearn.config_context(array_api_dispatch=True):
    A, b, w = xp.asarray(X), xp.asarray(y), xp.asarray(np.ones(60))
    for extra in ({}, {"early_stopping": True}, {"solver": "lbfgs"}):
        c = DeepClassifier(**options, **extra).fit(A, b, w)
        for out in (c.predict(A), c.predict_proba(A), c.predict_log_proba(A), c.classes_):
            assert type(out) is type(A) and out.device == A.device, type(out)
        assert 0 <= c.score(A, b) <= 1
    c = DeepClassifier(**options, warm_start=True).fit(A, b).fit(A, b)
    c = DeepClassifier(**options).partial_fit(A, b, classes=xp.asarray([0, 1, 2])).partial_fit(A, b)
    c, n = DeepClassifier(**options).fit(A, b), DeepRegressor(**options).fit(A, b)
    for out, wanted in zip((c.predict_proba(A), n.predict(A)), plain):
        assert type(out) is type(A)
        np.testing.assert_allclose(np.from_dlpack(out), wanted, rtol=1e-12)
    assert type(DeepClassifier(**options).fit(A, np.array(list("abc"))[y]).predict(A)) is np.ndarray
    try:
        c.predict(X)
    except ValueError as error:
        assert "must use the same namespace as fit" in str(error)
    else:
        raise AssertionError("an array of another library was taken")
"""


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_arrays_of_a_library_stay_in_it_under_dispatch(library):
    """In a process of its own: SciPy reads SCIPY_ARRAY_API when it is imported."""
    pytest.importorskip(library)
    done = subprocess.run(
        [sys.executable, "-c", DISPATCHED, library],
        env=os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents are not beside these tests")
def test_the_examples_of_the_document_print_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    examples = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    assert len(examples) == 4
    for code, printed in examples:
        with redirect_stdout(io.StringIO()) as out:
            exec(code, names)
        assert out.getvalue() == printed


def test_without_scikit_learn_the_way_to_get_it_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn" or "deepxp.estimators" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'scikit-learn>=1\.9'"):
        import_module("deepxp.estimators")


@pytest.mark.parametrize("estimator", [DeepClassifier, DeepRegressor])
def test_a_parameter_that_there_is_not_names_the_estimator(estimator):
    with pytest.raises(TypeError, match=rf"^{estimator.__name__}\.__init__\(\) got an unexpected .*'hiden'"):
        estimator(hiden=1)

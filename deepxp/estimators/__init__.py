"""DeepClassifier and DeepRegressor: scikit-learn estimators with the parameters of its MLPClassifier and MLPRegressor.

    from deepxp.estimators import DeepClassifier
    DeepClassifier(device="gpu", random_state=0).fit(X, y).score(X_test, y_test)     # rows are samples

parameters               every parameter, its default and what it may be
estimator                the network, how it is fitted, and what is known of it
classifier, regressor    targets in, predictions out
descent                  the solvers sgd and adam;  rules: their updates, with an L2 of its own for each batch
quasinewton              the solver lbfgs
samples                  rows, dense or sparse, that a step is given in batches
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "deepxp.estimators needs scikit-learn; install it: python -m pip install 'scikit-learn>=1.9'"
    ) from error

from deepxp.estimators.classifier import DeepClassifier
from deepxp.estimators.regressor import DeepRegressor

__all__ = ["DeepClassifier", "DeepRegressor"]

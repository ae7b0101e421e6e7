"""deepxp: an L-layer neural network written once, on NumPy or CuPy.

    import deepxp as dx

    net = dx.Network((64, 128, 10), backend="auto", seed=0)
    history = dx.train(net, X, y, epochs=10)            # columns are samples
    net.predict(X_test)

The map, from the mathematics up; imports only go down:

    ops                     the definitions: activations, dense layers, losses, updates
    kernels                 faster functions of the same names
    dispatch                a device as a value: name, xp, kernels
    backend, devices        the values by name, and what is usable here
    interop                 torch, JAX and other array libraries as backends
    parameters, workspace   theta and the memory of a step
    data, metrics, rng      tables, digits, scaling; accuracy and the like; counter-based streams
    network, recursions     the parameters and predictions; forward, loss and backward
    optimizers              the rates of a step, schedules
    gradcheck, evaluation   the gradient against differences; J and metrics on data
    checkpoints             a run saved between two steps, to go on from there
    training, functions     the step and the loop; every op with xp inferred
    explain                 a step as formulas, written by the definitions, with values and differences
    plots, tensorboard      what training saw, as figures and for TensorBoard; imported by name
    runs, pages             a run read back from its folder, and its report; pages of HTML and the plots on them
    exchange                to ONNX; weights to PyTorch and Keras, and from them; imported by name
    cli                     the command line
    estimators              DeepClassifier and DeepRegressor; needs scikit-learn, and is imported by name
"""

from deepxp import interrupt  # noqa: F401  first, for its effect: the rest takes long to import

# isort: split
from deepxp.backend import Backend, backend
from deepxp.checkpoints.saver import Checkpoints
from deepxp.devices import Device, devices
from deepxp.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeepxpError,
    DeviceError,
    GradientError,
    HealthWarning,
    LockedError,
    MixedDevicesError,
    ModelFileError,
    NonFiniteError,
    OutOfMemoryError,
    ShapeError,
    StoppedError,
)
from deepxp.evaluation import evaluate
from deepxp.functions import (
    adam,
    adamw,
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    momentum,
    nesterov,
    relu,
    relu_backward,
    rmsprop,
    sgd,
    sigmoid,
    sigmoid_backward,
    sigmoid_cross_entropy,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    softmax_cross_entropy,
    squared_error,
    tanh,
    tanh_backward,
)
from deepxp.gradcheck import Activation, gradcheck
from deepxp.history import History
from deepxp.namespaces import array_namespace, asnumpy
from deepxp.network import Network, load
from deepxp.optimizers import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Momentum,
    Nesterov,
    Optimizer,
    RMSProp,
    StepDecay,
)
from deepxp.step import TrainingStep
from deepxp.training import train
from deepxp.version import __version__

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "CheckpointError",
    "Checkpoints",
    "ConfigError",
    "Constant",
    "Cosine",
    "DataError",
    "DeepxpError",
    "Device",
    "DeviceError",
    "GradientError",
    "HealthWarning",
    "History",
    "LockedError",
    "MixedDevicesError",
    "ModelFileError",
    "Momentum",
    "Nesterov",
    "Network",
    "NonFiniteError",
    "Optimizer",
    "OutOfMemoryError",
    "RMSProp",
    "ShapeError",
    "StepDecay",
    "StoppedError",
    "TrainingStep",
    "__version__",
    "adam",
    "adamw",
    "array_namespace",
    "asnumpy",
    "backend",
    "devices",
    "elu",
    "elu_backward",
    "evaluate",
    "gelu",
    "gelu_backward",
    "gradcheck",
    "leaky_relu",
    "leaky_relu_backward",
    "load",
    "log_softmax",
    "momentum",
    "nesterov",
    "relu",
    "relu_backward",
    "rmsprop",
    "sgd",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "squared_error",
    "tanh",
    "tanh_backward",
    "train",
]

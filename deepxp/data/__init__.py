"""Tables of samples: reading, splitting, scaling, and targets as a loss takes them. Rows are samples, X is (m, n).

A file or the bundled digits becomes a Dataset (`load`, `digits`), a Dataset is cut into parts (`split`), a Scaler
learns the ranges of the features from the training part, and `encode_targets` turns labels into class indices.
"""

from deepxp.data.bundled import digits
from deepxp.data.dataset import Dataset
from deepxp.data.loading import load
from deepxp.data.readers.options import NO_TARGET
from deepxp.data.scaling import Scaler
from deepxp.data.splitting import Parts, split
from deepxp.data.targets import Targets, encode_targets

__all__ = ["NO_TARGET", "Dataset", "Parts", "Scaler", "Targets", "digits", "encode_targets", "load", "split"]

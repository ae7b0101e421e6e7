"""The errors a user can meet: each message is one sentence that names the value, what was allowed, and the way out.

Every class also derives from the built-in exception that describes it, so `except ValueError` keeps working for
callers who do not know this module.

Lines, rows, columns, samples, features, layers, steps and epochs are counted from 1 in every message.
"""


class DeepxpError(Exception):
    """Base of every error that deepxp raises on purpose."""


class ConfigError(DeepxpError, ValueError):
    """An option, a name or a combination of them that does not exist or does not fit."""


class DataError(DeepxpError, ValueError):
    """Input data that cannot be used; names the file, line and column (1-based) where there is one."""


class ShapeError(DataError):
    """An array whose shape does not fit; where the transpose would, the message shows `.T`."""


class DeviceError(DeepxpError, RuntimeError):
    """The device that was asked for is not usable here; names the reason and the line that fixes it."""


class MixedDevicesError(DeepxpError, TypeError):
    """Arrays of different libraries or devices met in one call; names both."""


class OutOfMemoryError(DeepxpError, MemoryError):
    """The run needs more memory than there is; names the need, what was free, and a batch size that fits."""


class ModelFileError(DeepxpError, ValueError):
    """A model file that is damaged, of another kind, or of a newer format."""


class CheckpointError(ModelFileError):
    """No checkpoint of a folder can be used; each damaged one is named in a warning before."""


class LockedError(DeepxpError, RuntimeError):
    """Another process is writing into the folder."""


class StoppedError(DeepxpError, RuntimeError):
    """Training was asked to stop, and did between two steps; `saved` is the path of its checkpoint, or None."""

    saved: object = None


class GradientError(DeepxpError, ArithmeticError):
    """A derivative that does not match the function it claims to differentiate."""


class NonFiniteError(DeepxpError, ArithmeticError):
    """Training met NaN or infinity; names the first layer and quantity that went bad, the step and the epoch.

    `history` is the History of the epochs before, where training had begun.
    """

    history: object = None


class HealthWarning(UserWarning):
    """Training goes on, but something is wrong with it: a batch was left out, units died, the gradient explodes."""

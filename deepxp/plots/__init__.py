"""What training saw, as figures of Matplotlib: for notebooks, and for `deepxp plot`. Needs the extra `plot`.

    from deepxp import plots

    plots.learning_curves(history)                      # or {"adam": history, "sgd": another}
    plots.norms(history)                                # ||W[l]|| and ||dW[l]||, epoch by epoch
    plots.confusion_matrix(y, net.predict(X), names)
    plots.boundary(net, X, y)                           # of two features
    plots.save(figure, "curves.svg")                    # or .png, .pdf

Each returns a figure that no global state knows of: a notebook shows it, `save` writes it, and nothing has to be
closed. `boundary_animation` writes a GIF of the networks that a run went through.

style      colours, axes, labels at the ends of lines, files
curves     learning_curves, norms
matrix     confusion_matrix
decision   boundary, boundary_animation
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("deepxp.plots needs Matplotlib; install it: python -m pip install matplotlib") from error

from deepxp.plots.curves import learning_curves, norms
from deepxp.plots.decision import boundary, boundary_animation
from deepxp.plots.matrix import confusion_matrix
from deepxp.plots.style import save

__all__ = ["boundary", "boundary_animation", "confusion_matrix", "learning_curves", "norms", "save"]

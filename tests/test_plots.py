"""What a figure shows is what the history, the labels or the network say."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

import deepxp as dx
from deepxp.errors import ConfigError
from deepxp.history import History

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
from matplotlib.colors import to_rgb
from PIL import Image

from deepxp import plots
from deepxp.plots import decision, matrix, style


def history(epochs=8, *, best=None, layers=2, **more):
    records = []
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "loss": 2.0**-epoch, "lr": 0.1, "seconds": 0.5}
        record |= {f"norm_W{l}": l + epoch / 10 for l in range(1, layers + 1)}
        record |= {f"norm_dW{l}": l * 10.0 ** (-epoch / 2) for l in range(1, layers + 1)}
        record |= {"validation_loss": 1.5**-epoch, "validation_accuracy": 1 - 0.5**epoch}
        records.append(record | more)
    return History(records, best or epochs)


def lines(axis):
    """What is drawn with more than one point, or a mark: not the line of the best epoch."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines if line.get_linestyle() != ":"]


def words(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_learning_curves_are_the_history():
    seen = history()
    figure = plots.learning_curves(seen)
    loss, accuracy = figure.axes
    epochs = seen["epoch"]
    assert lines(loss) == [(epochs, seen["loss"]), (epochs, seen["validation_loss"])]
    assert lines(accuracy) == [(epochs, seen["validation_accuracy"])]
    assert words(figure) == ["training", "validation"]
    assert accuracy.get_title("left") == "validation accuracy: 99.6 %"
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")


def test_the_best_epoch_is_marked_where_it_is_not_the_last():
    figure = plots.learning_curves(history(best=3))
    for axis in figure.axes:
        assert [line.get_xdata() for line in axis.lines][-1] == [3, 3]
    assert "best: epoch 3" in words(figure)
    assert figure.axes[1].get_title("left") == "validation accuracy: 87.5 %"
    assert "best" not in " ".join(words(plots.learning_curves(history())))


def test_runs_stand_beside_each_other_under_their_names():
    runs = {"a": history(), "b $x$": history(5), "without": History([{"epoch": 1, "loss": 0.5}])}
    figure = plots.learning_curves(runs)
    assert [axis.get_title("left") for axis in figure.axes] == [
        "training loss",
        "validation loss",
        "validation accuracy",
    ]
    assert [y for _, y in lines(figure.axes[0])] == [run["loss"] for run in runs.values()]
    assert len(lines(figure.axes[1])) == len(lines(figure.axes[2])) == 2
    assert words(figure) == ["a", "b $x$", "without"]
    colours = [[line.get_color() for line in axis.lines] for axis in figure.axes]
    assert colours[0][:2] == colours[1] == colours[2]


def test_runs_are_named_where_all_of_them_are():
    common = {"epoch": 1, "loss": 0.5, "validation_loss": 0.6}
    runs = {
        "class": History([common | {"validation_accuracy": 0.9}]),
        "number": History([common | {"validation_r2": 0.1}]),
    }
    named = [[text.get_text() for text in axis.texts] for axis in plots.learning_curves(runs).axes]
    assert named == [[], ["class", "number"], [], []]


def test_names_at_the_ends_of_lines_do_not_touch():
    ends = {f"run {k}": 1.0 + 1e-6 * k for k in range(8)}
    runs = {name: History([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": end}]) for name, end in ends.items()}
    figure = plots.learning_curves(runs)
    renderer = figure.canvas.get_renderer()
    boxes = sorted((text.get_window_extent(renderer) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 8
    assert all(above.y0 >= below.y1 - 1.0 for below, above in pairwise(boxes))


def test_norms_are_the_historys_one_line_a_layer():
    seen = history(layers=3)
    weights, gradients = plots.norms(seen).axes
    assert [y for _, y in lines(weights)] == [seen[f"norm_W{l}"] for l in (1, 2, 3)]
    assert [y for _, y in lines(gradients)] == [seen[f"norm_dW{l}"] for l in (1, 2, 3)]
    assert [text.get_text() for text in gradients.texts] == ["dW[1]", "dW[2]", "dW[3]"]
    assert (weights.get_yscale(), gradients.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0])
def test_what_is_not_finite_is_left_out(value, tmp_path):
    seen = history(validation_loss=value, norm_dW1=value)
    plots.save(plots.learning_curves(seen), tmp_path / "curves.png")
    plots.save(plots.norms(seen), tmp_path / "norms.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_draw_is_an_error_that_says_so():
    with pytest.raises(ConfigError, match="no epoch to draw"):
        plots.learning_curves(History())
    with pytest.raises(ConfigError, match="no norms"):
        plots.norms(History([{"epoch": 1, "loss": 1.0}]))


# the confusion matrix

C = np.array([[8, 2, 0], [0, 9, 1], [0, 0, 0]])


def test_every_number_of_the_confusion_matrix_stands_in_its_cell():
    y = np.repeat([0, 0, 1, 1], [8, 2, 9, 1])
    said = np.repeat([0, 1, 1, 2], [8, 2, 9, 1])
    for figure in (plots.confusion_matrix(y, said, ["a", "b", "c"]), plots.confusion_matrix(C, names=["a", "b", "c"])):
        axis = figure.axes[0]
        found = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axis.texts}
        assert found == {(0, 0): "8", (0, 1): "2", (1, 1): "9", (1, 2): "1"}
        assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b", "c"]
        assert axis.get_title("left") == "85.0 % of 20 samples are right"


def test_right_is_blue_wrong_is_orange_and_nothing_is_white():
    share = np.array([[1.0, 0.0], [0.25, 0.0]])
    shown = matrix.shades(share)
    np.testing.assert_allclose(shown[0, 0], to_rgb(style.COLOURS[0]))
    np.testing.assert_allclose(shown[0, 1], 1.0)
    np.testing.assert_allclose(shown[1, 0], 0.5 + 0.5 * np.array(to_rgb(style.COLOURS[1])))


def test_of_many_classes_some_are_named():
    axis = plots.confusion_matrix(np.eye(200, dtype=int)).axes[0]
    assert len(axis.texts) == 0
    assert [t.get_text() for t in axis.get_xticklabels()][:3] == ["0", "5", "10"]


def test_long_names_of_classes_stay_different():
    names = [f"a rather long class name {k}" for k in range(12)]
    shown = [t.get_text() for t in plots.confusion_matrix(np.eye(12, dtype=int), names=names).axes[0].get_yticklabels()]
    assert shown[7] == "a rath…name 7" and shown[11] == "a rath…name 11"
    assert max(map(len, shown)) <= style.LONG


def test_a_matrix_that_is_none_is_an_error():
    with pytest.raises(ConfigError, match="is square"):
        plots.confusion_matrix(np.ones((2, 3)))
    with pytest.raises(ConfigError, match="names of 3 classes, got 2"):
        plots.confusion_matrix(C, names=["a", "b"])


# the boundary


def halves(sign=1.0, **more):
    """A network that says 1 where the first feature is positive."""
    theta = np.array([5.0 * sign, 0.0, 0.0])
    return dx.Network((2, 1), loss="sigmoid-cross-entropy", backend="cpu", theta=theta, **more)


X = np.random.default_rng(0).uniform(-1, 1, (2, 200))
Y = (X[0] > 0).astype(int)


CORNERS = np.array([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])  # few samples: the plane can be seen between them


def colour_at(figure, x, y):
    """The colour of the pixel that shows the point (x, y)."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    column, row = figure.axes[0].transData.transform((x, y))
    return pixels[len(pixels) - 1 - int(row), int(column)]


def nearest(colour):
    """The class whose colour has this hue."""
    hues = [1.0 - np.array(to_rgb(style.colour(k))) for k in range(3)]
    pale = 1.0 - np.asarray(colour)
    return int(np.argmax([pale @ hue / np.linalg.norm(hue) for hue in hues]))


def test_a_point_of_the_plane_has_the_colour_of_what_the_network_says_of_it():
    figure = plots.boundary(halves(), CORNERS, (CORNERS[0] > 0).astype(int))
    for x, y in [(-0.7, 0.5), (-0.2, -0.8), (0.3, 0.0), (0.8, 0.8)]:
        assert nearest(colour_at(figure, x, y)) == int(x > 0)
    turned = plots.boundary(halves(-1.0), CORNERS, (CORNERS[0] < 0).astype(int))
    assert nearest(colour_at(turned, 0.8, 0.0)) == 0


def test_three_classes_and_where_they_meet():
    theta = np.concatenate([np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 6.0]]).ravel(), np.zeros(3)])
    net = dx.Network((2, 3), backend="cpu", theta=theta, classes=("east", "west", "_north"))
    figure = plots.boundary(net, CORNERS, net.predict(CORNERS), features=("a $x$", "b"))
    axis = figure.axes[0]
    for point in [(0.9, -0.5), (-0.9, -0.5), (0.2, 0.9)]:
        assert nearest(colour_at(figure, *point)) == int(net.predict(np.array([point]).T)[0])
    assert [t.get_text().strip() for t in figure.legends[0].get_texts()] == ["east", "west", "_north"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("a $x$", "b")


def test_the_line_is_where_the_network_changes_its_mind():
    axis = plots.boundary(halves(), X, Y).axes[0]
    contour = next(c for c in axis.collections if type(c).__name__ == "QuadContourSet")
    along = np.concatenate([path.vertices for path in contour.get_paths()])
    np.testing.assert_allclose(along[:, 0], 0.0, atol=0.01)
    assert np.ptp(along[:, 1]) > 2.0


def test_the_less_certain_the_paler():
    P = np.array([[[0.9, 0.6, 0.5]], [[0.1, 0.4, 0.5]]])
    strength = (1.0 - decision.shades(P)[0]).sum(axis=1)
    assert strength[0] > strength[1] > strength[2] > 0


@pytest.mark.parametrize(
    ("net", "X", "y", "said"),
    [
        (dx.Network((3, 2), backend="cpu"), X, Y, "this network has 3"),
        (dx.Network((2, 1), loss="squared-error", backend="cpu"), X, Y, "predicts numbers"),
        (dx.Network((2, 2), loss="sigmoid-cross-entropy", backend="cpu"), X, Y, "several labels"),
        (halves(), X.T, Y, "pass X.T"),
        (halves(), X, Y[:-1], r"got \(2, 200\) and \(199,\)"),
    ],
)
def test_what_has_no_boundary_is_an_error(net, X, y, said):
    with pytest.raises(ConfigError, match=said):
        plots.boundary(net, X, y)


def test_an_animation_has_a_frame_for_each_network_and_stays_at_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(decision, "GRID", 40)
    nets = [(0, halves(-1.0)), (1, halves(0.2)), (2, halves())]
    path = plots.boundary_animation(tmp_path / "a.gif", iter(nets), X, Y)
    with Image.open(path) as gif:
        times = []
        for k in range(gif.n_frames):
            gif.seek(k)
            times.append(gif.info["duration"])
    assert len(times) == 3
    assert times[-1] > 10 * times[0]
    with pytest.raises(ConfigError, match="no network to draw"):
        plots.boundary_animation(tmp_path / "b.gif", [], X, Y)
    assert [found.name for found in tmp_path.iterdir()] == ["a.gif"]


# files


def test_the_ending_of_the_name_says_the_format(tmp_path):
    figure = plots.learning_curves(history())
    assert plots.save(figure, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in plots.save(figure, tmp_path / "a.svg").read_bytes()
    assert plots.save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ConfigError, match="one of png, svg, pdf"):
        plots.save(figure, tmp_path / "a.jpeg")
    assert len(list(tmp_path.iterdir())) == 3


def test_the_same_figure_has_the_same_bytes(tmp_path):
    files = [plots.save(plots.norms(history()), tmp_path / f"{k}.svg") for k in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_name_is_not_read_as_a_formula(tmp_path):
    names = [r"$\frac{$", "$50 to $60_", "a_b^c"]
    plots.save(plots.confusion_matrix(C, names=names), tmp_path / "a.png")
    plots.save(plots.learning_curves({name: history() for name in names}), tmp_path / "b.png")


def test_pyplot_and_its_state_are_not_needed():
    script = (
        "import sys\nfrom deepxp import plots, History\n"
        "plots.learning_curves(History([{'epoch': 1, 'loss': 1.0}]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path):
    script = "import sys\nsys.modules['matplotlib'] = None\nfrom deepxp import plots"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "ImportError: deepxp.plots needs Matplotlib; install it: python -m pip install matplotlib" in done.stderr

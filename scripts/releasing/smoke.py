"""What a fresh installation must do, run by its own Python in an empty folder: `python -I smoke.py VERSION`.

Every command of deepxp runs once, and a library's user's way through it. Says what it has done in a line each.
"""

import csv
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

import deepxp as dx
from deepxp.data import digits

LIMIT = 120  # seconds for one command
LEAST = 0.7  # accuracy after two epochs; guessing has 0.1
OPTIONAL = ("numba", "cupy", "matplotlib", "sklearn", "scipy")
COMMAND = Path(sysconfig.get_path("scripts")) / ("deepxp.exe" if os.name == "nt" else "deepxp")


def call(*command: object, path: str = "") -> str:
    """What a command prints; it must end well, and without a word on stderr unless that is progress."""
    env = os.environ | {"PYTHONPATH": path}
    words = [str(word) for word in command]
    ran = subprocess.run(words, capture_output=True, text=True, env=env, timeout=LIMIT, stdin=subprocess.DEVNULL)
    if ran.returncode or "Traceback" in ran.stderr:
        sys.exit(f"{' '.join(words)}: exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return ran.stdout


def expect(holds: bool, what: str) -> None:
    """A promise that is kept is a line; one that is broken ends it."""
    if not holds:
        sys.exit(f"not so: {what}")
    print(what)


def main(version: str) -> None:
    """All of it, in the current folder."""
    module = (sys.executable, "-m", "deepxp")
    expect(Path(dx.__file__).is_relative_to(sys.prefix), "deepxp is imported from the environment it was installed in")
    expect(call(COMMAND, "--version").split() == ["deepxp", version], f"deepxp --version says {version}")
    expect(f"deepxp      {version}" in call(*module, "info"), "python -m deepxp info says the version")
    expect(json.loads(call(*module, "info", "--json"))["deepxp"] == version, "deepxp info --json is JSON")
    expect(imported_by_deepxp() == "", f"import deepxp imports none of {', '.join(OPTIONAL)}, though they are there")

    train = json.loads(call(COMMAND, "train", "--epochs", 2, "--out", "run", "--json").splitlines()[-1])
    expect(train["test"]["accuracy"] > LEAST, f"two epochs on the digits reach {100 * train['test']['accuracy']:.1f} %")
    model = "run/model.safetensors"
    evaluated = json.loads(call(COMMAND, "evaluate", model, "--json").splitlines()[-1])
    expect(evaluated["metrics"] == train["test"], "deepxp evaluate finds the same numbers")
    data = digits()
    with open("new.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[f"pixel{i}" for i in range(64)], *data.X[:20].tolist()])
    labels = call(COMMAND, "predict", model, "new.csv").split()
    right = np.mean(np.array(labels) == data.y[:20].astype(str))
    expect(right > LEAST, "deepxp predict knows the digits of a CSV file")
    call(COMMAND, "check", "--hidden", 8)
    call(COMMAND, "explain", "--html", "step.html")
    call(COMMAND, "bench", "--quick", "--limit", 0.1, "--m", 8, "--n", 8, "--html", "bench.html")
    expect(all(Path(page).stat().st_size for page in ("step.html", "bench.html")), "check, explain and bench run")

    net = dx.Network((64, 32, 10), hidden="relu", loss="softmax-cross-entropy", backend="auto", seed=0)
    history = dx.train(net, data.X.T / 16, data.y, epochs=2, batch_size=64, optimizer=dx.Adam(lr=2e-3))
    expect(history["loss"][-1] < history["loss"][0], "dx.train learns")
    net.save("library.safetensors")
    again = dx.load("library.safetensors", backend="cpu")
    same = np.array_equal(net.predict_proba(data.X.T / 16), again.predict_proba(data.X.T / 16))
    expect(same, "a network that was saved and loaded answers the same bits")


def imported_by_deepxp() -> str:
    """Which of OPTIONAL `import deepxp` imports, where an empty stand-in is there for each."""
    folder = Path("stand-ins")
    folder.mkdir()
    for name in OPTIONAL:
        (folder / f"{name}.py").touch()
    code = f"import deepxp, sys; print(*sorted(set(sys.modules) & set({OPTIONAL!r})))"
    return call(sys.executable, "-c", code, path=str(folder.resolve())).strip()


if __name__ == "__main__":
    main(sys.argv[1])

"""An epoch of MNIST, 784-256-10 @ 128: dx.train, scikit-learn's partial_fit, a plain loop in PyTorch."""

import numpy as np

from harness.contender import ContenderError
from harness.rounds import Entry
from sections.setting import Setting
from sections.targets import row

SIZES, M = (784, 256, 10), 128
NAMES = ("deepxp", "deepxp (NumPy alone)", "PyTorch eager", "scikit-learn")
AGREE = 0.15  # relative; initial weights and orders differ, so the losses of an epoch agree only about so well


def run(setting: Setting) -> tuple[dict | None, list[dict]]:
    """Times an epoch, and rows; all contenders get float32 in [0, 1]."""
    if setting.mnist is None:
        setting.skip("MNIST", "all", "no file: give it with --mnist FILE.npz")
        return None, []
    path = setting.folder / "mnist.npz"
    with np.load(setting.mnist) as file:
        X, y = file["x_train"], file["y_train"]
    if setting.quick:
        X, y = X[:12_800], y[:12_800]
    np.savez(path, X=X.reshape(len(X), -1).astype(np.float32) / 255, y=y.astype(np.int64))
    losses = {}
    with setting.ready("MNIST", NAMES, "epoch", data=str(path), sizes=SIZES, m=M) as built:
        for name in list(built):
            try:
                losses[name] = built[name].ask(do="values", case="epoch", steps=2)["values"]
            except ContenderError as error:
                setting.leave_out("MNIST", built, name, str(error))
        for name in [name for name in list(built) if "deepxp" in losses]:
            if abs(losses[name][1] / losses["deepxp"][1] - 1) > AGREE:
                reason = f"does not learn the same: losses {losses[name]}, not {losses['deepxp']}"
                setting.leave_out("MNIST", built, name, reason)
        times = setting.turns("MNIST", [Entry(name, contender, "epoch") for name, contender in built.items()])
    for label, time in times.items():
        print(f"    {label:32} {time.median:10.4f} s", flush=True)
    rows = []
    for peer, limits in (("scikit-learn", (0.45, 0.35)), ("PyTorch eager", (0.6, 0.5))):
        if "deepxp" in times and peer in times:
            rows.append(row("MNIST epoch, 784-256-10 @ 128", peer, times["deepxp"].over(times[peer]), *limits))
    result = {"sizes": SIZES, "m": M, "samples": len(X), "losses": losses}
    return result | {"s": {label: list(time.rounds) for label, time in times.items()}}, rows

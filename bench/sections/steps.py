"""A training step of the same net on the same batches from the same weights, in every contender."""

from harness.agreement import disagreeing
from harness.contender import ContenderError
from harness.rounds import Entry
from nets import GPU_NETS, NETS, Net, write_task
from sections.setting import Setting
from sections.targets import FASTEST_PEER, GPU, NUMPY_ALONE, OWN_PRODUCTS, row

CPU = ("deepxp", "deepxp (NumPy alone)", "PyTorch eager", "torch.compile", "JAX jit", "scikit-learn", "thinc")
ON_GPU = ("deepxp (GPU)", "PyTorch eager", "torch.compile", "JAX jit")
CHECKED_STEPS = 5
FROM_NUMPY = "NumPy batch in, loss out"
READING = ("deepxp", "deepxp (GPU)", "PyTorch eager", "torch.compile", "JAX jit")


def run(setting: Setting) -> tuple[list[dict], list[dict]]:
    """Results a net, and the rows of the table."""
    nets = (GPU_NETS if setting.device == "gpu" else NETS)[: 3 if setting.quick else None]
    if setting.nets:
        nets = [net for net in GPU_NETS if any(part in net.name for part in setting.nets)]
    results, rows = [], []
    for net in nets:
        print(f"{net.name}", flush=True)
        result = of_net(setting, net)
        results.append(result)
        rows += rows_of(result, setting.device)
    return results, rows


WITH_PRODUCTS = ("deepxp", "deepxp (NumPy alone)", "deepxp (GPU)", "PyTorch eager")


def of_net(setting: Setting, net: Net) -> dict:
    """Losses first, then times."""
    names = ON_GPU if setting.device == "gpu" else CPU
    path = setting.folder / "task.npz"
    write_task(net, path)
    with setting.ready(net.name, names, "step", data=str(path)) as built:
        losses = checked(setting, net.name, built)
        entries = [Entry(name, contender) for name, contender in built.items()]
        with_products = [name for name in WITH_PRODUCTS if name in built]
        entries += [Entry(f"{name}, products alone", built[name], "products") for name in with_products]
        entries += [Entry(f"{name}, {FROM_NUMPY}", built[name], "read") for name in READING if name in built]
        times = setting.turns(net.name, entries)
    for label, time in times.items():
        print(f"    {label:32} {time.median * 1e3:10.4f} ms", flush=True)
    return {
        "net": net.name,
        "sizes": net.sizes,
        "m": net.m,
        "flops": net.flops,
        "losses": losses,
        "ms": {label: [1e3 * t for t in time.rounds] for label, time in times.items()},
        "over_peer": ratios(times, [name for name in names if not name.startswith("deepxp")]),
        "from_numpy": from_numpy(times),
    }


def from_numpy(times: dict) -> dict[str, object]:
    """The same where every batch comes from NumPy and the host reads every loss: deepxp over the fastest peer."""
    ours = next((times[key] for key in (f"{name}, {FROM_NUMPY}" for name in READING[:2]) if key in times), None)
    peers = {name: times[f"{name}, {FROM_NUMPY}"] for name in READING[2:] if f"{name}, {FROM_NUMPY}" in times}
    if ours is None or not peers:
        return {}
    fastest = min(peers, key=lambda name: peers[name].median)
    return {"fastest": fastest, "ratio": ours.over(peers[fastest])}


def checked(setting: Setting, where: str, built: dict) -> dict[str, list[float]]:
    """The first losses of all contenders; those that differ from deepxp's are left out."""
    losses = {}
    for name in list(built):
        try:
            losses[name] = built[name].ask(do="values", case="step", steps=CHECKED_STEPS)["values"]
        except ContenderError as error:
            setting.leave_out(where, built, name, str(error))
    reference = next((name for name in losses if name.startswith("deepxp")), None)
    if reference is not None:
        for name, reason in disagreeing(losses, reference).items():
            setting.leave_out(where, built, name, reason)
    return losses


def ratios(times: dict, peers: list[str]) -> dict[str, object]:
    """deepxp over the fastest peer, and over all of them: median, least and greatest over the rounds."""
    running = [name for name in peers if name in times]
    if not running:
        return {}
    fastest = min(running, key=lambda name: times[name].median)
    found: dict[str, object] = {"fastest": fastest}
    for label in times:
        if label.startswith("deepxp") and "," not in label:
            found[label] = {name: times[label].over(times[name]) for name in running}
            if f"{label}, products alone" in times:
                found[label]["products alone"] = times[label].over(times[f"{label}, products alone"])
    return found


def rows_of(result: dict, device: str) -> list[dict]:
    """What was promised of this net."""
    net, found, rows = result["net"], result["over_peer"], []
    fastest = found.get("fastest")
    ours = "deepxp (GPU)" if device == "gpu" else "deepxp"
    if fastest is None or ours not in found:
        return rows
    if device == "gpu":
        for peer, aim in GPU.get(net, {}).items():
            if peer in found[ours]:
                rows.append(row(f"step {net}", peer, found[ours][peer], None, aim))
        return rows
    if net in FASTEST_PEER:
        rows.append(row(f"step {net}", fastest, found[ours][fastest], *FASTEST_PEER[net]))
    if result["from_numpy"]:
        against, ratio = result["from_numpy"]["fastest"], result["from_numpy"]["ratio"]
        rows.append(row(f"step {net}, {FROM_NUMPY}", against, ratio, None, None))
    if net in OWN_PRODUCTS and "products alone" in found[ours]:
        rows.append(row(f"step {net}", "its products alone", found[ours]["products alone"], *OWN_PRODUCTS[net]))
    if net in NUMPY_ALONE and "deepxp (NumPy alone)" in found:
        alone = found["deepxp (NumPy alone)"][fastest]
        rows.append(row(f"step {net}, without Numba", fastest, alone, NUMPY_ALONE[net], None))
    return rows

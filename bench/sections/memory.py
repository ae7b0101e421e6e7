"""The memory of deepxp's step: its peak over what is needed, and what a warm step allocates."""

from harness.contender import ContenderError
from nets import NETS, write_task
from sections.setting import Setting
from sections.targets import row

SMALL = 16 * 1024


def run(setting: Setting) -> tuple[list[dict], list[dict]]:
    """Bytes a net, and the worst of them as rows."""
    results = []
    for net in NETS[: 3 if setting.quick else None]:
        path = setting.folder / "task.npz"
        write_task(net, path)
        result: dict = {"net": net.name}
        for case in ("peak", "allocated"):  # each in a process that has done nothing else
            with setting.ready(net.name, ["deepxp"], "memory", data=str(path)) as built:
                try:
                    if "deepxp" in built:
                        result[case] = built["deepxp"].ask(do="measure", case=case)["measured"]
                except ContenderError as error:
                    setting.leave_out(net.name, built, "deepxp", str(error))
        if len(result) == 3:
            results.append(over(result))
            print(f"  {net.name}: peak {result['over']:+.1%}, a warm step {result['allocated']}", flush=True)
    return results, rows_of(results)


def over(result: dict) -> dict:
    """The peak beyond what is needed, as a fraction of it; dZ[l] and dA[l-1], the gradients between two layers, count
    as needed in `over` and not in `over_strict`."""
    peak = result["peak"]
    needed = sum(peak["needed"].values())
    result["over"] = peak["traced"] / needed - 1
    result["over_strict"] = peak["traced"] / (needed - peak["needed"]["dZ and dA"]) - 1
    if peak["resident"] is not None:
        result["over_resident"] = peak["resident"] / needed - 1
    return result


def rows_of(results: list[dict]) -> list[dict]:
    """The worst nets; of the smallest ones the Python objects outweigh the numbers, which says nothing."""
    rows = []
    if large := [result for result in results if sum(result["peak"]["needed"].values()) > 2**20]:
        worst = max(large, key=lambda result: result["over"])
        against = "parameters, gradients, optimizer state, activations"
        rows.append(row(f"peak memory, {worst['net']}", against, [worst["over"]], 0.10, None, unit="more"))
    if results:
        worst = max(results, key=lambda result: result["allocated"]["transient"])
        bytes_ = worst["allocated"]["transient"]
        rows.append(row(f"a warm step allocates, {worst['net']}", "bytes", [bytes_], SMALL, 0, unit="bytes"))
    return rows

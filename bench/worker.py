"""The process of a contender: reads requests, a JSON object a line, and answers with one line each.

    {"do": "build", "task": "step", ...}       {"versions": {...}, "blas": "..."}; the rest goes to the task's builder
    {"do": "values", "case": ..., "steps": K}  {"values": [...]}: what K calls gave, such as their losses
    {"do": "time", "case": ..., "steps": K}    {"seconds": s} for K calls, the device's work included
    {"do": "measure", "case": ...}             {"measured": {...}}: what is no time, such as memory

Whatever a library prints goes to the standard error stream.
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback

from contenders import CONTENDERS
from harness import machine

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent():
    """Where Linux can do it, be killed when the process that asks ends without a word, even while stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(cases, request):
    if request["do"] == "values":
        return {"values": [float(value) for value in cases[request["case"]].values(request["steps"])]}
    if request["do"] == "measure":
        return {"measured": cases[request["case"]]()}
    case, steps = cases[request["case"]], request["steps"]
    started = time.perf_counter()
    case.run(steps)
    return {"seconds": time.perf_counter() - started}


def main(name):
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cases = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "build":
                threads, task = request.pop("threads"), request.pop("task")
                if (
                    threads < machine.cores()
                ):  # some libraries take as many threads as they see cores, so let all see the same
                    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
                request.pop("do")
                cases = CONTENDERS[name](task, threads, request)
                reply = {"versions": machine.versions(), "blas": machine.blas(), "cases": sorted(cases)}
            else:
                reply = serve(cases, request)
        except Exception as error:  # whatever it is, it is the answer
            traceback.print_exc()
            text = str(error).strip().splitlines()
            reply = {"error": f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

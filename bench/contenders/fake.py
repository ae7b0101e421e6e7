"""A contender that computes nothing: the tests of the harness ask it to work, to be wrong, to fail, to hang, to die."""

import os
import time

from contenders import Case


def step(threads, data, device, losses=(2.0, 1.5, 1.2, 1.1, 1.05), seconds=1e-4, behaviour="works"):
    if behaviour == "fails":
        raise RuntimeError("nothing works")
    if behaviour == "is missing":
        import no_such_library  # noqa: F401
    if behaviour == "hangs":
        time.sleep(3600)
    if behaviour == "dies":
        os._exit(3)
    if behaviour == "prints":
        print("a library's greeting")
    given = iter(losses)

    class Given(Case):
        def values(self, steps):
            return [next(given) for _ in range(steps)]

    return {"step": Given(lambda: time.sleep(seconds)), "products": Given(lambda: time.sleep(seconds / 2))}


TASKS = {"step": step}

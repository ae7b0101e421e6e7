"""The stream that deepxp computes on, and numbers that the host sends ahead on it.

A step can be recorded on any stream but CUDA's default one, so every thread has a stream of its own on each device. It
is joined with the caller's at both ends: what the caller has asked for comes before, what the caller asks for next
comes after. Neither waits on the host, and no array can be read before it is written.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any

from deepxp.ops.typing import Array, Namespace

SLOTS = 64  # steps that the host may be ahead before a number it sent could be overwritten unread


class _Streams(threading.local):
    def __init__(self) -> None:
        self.made: dict[tuple[str, int], tuple[Any, Any]] = {}


_streams = _Streams()


def own(cupy: Namespace, device: int, purpose: str = "compute") -> tuple[Any, Any]:
    """This thread's stream on the current device, and an event to join it with others."""
    pair = _streams.made.get((purpose, device))
    if pair is None:
        pair = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event(disable_timing=True)
        _streams.made[purpose, device] = pair
    return pair


def lasting(cupy: Namespace, size: int, dtype: str) -> Array:
    """Memory that stays with a stream: from CuPy's own pool, not from that of the step that happens to be recorded."""
    with cupy.cuda.using_allocator(cupy.get_default_memory_pool().malloc):
        return cupy.empty((size,), dtype=dtype)


class Active:
    """Inside, a device and deepxp's stream on it are the current ones."""

    def __init__(self, cupy: Namespace, device: Any) -> None:
        self._cupy, self._device = cupy, device

    def __enter__(self) -> None:
        self._device.__enter__()
        self._outer = self._cupy.cuda.get_current_stream()
        self._stream, self._event = own(self._cupy, self._device.id)
        self._nested = self._outer == self._stream
        if not self._nested:
            self._join(self._outer, self._stream)
            self._stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        if not self._nested:
            self._stream.__exit__(*error)
            self._join(self._stream, self._outer)
        self._device.__exit__(*error)

    def _join(self, first: Any, then: Any) -> None:
        self._event.record(first)
        then.wait_event(self._event)


class Numbers:
    """`sent[:] = values` sends a few numbers to `device`, in the order of the current stream; the host does not wait.

    They leave from page-locked memory, a slot for each time they are sent: a copy from there is made by the device
    when its turn comes, so a slot may only be used again when that is done.
    """

    def __init__(self, cupy: Namespace, pinned: Any, count: int, dtype: str) -> None:
        self.device: Array = cupy.zeros((count,), dtype=dtype)
        self._cupy, self._slots, self._turn = cupy, pinned((SLOTS, count), dtype), 0
        self._left = [cupy.cuda.Event(disable_timing=True) for _ in range(SLOTS)]

    def __len__(self) -> int:
        return int(self.device.shape[0])

    def __setitem__(self, index: Any, values: Any) -> None:
        slot, self._turn = self._turn % SLOTS, self._turn + 1
        if self._turn > SLOTS:  # asked with `done`, an event that is not done leaves an error behind for others to find
            self._left[slot].synchronize()
        self._slots[slot] = values
        stream = self._cupy.cuda.get_current_stream()
        self.device.set(self._slots[slot], stream=stream)
        self._left[slot].record(stream)

    def __del__(self) -> None:  # the slots are somebody else's then: not before the last copy has left
        if getattr(self, "_turn", 0) and not sys.is_finalizing():
            self._left[(self._turn - 1) % SLOTS].synchronize()


class Lane:
    """The way of a table that stays on the host: the rows of a batch are gathered into page-locked memory and copied to
    the device on a stream of their own, while the device works on the batch before.

    There are two buffers at either end. On the host one is filled when the copy that left it last is done; on the
    device one is copied into when the step that read it last is done.
    """

    def __init__(self, cupy: Namespace, pinned: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self._cupy, self._turn, self.rows = cupy, 0, shape[0]
        self._host = [pinned(shape, dtype) for _ in range(2)]
        self._device = [cupy.empty(shape, dtype=dtype) for _ in range(2)]
        self._copied, self._read = (
            [cupy.cuda.Event(disable_timing=True) for _ in range(2)] for _ in ("off the host", "by the device")
        )
        for read in self._read:
            read.record(cupy.cuda.get_current_stream())  # what had this memory before may be read still

    def fill(self, gather: Callable[[Array], None], out: Array) -> None:
        """`gather` writes a batch into host memory; out, on the device, is filled with it. The host waits only where
        it is two batches ahead."""
        k, m, cuda = self._turn % 2, out.shape[0], self._cupy.cuda
        current, copies = cuda.get_current_stream(), own(self._cupy, cuda.runtime.getDevice(), "copy")[0]
        if self._turn > 1:
            self._copied[k].synchronize()
        self._turn += 1
        gather(self._host[k][:m])
        copies.wait_event(self._read[k])
        self._device[k][:m].set(self._host[k][:m], stream=copies)
        self._copied[k].record(copies)
        current.wait_event(self._copied[k])
        out[...] = self._device[k][:m]
        self._read[k].record(current)

    def __del__(self) -> None:  # as above
        if getattr(self, "_turn", 0) and not sys.is_finalizing():
            self._copied[(self._turn - 1) % 2].synchronize()

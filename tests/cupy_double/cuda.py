"""`cupy.cuda`: devices, streams, events, graphs, memory. Kernels run at once; only non-blocking downloads are late."""

import time
import weakref
from contextlib import contextmanager

import numpy as np

from . import runtime, state
from .order import Clock
from .state import OutOfMemoryError


class Device:
    def __init__(self, device=None):
        self.id = runtime.getDevice() if device is None else int(device)

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def __enter__(self):
        state.now.thread.devices.append(runtime.getDevice())
        runtime.setDevice(self.id)
        return self

    def __exit__(self, *args):
        runtime.setDevice(state.now.thread.devices.pop())

    def use(self):
        runtime.setDevice(self.id)
        return self

    def synchronize(self):
        with self:
            runtime.deviceSynchronize()

    @property
    def compute_capability(self):
        return state.now.capability

    @property
    def mem_info(self):
        with self:
            return runtime.memGetInfo()

    @property
    def attributes(self):
        with self:
            capability = int(state.now.capability)
            return {"ComputeCapabilityMajor": capability // 10, "ComputeCapabilityMinor": capability % 10}


class Stream:
    """Downloads that do not block wait in `_pending` until the stream is waited for."""

    null: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null:
            state.now.check_driver()
        self.ptr = 0 if null else id(self)
        self.is_non_blocking = non_blocking
        self.device_id = -1 if null else state.now.device
        self._pending = []
        self._captured = None

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return hash(self.ptr)

    def __enter__(self):
        self._match()
        _streams(state.now.device).append(self)
        return self

    def __exit__(self, *args):
        _streams(state.now.device).pop()

    def _match(self):
        if self.device_id not in (-1, state.now.device):
            raise RuntimeError(f"This stream belongs to device {self.device_id}, not to device {state.now.device}")

    def use(self):
        self._match()
        _streams(state.now.device)[:] = [self]
        return self

    @property
    def done(self):
        return not self._pending

    def synchronize(self):
        refuse_in_capture("synchronous API calls", self)
        state.now.counters.host_waits += 1
        self._flush()
        state.now.order.host.learn(state.now.order.now(self)[1])

    def _flush(self):
        pending, self._pending = self._pending, []
        for deliver in pending:
            deliver()

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        state.now.order.now(self)[1].learn(event._clock)

    def is_capturing(self):
        return self._captured is not None

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._captured = []

    def end_capture(self):
        if self._captured is None:
            raise runtime.CUDARuntimeError(1)
        captured, self._captured = self._captured, None
        return Graph(captured)


_null = Stream(null=True)
Stream.null = _null


class Graph:
    """The captured kernels; each launch computes them again from, and into, the memory they were captured with.

    That memory must still be there: a graph owns none of it, so it goes with the pool that it was taken from.
    """

    def __init__(self, captured):
        self._captured = [(*kernel[:2], *map(list, map(remembered, kernel[2:]))) for kernel in captured]

    def launch(self, stream=None):
        stream = get_current_stream() if stream is None else stream
        for compute, store, reads, writes in self._captured:
            present = [[alive(memory) for memory in memories] for memories in (reads, writes)]
            state.now.order.use(stream, *present)
            store(compute())

    def upload(self, stream=None):
        pass


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        state.now.check_driver()
        self._machine = state.now
        self._time = None
        self._waiting = ()
        self._clock = Clock()

    def record(self, stream=None):
        stream = get_current_stream() if stream is None else stream
        self._time, self._waiting = time.perf_counter(), (stream,)
        self._clock = Clock(state.now.order.now(stream)[1])

    @property
    def done(self):
        """Only what the host has waited for is: a real event may be done earlier, and nobody can rely on it."""
        return all(map(self._machine.order.host.knows, self._clock.items()))

    def synchronize(self):
        self._machine.counters.host_waits += not self.done  # to wait for what is known to be done is none
        for stream in self._waiting:
            stream._flush()
        self._machine.order.host.learn(self._clock)


def _streams(device):
    return state.now.thread.streams.setdefault(device, [])


def get_current_stream(device_id=-1):
    streams = _streams(state.now.device if device_id == -1 else device_id)
    return streams[-1] if streams else Stream.null


def capturing():
    """What the current stream has captured so far, or None."""
    return get_current_stream()._captured


def run(compute, store, reads, writes, result=None):
    """A kernel on the current stream: at once, or whenever the graph that is being captured is launched."""
    stream = get_current_stream()
    if stream._captured is not None:
        stream._captured.append((compute, store, reads, writes))
    else:
        state.now.order.use(stream, reads, writes)
        store(compute() if result is None else result)


def remembered(memories):
    """Weakly, with the pool they are from."""
    return [(weakref.ref(memory), memory.pool) for memory in memories]


def alive(kept):
    """Memory that a captured kernel uses: whoever holds it, or else its pool, must have kept it."""
    memory, pool = kept[0](), kept[1]() if kept[1] else None
    if memory is None and pool is None:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: the graph uses memory that was given back")
    return memory or pool.block


def refuse_in_capture(what, stream=None):
    if (get_current_stream() if stream is None else stream)._captured is not None:
        raise RuntimeError(f"the current stream is capturing, so {what} are disallowed")


def get_elapsed_time(start_event, end_event):
    return 1e3 * (end_event._time - start_event._time)


def get_device_id():
    return runtime.getDevice()


def is_available():
    return bool(state.now.driver and state.now.devices)


class Block:
    """The part of a pool that no array holds at the moment."""

    def __init__(self):
        self.written, self.read = None, {}


class MemoryPool:
    def __init__(self, allocator=None):
        self.block, self.kept = Block(), []

    def used_bytes(self):
        return state.now.used[state.now.device]

    def total_bytes(self):
        return state.now.used[state.now.device]

    def free_bytes(self):
        return 0

    def n_free_blocks(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass

    def malloc(self, size):
        """Not memory, but where it is from and how much: (pool, device, bytes)."""
        return self, *state.now.allocate(size)


class PinnedMemoryPool(MemoryPool):
    pass


@contextmanager
def using_allocator(allocator=None):
    """Of this thread; what is taken from a pool of one's own is known to be from it."""
    state.now.thread.pools.append(allocator)
    try:
        yield
    finally:
        state.now.thread.pools.pop()


default_pool = MemoryPool()


def taken(size):
    """(pool, device, bytes) of new memory; None for the default pool, which gives to others what was given back."""
    allocators = state.now.thread.pools
    pool, device, size = (allocators[-1] if allocators and allocators[-1] else default_pool.malloc)(size)
    return None if pool is default_pool else weakref.ref(pool), device, size


class PinnedMemoryPointer(bytearray):
    """Page-locked host memory, as a buffer."""

    @property
    def ptr(self):
        return np.frombuffer(self, np.uint8).ctypes.data

    def size(self):
        return len(self)


def alloc_pinned_memory(size):
    state.now.check_driver()
    return PinnedMemoryPointer(size)


__all__ = [
    "Device",
    "Event",
    "Graph",
    "MemoryPool",
    "OutOfMemoryError",
    "PinnedMemoryPointer",
    "PinnedMemoryPool",
    "Stream",
    "alloc_pinned_memory",
    "get_current_stream",
    "get_device_id",
    "get_elapsed_time",
    "is_available",
    "using_allocator",
]

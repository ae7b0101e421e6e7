"""A training step recorded on a GPU: captured once as a CUDA graph, then started with a single call.

A graph repeats the same kernels on the same memory with the same numbers. So everything that changes from step to step
is read from device memory, and what the step allocates on its way comes from a pool that lives as long as the graph.
"""

import gc
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deepxp.kernels import cublas
from deepxp.ops.typing import Array

WARM_UP = 3  # steps before the recording: kernels compile, the pool fills, cuBLAS settles on its algorithms

_capturing = threading.Lock()  # one thread at a time: the garbage collector, and memory that goes back, are everybody's
_dropped: deque[tuple[Any, Any, list[Any]]] = deque()  # (device, pool, graph and what it was captured with)


def record(backend: Any, step: Callable[[Any], None], X: Array) -> "Recorded":
    """The step over static memory, ready to be run again and again. X is the part of it that the step only reads.

    The first runs are plain, then one is recorded. Where that fails the step stays plain, and a warning says why.
    """
    return Recorded(backend, step, X)


def _give_back() -> None:
    """To CUDA, the memory of steps that are gone, unless a thread is capturing: it does so afterwards."""
    while _dropped and _capturing.acquire(blocking=False):
        try:
            with suppress(Exception):  # called by destructors, which have nobody to tell
                device, pool, kept = _dropped.popleft()
                kept.clear()  # the graph first: it writes into the memory of the pool
                with device:
                    pool.free_all_blocks()
        finally:
            _capturing.release()


class Recorded:
    """A step that is run by calling it. `graph` is what is replayed, or None as long as there is none; it reads X where
    X is, so another table is copied there first.

    A graph uses the workspace and the scratch memory of the stream that it was captured on, so it is launched there
    whatever thread asks for it, and both stay as long as it does.
    """

    def __init__(self, backend: Any, step: Callable[[Any], None], X: Array) -> None:
        self._backend, self._step, self._X = backend, step, X
        self._cuda = backend.xp.cuda
        self._pool = self._cuda.MemoryPool()  # goes with the graph, whose kernels write into its memory
        self._runs = 0
        self.graph: Any = None
        self._stream: Any = None
        self._lease: cublas.Lease | None = None

    def __del__(self) -> None:
        if hasattr(self, "graph") and not sys.is_finalizing():
            kept = [self.graph, self._lease, self._stream]
            self.graph = self._lease = self._stream = None
            _dropped.append((self._backend.device, self._pool, kept))
            del kept
            _give_back()

    def __call__(self, table: Array | None = None) -> None:
        with self._backend.active():
            stream = self._cuda.get_current_stream()
            if table is not None:
                self._X[...] = table
            if self._runs <= WARM_UP and stream != self._stream:  # what a stream needs is made before the recording
                self._runs, self._stream = 0, stream
            if self._runs == WARM_UP:
                self._capture(stream)
            self._runs += 1
            if self.graph is not None:
                self._launch(stream)
                return
            with self._cuda.using_allocator(self._room):
                self._step(self._backend)

    def _room(self, size: int) -> Any:
        """Memory from the pool; where the device has no more, CuPy's own pool gives back what it only keeps."""
        try:
            return self._pool.malloc(size)
        except MemoryError:
            self._backend.xp.get_default_memory_pool().free_all_blocks()
            return self._pool.malloc(size)

    def _launch(self, stream: Any) -> None:
        """After what the current stream was asked for, and before what it is asked for next."""
        if stream == self._stream:
            self.graph.launch(stream)
            return
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        self._stream.wait_event(event)
        self.graph.launch(self._stream)
        event.record(self._stream)
        stream.wait_event(event)

    def _capture(self, stream: Any) -> None:
        with _capturing:
            # an object that dies meanwhile may give memory back to CUDA, which would end the capture
            gc.collect()
            collects = gc.isenabled()
            gc.disable()
            try:
                self._lease = cublas.lease(self._backend.xp)
                with self._cuda.using_allocator(self._pool.malloc):
                    self.graph = self._captured(stream)
            except Exception as error:  # whatever it is, the step itself still runs
                warnings.warn(
                    f"the training step could not be recorded on {self._backend.name} and runs kernel by kernel, which "
                    f"is slower: {type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=4,
                )
            finally:
                if collects:
                    gc.enable()
        _give_back()

    def _captured(self, stream: Any) -> Any:
        stream.begin_capture()
        try:
            self._step(self._backend)
        except BaseException:
            self._abandon(stream)
            raise
        graph = stream.end_capture()
        graph.upload(stream)
        return graph

    def _abandon(self, stream: Any) -> None:
        """End a capture whose step failed: until then the stream can do nothing else."""
        try:
            stream.end_capture()
        except Exception:  # it says once more that the capture is void
            return

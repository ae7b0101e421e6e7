"""A training step recorded on a GPU: captured once as a CUDA graph, then started with a single call.

A graph repeats the same kernels on the same memory with the same numbers. So everything that changes from step to step
is read from device memory, and what the step allocates on its way comes from a pool that lives as long as the graph.
"""

import gc
import warnings
from collections.abc import Callable
from typing import Any

from deepxp.ops.typing import Array

WARM_UP = 3  # steps before the recording: kernels compile, the pool fills, cuBLAS settles on its algorithms


def record(backend: Any, step: Callable[[Any], None], X: Array) -> "Recorded":
    """The step over static memory, ready to be run again and again. X is the part of it that the step only reads.

    The first runs are plain, then one is recorded. Where that fails the step stays plain, and a warning says why.
    """
    return Recorded(backend, step, X)


class Recorded:
    """A step that is run by calling it. `graph` is what is replayed, or None as long as there is none; it reads X where
    X is, so another table is copied there first."""

    def __init__(self, backend: Any, step: Callable[[Any], None], X: Array) -> None:
        self._backend, self._step, self._X = backend, step, X
        self._cuda = backend.xp.cuda
        self._pool = self._cuda.MemoryPool()  # goes with the graph, whose kernels write into its memory
        self._runs = 0
        self.graph: Any = None

    def __call__(self, table: Array | None = None) -> None:
        with self._backend.active():
            if table is not None:
                self._X[...] = table
            if self._runs == WARM_UP:
                self._capture()
            self._runs += 1
            if self.graph is not None:
                self.graph.launch()
                return
            with self._cuda.using_allocator(self._pool.malloc):
                self._step(self._backend)

    def _capture(self) -> None:
        stream = self._cuda.get_current_stream()
        # an object that dies meanwhile may give memory back to CUDA, which would end the capture
        gc.collect()
        collects = gc.isenabled()
        gc.disable()
        try:
            with self._cuda.using_allocator(self._pool.malloc):
                self.graph = self._captured(stream)
        except Exception as error:  # whatever it is, the step itself still runs
            warnings.warn(
                f"the training step could not be recorded on {self._backend.name} and runs kernel by kernel, which is "
                f"slower: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=4,
            )
        finally:
            if collects:
                gc.enable()

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

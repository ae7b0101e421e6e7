"""The memory of a training step: allocated once for the largest batch, then viewed by every batch size."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepxp.backend import Backend
from deepxp.ops.activations import Activation
from deepxp.ops.typing import Array


@dataclass(frozen=True)
class Workspace:
    """The arrays of a step for m samples, indexed as in the equations; what may share memory does.

    `X` (m, n[0]) and `Y` (m, n[L]) or labels (m,) are tables: rows are samples, as they are gathered; `A[0]` is X.T.
    `H[l]` is what layer l+1 reads: A[l], or A[l] after dropout. `kept[l]` is what g' reads. `dZ[l]` takes the memory
    of `dA[l]`, and the layers take turns with two of them.
    """

    m: int
    X: Array
    Y: Array
    w: Array
    Z: tuple[Array, ...]
    A: tuple[Array, ...]
    H: tuple[Array, ...]
    kept: tuple[Array, ...]
    dA: tuple[Array, ...]
    dZ: tuple[Array, ...]
    bits: tuple[Array | None, ...]
    losses: Array
    J: Array


class Memory:
    """The flat arrays behind the workspaces of a network, for at most `m` samples. `inputs` is the type of X, if it is
    another.

    `shared=False` gives every quantity memory of its own, so that all can be read after the step.
    """

    def __init__(
        self,
        backend: Backend,
        sizes: Sequence[int],
        g: Sequence[Activation],
        dropped: Sequence[bool],
        dtype: str,
        m: int,
        *,
        labels: bool,
        shared: bool = True,
        inputs: str | None = None,
    ) -> None:
        L = len(sizes) - 1
        self.backend, self.sizes, self.labels, self.m = backend, tuple(sizes), labels, m

        def empty(n: int, kind: str = dtype) -> Array:
            return backend.empty((n * m,), kind)

        self.X = empty(sizes[0], inputs or dtype)
        self.Y = empty(1, "int32") if labels else empty(sizes[L])
        self.w, self.losses, self.J = empty(1), empty(1), backend.empty((), dtype)
        self.A = [self.X, *(empty(n) for n in sizes[1:])]
        self.Z = [self.A[l] if shared and (l == 0 or g[l].reads == "A") else empty(sizes[l]) for l in range(L + 1)]
        self.kept = [self.A[l] if l == 0 or g[l].reads == "A" else self.Z[l] for l in range(L + 1)]
        self.H = [empty(sizes[l]) if dropped[l] else self.A[l] for l in range(L + 1)]
        self.bits = [empty(sizes[l], "uint16") if dropped[l] else None for l in range(L + 1)]
        if shared:
            turns = [empty(max(sizes[1 + turn : L + 1 : 2], default=0)) for turn in (0, 1)]
            self.dA = self.dZ = [turns[(l - 1) % 2] for l in range(L + 1)]
        else:
            self.dA = [empty(n) for n in sizes]
            self.dZ = [empty(n) for n in sizes]

    def workspace(self, m: int) -> Workspace:
        """Views for a batch of m samples, m at most that of the memory."""
        reshape, sizes, L = self.backend.xp.reshape, self.sizes, len(self.sizes) - 1

        def view(flat: Array, n: int) -> Array:
            return reshape(flat[: n * m], (n, m))

        def layers(memory: Sequence[Array]) -> tuple[Array, ...]:
            # one view per piece of memory and size: what shares memory is then one object, which kernels can tell
            return (
                None,
                *(views.setdefault((id(memory[l]), sizes[l]), view(memory[l], sizes[l])) for l in range(1, L + 1)),
            )

        views: dict[tuple[int, int], Array] = {}
        X = reshape(self.X[: sizes[0] * m], (m, sizes[0]))
        Y = self.Y[:m] if self.labels else reshape(self.Y[: sizes[L] * m], (m, sizes[L]))
        A = (X.T, *layers(self.A)[1:])
        return Workspace(
            m=m,
            X=X,
            Y=Y,
            w=self.w[:m],
            Z=layers(self.Z),
            A=A,
            H=(A[0], *layers(self.H)[1:]),
            kept=layers(self.kept),
            dA=layers(self.dA),
            dZ=layers(self.dZ),
            bits=(
                None,
                *(None if bits is None else view(bits, n) for bits, n in zip(self.bits[1:], sizes[1:], strict=True)),
            ),
            losses=self.losses[:m],
            J=self.J,
        )

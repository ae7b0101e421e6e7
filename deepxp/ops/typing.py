"""What the definitions are written in: an array of some namespace `xp`, and that namespace.

Both are Any on purpose. An array may be NumPy's, CuPy's, a scalar in a compiled loop, a piece of CUDA source or a
symbol; what they share is the arithmetic, which no nominal type can say.
"""

from typing import Any, TypeAlias

Array: TypeAlias = Any
Namespace: TypeAlias = Any

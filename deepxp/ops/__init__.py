"""L0, the mathematics: every formula of the package, once, as a function of an array namespace `xp`.

A definition imports nothing and uses only operators and a short list of array-API names (maximum, minimum, where,
exp, expm1, log, log1p, sqrt, tanh, abs, and max and sum over an axis), so that the same text runs on arrays of any
library, compiles to fused loops, writes CUDA source, and can be proved.
"""

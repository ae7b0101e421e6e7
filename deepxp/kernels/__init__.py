"""L1: faster functions of the same names and signatures as the definitions in `deepxp.ops`, a module per engine.

A module is its own registry: what it names shadows the definition on the backend that carries it, the rest falls
through to the definition. What kernels may assume is established once, at the door: arrays of one precision,
C-contiguous but for the input A[0], whose samples are contiguous.
"""

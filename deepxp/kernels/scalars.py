"""The xp of scalars: the functions that definitions use, on one number, in Numba; a loop around them vectorises.

NumPy's and the C library's scalar functions are calls, which a loop cannot be vectorised across; these are straight
lines of arithmetic on exponent bits and polynomials. NaN and infinity go through as in NumPy. Results below the
smallest normal numbers (3e-38 in float32) are 0, as on a GPU: arithmetic on subnormal numbers is slow.

Range reduction is the textbook's (Muller, Elementary Functions, chapters 3 and 11): e^x = 2^n e^r with |r| at most
log(2)/2 and a Taylor polynomial for e^r - 1; log x = n log 2 + 2 artanh(s) with s = (f - 1) / (f + 1) at most 0.172.
"""

import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
BITS = {types.float32: (32, 23, 127), types.float64: (64, 52, 1023)}  # width, where the exponent starts, its bias


@intrinsic
def power_of_two(typing_context: Any, n: Any) -> Any:
    """2^n for a whole number n within the exponents of normal numbers: n + bias, shifted into the exponent's place."""
    width, shift, bias = BITS[n]

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(width)
        bits = builder.add(builder.fptosi(arguments[0], integer), integer(bias))
        return builder.bitcast(builder.shl(bits, integer(shift)), arguments[0].type)

    return n(n), code


@intrinsic
def shifted_power_of_two(typing_context: Any, t: Any) -> Any:
    """2^n for t = 1.5 * 2^mantissa + n, whose last bits are n; 0 for n = -bias, one below the normal exponents."""
    width, shift, bias = BITS[t]

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(width)
        bits = builder.shl(builder.bitcast(arguments[0], integer), integer(shift))
        return builder.bitcast(builder.add(bits, integer(bias << shift)), arguments[0].type)

    return t(t), code


@intrinsic
def exponent(typing_context: Any, x: Any) -> Any:
    """The whole number n with 2^n <= x < 2^(n+1), x positive and normal, in x's type."""
    width, shift, bias = BITS[x]

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(width)
        bits = builder.lshr(builder.bitcast(arguments[0], integer), integer(shift))
        return builder.sitofp(builder.sub(bits, integer(bias)), arguments[0].type)

    return x(x), code


@cache
def namespace(dtype: str) -> ModuleType:
    """The namespace for numbers of one precision: its constants are of that precision, too."""
    xp = ModuleType(f"deepxp.kernels.scalars.{dtype}", "The array API's elementwise functions on one number.")
    real = np.dtype(dtype).type
    functions = {**_choices(real), **_exponentials(real), **_logarithms(real)}
    for name, function in functions.items():
        setattr(xp, name, function)
    return xp


def _choices(real: Any) -> dict[str, Any]:
    zero, one = real(0.0), real(1.0)

    @njit(**OPTIONS)
    def maximum(a: Any, b: Any) -> Any:
        return a if a > b or a != a else b

    @njit(**OPTIONS)
    def minimum(a: Any, b: Any) -> Any:
        return a if a < b or a != a else b

    @njit(**OPTIONS)
    def where(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    @njit(**OPTIONS)
    def absolute(x: Any) -> Any:
        return math.fabs(x)

    @njit(**OPTIONS)
    def sign(x: Any) -> Any:
        return math.copysign(one, x) if x > zero or x < zero else x

    @njit(**OPTIONS)
    def sqrt(x: Any) -> Any:
        return math.sqrt(x)

    return {"maximum": maximum, "minimum": minimum, "where": where, "abs": absolute, "sign": sign, "sqrt": sqrt}


def _exponentials(real: Any) -> dict[str, Any]:
    single = real is np.float32
    taylor = tuple(real(1 / math.factorial(k)) for k in range(7 if single else 13, 0, -1))
    # log 2 in two parts: n times the first one is exact
    log2_high = real(0.693359375 if single else 6.93147180369123816490e-01)
    log2_low = real(-2.12194440e-4 if single else 1.90821492927058770002e-10)
    per_log2, half, one, two = real(1 / math.log(2)), real(0.5), real(1.0), real(2.0)
    lowest, highest = (real(-86.5), real(88.7228)) if single else (real(-708.0), real(709.7827))
    flat = real(9.5 if single else 20.0)  # beyond it tanh is 1 to the last bit
    shifter, vanishing = (real(1.5 * 2**23), real(-88.0)) if single else (real(1.5 * 2**52), real(-709.0))
    zero, infinity = real(0.0), real(np.inf)

    @njit(**OPTIONS)
    def reduced(x: Any) -> Any:
        """e^x = 2^n (1 + q)"""
        n = np.floor(x * per_log2 + half)  # math.floor would go through integers, and from there to float64
        r = (x - n * log2_high) - n * log2_low
        q = taylor[0]
        for c in taylor[1:]:
            q = q * r + c
        return n, q * r

    @njit(**OPTIONS)
    def clamped(x: Any) -> Any:
        """x within the range where 2^n is a normal number; NaN stays NaN"""
        x = lowest if x < lowest else x
        return highest if x > highest else x

    @njit(**OPTIONS)
    def exp(x: Any) -> Any:
        n, q = reduced(clamped(x))
        y = (one + q) * power_of_two(n - one) * two  # 2^n itself overflows where e^x does not yet
        y = zero if x < lowest else y
        return infinity if x > highest else y

    @njit(**OPTIONS)
    def exp_falling(x: Any) -> Any:
        """e^x for x <= 0, in two thirds of the operations"""
        x = vanishing if x < vanishing else x
        t = x * per_log2 + shifter
        n = t - shifter
        r = (x - n * log2_high) - n * log2_low
        q = taylor[0]
        for c in taylor[1:]:
            q = q * r + c
        return (q * r + one) * shifted_power_of_two(t)

    @njit(**OPTIONS)
    def expm1(x: Any) -> Any:
        n, q = reduced(clamped(x))
        half_scale = power_of_two(n - one)
        y = two * (half_scale * q + (half_scale - half))
        y = x if x == zero else y  # -0 stays -0
        return infinity if x > highest else y

    @njit(**OPTIONS)
    def tanh(x: Any) -> Any:
        size = math.fabs(x)
        size = flat if size > flat else size
        n, q = reduced(-two * size)
        scale = power_of_two(n)
        t = scale * q + (scale - one)  # e^(-2|x|) - 1
        return math.copysign(-t / (t + two), x)

    return {"exp": exp, "exp_falling": exp_falling, "expm1": expm1, "tanh": tanh}


def _logarithms(real: Any) -> dict[str, Any]:
    single = real is np.float32
    artanh = tuple(real(2 / k) for k in range(11 if single else 23, 0, -2))
    log2_high = real(0.693359375 if single else 6.93147180369123816490e-01)
    log2_low = real(-2.12194440e-4 if single else 1.90821492927058770002e-10)
    root, one, half, zero = real(math.sqrt(2)), real(1.0), real(0.5), real(0.0)
    infinity, nan = real(np.inf), real(np.nan)
    smallest = np.finfo(real).tiny

    @njit(**OPTIONS)
    def log(x: Any) -> Any:
        n = exponent(x)
        f = x * power_of_two(-n)
        big = f > root
        f = f * half if big else f
        n = n + one if big else n
        s = (f - one) / (f + one)
        p = artanh[0]
        for c in artanh[1:]:
            p = p * (s * s) + c
        y = n * log2_high + (p * s + n * log2_low)
        y = x if x == infinity or x != x else y
        y = -infinity if x < smallest else y
        return nan if x < zero else y

    @njit(**OPTIONS)
    def log1p(x: Any) -> Any:
        u = one + x
        y = log(u) + (x - (u - one)) / u  # what rounding 1 + x lost
        y = -infinity if u == zero else y
        return x if x == infinity or math.fabs(x) < smallest else y

    return {"log": log, "log1p": log1p}

"""Triton's interpreter with a GPU's rounding: tensor cores that truncate, approximate special functions, no subnormals.

The interpreter multiplies matrices and takes logarithms as numpy does, nearly exactly. A machine does not:

- A matrix instruction takes 16 products and its accumulator, shifts them to the largest exponent among them, cuts off
  what lies more than 24 bits below, adds, and cuts the sum to float32 (Fasi, Higham, Mikaitis and Pranesh, "Numerical
  behavior of NVIDIA tensor cores", 2021; later machines keep a bit or two more).
- Special functions are tables and parabolas, wrong by what the PTX manual says at most. Here they are wrong by that
  much with a period of 1/64 in their argument's octave: always the same way where all arguments are close.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

_STEP = 16  # products of one matrix instruction
_BITS = 24  # kept below the largest exponent
_LEAST_NORMAL = np.float32(2.0**-126)


def cut_to_float32(exact: np.ndarray) -> np.ndarray:
    """float64 to float32 towards zero, as a tensor core rounds."""
    near = exact.astype(np.float32)
    return np.where(np.abs(near) > np.abs(exact), np.nextafter(near, np.float32(0.0)), near)


def matrix_product(a: np.ndarray, b: np.ndarray, acc: np.ndarray) -> np.ndarray:
    """a b + acc, float32, by matrix instructions of 16 products; entries of a and b are bfloat16 numbers."""
    out = acc.astype(np.float32)
    rows, columns = np.flatnonzero(a.any(1)), np.flatnonzero(b.any(0))
    if not len(rows) or not len(columns):
        return out
    total = out[np.ix_(rows, columns)]
    for start in range(0, a.shape[1], _STEP):
        left = a[rows, start : start + _STEP].astype(np.float32)
        right = b[start : start + _STEP, columns].astype(np.float32)
        terms = np.concatenate([left[:, :, None] * right[None], total[:, None]], 1)
        _, exponent = np.frexp(np.abs(terms).max(1, keepdims=True))
        unit = np.ldexp(1.0, exponent - 1 - _BITS)
        total = cut_to_float32((np.trunc(terms / unit) * unit).sum(1))
    out[np.ix_(rows, columns)] = total
    return out


def _flushed(values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(values) < _LEAST_NORMAL, np.float32(0.0), values)


def _wave(values: np.ndarray) -> np.ndarray:
    """Between -1 and 1, 0 at powers of two and at whole numbers, with a period of 1/64 of an octave."""
    return np.sin(2.0 * np.pi * 64.0 * values.astype(np.float64))


def _mantissa(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), 2.0 * np.frexp(np.where(np.isfinite(values), values, 1.0))[0], 1.0)


def exp2(x: np.ndarray) -> np.ndarray:
    """ex2.approx.ftz: relative error up to 2^-22."""
    return _flushed((np.exp2(x.astype(np.float64)) * (1.0 + 2.0**-22 * _wave(x))).astype(np.float32))


def log2(x: np.ndarray) -> np.ndarray:
    """lg2.approx.ftz: absolute error up to 2^-22 between 1/2 and 2, relative beyond."""
    exact = np.log2(_flushed(x).astype(np.float64))
    size = np.where(np.isfinite(exact), np.maximum(np.abs(exact), 1.0), 0.0)
    return (exact + 2.0**-22 * size * _wave(_mantissa(x))).astype(np.float32)


def reciprocal_root(x: np.ndarray) -> np.ndarray:
    """rsqrt.approx.ftz: relative error up to 2^-22.9."""
    exact = 1.0 / np.sqrt(_flushed(x).astype(np.float64))
    return _flushed((exact * (1.0 + 2.0**-22.9 * _wave(_mantissa(x)))).astype(np.float32))


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """rcp.approx.ftz and div.full: relative error up to 2^-23 and 2^-22; float64 exact."""
    if a.dtype != np.float32:
        return np.divide(a, b)
    wrong = 1.0 + 2.0**-22.5 * _wave(_mantissa(b))
    return _flushed((np.divide(a.astype(np.float64), _flushed(b)) * wrong).astype(np.float32))


def make_rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter compute as roughly as a machine, for the rest of a test."""
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle

    def in_float32(rough: Any, exact: Any) -> Any:
        def operation(self: Any, value: Any) -> Any:
            if value.data.dtype != np.float32:
                return exact(self, value)
            with np.errstate(all="ignore"):
                return handle(rough(value.data), value.dtype.scalar)

        return operation

    def divide(self: Any, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            return handle(quotient(a.data, b.data), a.dtype.scalar)

    def dot(self: Any, a: Any, b: Any, acc: Any, *_: Any) -> Any:
        return handle(matrix_product(a.data, b.data, acc.data), acc.dtype.scalar)

    for name, rough in (("exp2", exp2), ("log2", log2), ("rsqrt", reciprocal_root)):
        exact = getattr(builder, f"create_{name}")
        monkeypatch.setattr(builder, f"create_{name}", in_float32(rough, exact))
    monkeypatch.setattr(builder, "create_fdiv", divide)
    monkeypatch.setattr(builder, "create_dot", dot)

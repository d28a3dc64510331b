"""What the page and its server send each other: a few facts and arrays of numbers, in one piece of bytes.

A frame is the length of its head (uint32, little-endian), the head as JSON padded with spaces to a multiple of four
bytes, and the arrays as little-endian float32, one after the other. The head's entry ``arrays`` has their names and
shapes in order.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from .. import checks
from ..errors import InputError

Array = np.ndarray[Any, Any]

_MOST_HEAD = 1 << 16
_MOST_ARRAYS = 16


def pack(facts: dict[str, Any], **arrays: Array) -> bytes:
    """One frame of ``facts``, which JSON can write, and ``arrays`` of any numbers."""
    head = json.dumps({**facts, "arrays": {name: list(a.shape) for name, a in arrays.items()}}).encode()
    head += b" " * (-len(head) % 4)
    numbers = (np.ascontiguousarray(array, dtype="<f4").tobytes() for array in arrays.values())
    return b"".join([len(head).to_bytes(4, "little"), head, *numbers])


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Facts and float32 arrays of a frame from outside.

    Raises:
        InputError: it is no frame, or its arrays are not as long as its head says.
    """
    length = int.from_bytes(content[:4], "little")
    if length > min(_MOST_HEAD, len(content) - 4):
        raise InputError(f"frame: expected a head of at most {_MOST_HEAD} bytes, got {length}")
    try:
        head = json.loads(content[4 : 4 + length])
        shapes = head.pop("arrays")
        sizes = {str(name): tuple(int(side) for side in shape) for name, shape in shapes.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError("frame: expected JSON with the names and shapes of arrays") from None
    if len(sizes) > _MOST_ARRAYS or any(side < 0 for shape in sizes.values() for side in shape):
        raise InputError(f"frame: expected at most {_MOST_ARRAYS} arrays, got {checks.describe(sizes)}")
    numbers = content[4 + length :]
    counts = [math.prod(shape) for shape in sizes.values()]
    if 4 * sum(counts) != len(numbers):
        raise InputError(f"frame: expected {4 * sum(counts)} bytes of numbers, got {len(numbers)}")
    arrays, at = {}, 0
    for (name, shape), count in zip(sizes.items(), counts, strict=True):
        arrays[name] = np.frombuffer(numbers, "<f4", count, 4 * at).reshape(shape)
        at += count
    return head, arrays

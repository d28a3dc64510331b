"""Frames between the page and its server hold what went in, and refuse everything else in a sentence."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from efm_fast.errors import InputError
from efm_fast.page.frame import pack, unpack


def test_a_frame_gives_back_its_facts_and_arrays() -> None:
    points, none = np.arange(6.0).reshape(3, 2), np.zeros((0, 3))
    facts, arrays = unpack(pack({"L": 2.5, "name": "Gauß"}, points=points, none=none))
    assert facts == {"L": 2.5, "name": "Gauß"}
    assert np.array_equal(arrays["points"], points)
    assert arrays["none"].shape == (0, 3)
    assert arrays["points"].dtype == np.float32


def headed(head: object, rest: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(4, "little") + text + rest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff\xff\xff",
        (1 << 20).to_bytes(4, "little") + b" " * (1 << 21),
        headed([]),
        headed({}),
        headed({"arrays": 3}),
        headed({"arrays": {"a": [-1]}}),
        headed({"arrays": {"a": [10**12]}}),
        headed({"arrays": {"a": [1]}}, b"123"),
        headed({"arrays": {str(k): [0] for k in range(17)}}),
        len(b"[" * 60000).to_bytes(4, "little") + b"[" * 60000,
    ],
)
def test_what_is_no_frame_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^frame: expected"):
        unpack(content)


def test_damaged_frames_never_raise_anything_else() -> None:
    whole, chance = pack({"L": 1.0}, plus=np.ones((3, 2)), minus=np.ones((2, 2))), random.Random(0)
    refused = 0
    for _ in range(500):
        raw = bytearray(whole)
        raw[chance.randrange(len(raw) - 60)] ^= 1 << chance.randrange(8)
        try:
            unpack(bytes(raw))
        except InputError:
            refused += 1
    assert refused > 100

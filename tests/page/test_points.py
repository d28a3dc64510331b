"""Files that people drop on the page: points, or a sentence that says what was expected and what came."""

from __future__ import annotations

import io
import random
import zipfile
from typing import Any

import numpy as np
import pytest

from efm_fast.errors import InputError
from efm_fast.page.points import MOST_BYTES, read_points

ROWS = np.array([[0.5, -1.0], [2.0, 3.0], [4.0, 1e-3]], np.float32)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def rows_of(points: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in points.tolist())


@pytest.mark.parametrize(
    "text",
    [
        "0.5,-1\n2,3\n4,1e-3\n",
        "x,y\n0.5,-1\n2,3\n4,1e-3",
        '"x","y"\r\n0.5,-1\r\n2,3\r\n4,1e-3\r\n',
        "# points of mine\n0.5; -1\n\n2; 3\n4; 1e-3\n",
        "x\ty\n0.5\t-1\n2\t3\n4\t1e-3\n",
        "0.5 -1\n2  3\n4 1e-3\n",
        "\ufeff0.5,-1\n2,3\n4,1e-3\n",
    ],
)
def test_rows_of_numbers_are_read_however_they_are_separated(text: str) -> None:
    points, notes = read_points("mine.csv", text.encode())
    assert rows_of(points[""]) == rows_of(ROWS)
    assert notes == []


def test_one_column_is_one_feature_and_npz_files_have_one_array_or_both_plates() -> None:
    assert read_points("a.CSV", b"1\n2\n3\n")[0][""].shape == (3, 1)
    assert read_points("a.npz", npz(any=ROWS.astype(np.float64)))[0][""].shape == (3, 2)
    assert read_points("a.npz", npz(any=np.arange(4)))[0][""].shape == (4, 1)
    both, _ = read_points("a.npz", npz(plus=ROWS, minus=2 * ROWS, other=np.zeros(3)))
    assert rows_of(both["minus"]) == rows_of(2 * ROWS)
    assert rows_of(both["plus"]) == rows_of(ROWS)


def test_what_is_left_out_is_said() -> None:
    points, notes = read_points("a.csv", b"1,2\n1,2\n3,4\n")
    assert rows_of(points[""]) == [(1.0, 2.0), (3.0, 4.0)]
    assert notes == ["'a.csv': 1 points that repeat others were left out"]
    points, notes = read_points("a.npz", npz(a=np.random.default_rng(0).normal(size=(5000, 2))))
    assert points[""].shape == (2000, 2)
    assert notes == ["'a.npz': 2000 of 5000 points were drawn at random"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"\x89PNG", r"expected a name ending in .csv or .npz, got 'a.png'"),
        ("a.csv", b"", "'a.csv' is empty"),
        ("a.csv", b"x,y\n", "'a.csv' has names alone"),
        ("a.csv", b"\xff\xfe\x00", "'a.csv' is no text"),
        ("a.csv", b"1,2\n3,four\n", "expected rows of 2 numbers in 'a.csv', got '3,four'"),
        ("a.csv", b"1,2\n3\n", "expected rows of 2 numbers in 'a.csv', got '3'"),
        (
            "a.csv",
            b"1,2,3\n3,4,5\n",
            r"expected rows of 1 or 2 features, which can be drawn, got shape \(2, 3\)",
        ),
        ("a.csv", b"1,2\nnan,4\n", "expected finite numbers, got 1 rows with others, the first is row 2"),
        ("a.csv", b"1,2\n1e30,4\n", "expected numbers up to a million, got 1e\\+30; scale them"),
        ("a.csv", b"1,2\n1e300,4\n", "expected finite numbers"),
        ("a.csv", b"1,2\n" * (MOST_BYTES // 4 + 1), "expected at most 8,000,000 bytes, got 8,000,004"),
        ("a.npz", b"1,2\n", "expected an .npz file of NumPy, cannot read 'a.npz' as one"),
        ("a.npz", npz(a=ROWS, b=ROWS), "expected the arrays plus and minus, or one array, got 'a, b'"),
        ("a.npz", npz(a=np.zeros((0, 2))), "expected at least one point, got none"),
        ("a.npz", npz(a=np.zeros((2, 2, 2))), "expected rows of 1 or 2 features"),
        ("a.npz", npz(a=np.array([[1 + 2j, 3]])), "expected real numbers, got dtype complex128"),
        ("a.npz", npz(a=np.array(["one", "two"])), "nothing is unpickled"),
        ("a.npz", npz(plus=ROWS, minus=ROWS[:, :1]), "expected the same number of features on both plates"),
    ],
)
def test_a_bad_file_gets_a_sentence(name: str, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_points(name, content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_nothing_is_unpickled_and_a_small_file_cannot_take_all_memory() -> None:
    with pytest.raises(InputError, match="nothing is unpickled"):
        read_points("a.npz", npz(a=np.array([{}], dtype=object)))
    bomb = npz(a=np.zeros((8_000_001, 1)))
    assert len(bomb) < MOST_BYTES
    with pytest.raises(InputError, match="expected at most 64,000,000 bytes, got 64,000,008"):
        read_points("bomb.npz", bomb)


def test_damaged_files_are_refused_or_read() -> None:
    whole, chance = npz(plus=ROWS, minus=ROWS), random.Random(1)
    refused = 0
    for _ in range(200):
        raw = bytearray(whole)
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        try:
            read_points("a.npz", bytes(raw[: chance.choice((len(raw), chance.randrange(len(raw))))]))
        except InputError:
            refused += 1
    assert refused > 100
    assert zipfile.is_zipfile(io.BytesIO(whole))

"""Points of one's own: the bytes of a dropped CSV or .npz file, which may be anything, as charges."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np

from .. import checks
from ..data.npz import array_names, read_array
from ..errors import InputError
from .frame import Array
from .scenes import MOST_CHARGES

#: Bytes of a file, and of one array that is unpacked from it.
MOST_BYTES = 8_000_000
_MOST_UNPACKED = 64_000_000
_PLATES = ("plus", "minus")


def read_points(name: str, content: bytes) -> tuple[dict[str, Array], list[str]]:
    """Points of a file, float32 [M, D] with D 1 or 2.

    Args:
        name: the file's name; what it ends in says what it is.
        content: its bytes.

    Returns:
        The points by plate, ``plus`` and ``minus`` of an .npz file that has both, or else one array under ``""``; and
        sentences that say what was left out.

    Raises:
        InputError: another kind of file, a damaged one, or points that cannot be shown.
    """
    said = checks.describe(name)
    if len(content) > MOST_BYTES:
        raise InputError(f"file: expected at most {MOST_BYTES:,} bytes, got {len(content):,} in {said}")
    kind = name.lower().rpartition(".")[2]
    if kind not in ("csv", "txt", "tsv", "npz"):
        raise InputError(f"file: expected a name ending in .csv or .npz, got {said}")
    found = _npz(said, content) if kind == "npz" else {"": _csv(said, content)}
    notes: list[str] = []
    points = {plate: _shown(plate or said, array, notes) for plate, array in found.items()}
    if len({array.shape[1] for array in points.values()}) > 1:
        raise InputError(f"file: expected the same number of features on both plates in {said}")
    return points, notes


def _npz(said: str, content: bytes) -> dict[str, Array]:
    try:
        names = array_names(io.BytesIO(content))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(f"file: expected an .npz file of NumPy, cannot read {said} as one") from None
    both = set(_PLATES) <= set(names)
    if not both and len(names) != 1:
        listed = checks.describe(", ".join(names))
        raise InputError(f"file: expected the arrays plus and minus, or one array, got {listed} in {said}")
    keys = dict(zip(_PLATES, _PLATES, strict=True)) if both else {"": names[0]}
    return {
        plate: read_array(io.BytesIO(content), key, "file", said, _MOST_UNPACKED)
        for plate, key in keys.items()
    }


def _csv(said: str, content: bytes) -> Array:
    """Rows of numbers that commas, semicolons, tabs or blanks separate; the first line may hold names."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"file: expected text with rows of numbers, {said} is no text") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InputError(f"file: expected rows of numbers, {said} is empty")
    separator = next((mark for mark in (";", "\t", ",") if mark in lines[0]), None)
    rows = lines[_is_names(lines[0]) :]
    if not rows:
        raise InputError(f"file: expected rows of numbers, {said} has names alone")
    try:
        return np.loadtxt(rows, delimiter=separator, ndmin=2, dtype=np.float64, comments=None)
    except ValueError:
        columns = len(rows[0].split(separator))
        bad = next((row for row in rows if not _is_row(row, separator, columns)), rows[0])
        raise InputError(
            f"file: expected rows of {columns} numbers in {said}, got {checks.describe(bad.strip())}"
        ) from None


def _is_names(line: str) -> bool:
    """Whether a first line holds names: a letter at its start, which is neither nan nor inf."""
    return re.match(r"\s*[\"']?(?!nan\b|inf)[^\W\d]", line, re.IGNORECASE) is not None


def _is_row(line: str, separator: str | None, columns: int) -> bool:
    try:
        return len([float(part) for part in line.split(separator)]) == columns
    except ValueError:
        return False


def _shown(name: str, array: Array, notes: list[str]) -> Array:
    """``array`` as float32 rows that the page can show; ``notes`` gets a sentence for what is left out."""
    rows = array[:, None] if array.ndim == 1 else array
    if rows.ndim != 2 or rows.shape[1] not in (1, 2):
        raise InputError(
            f"{name}: expected rows of 1 or 2 features, which can be drawn, got shape {array.shape}"
        )
    if rows.dtype.kind not in "biuf":
        raise InputError(f"{name}: expected real numbers, got dtype {rows.dtype}")
    if len(rows) == 0:
        raise InputError(f"{name}: expected at least one point, got none")
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad, first = int((~finite).sum()), int((~finite).argmax()) + 1
        raise InputError(
            f"{name}: expected finite numbers, got {bad} rows with others, the first is row {first}"
        )
    if np.abs(rows).max() > 1e6:
        raise InputError(f"{name}: expected numbers up to a million, got {np.abs(rows).max():g}; scale them")
    distinct = np.unique(rows, axis=0, return_index=True)[1]
    if len(distinct) < len(rows):
        notes.append(f"{name}: {len(rows) - len(distinct)} points that repeat others were left out")
    order = np.random.default_rng(0).permutation(np.sort(distinct))
    if len(order) > MOST_CHARGES:
        notes.append(f"{name}: {MOST_CHARGES} of {len(order)} points were drawn at random")
    return np.ascontiguousarray(rows[order[:MOST_CHARGES]])

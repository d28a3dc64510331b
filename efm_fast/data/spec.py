"""The data of a plate as settings of a config, and as a run folder records them.

Data in memory cannot be written to a config.yaml. A record takes their place: their kind, shape and dtype, and a
fingerprint that identifies the same data later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .. import checks
from ..errors import InputError
from .source import SPLITS, Source
from .tools import as_tensor

_RECORD = "in_memory"  # the key of a record of data
_KEPT_BACK = "not_published"  # the key of a file's name that stands for the file
_ITEMS = 64  # items of a Dataset that its fingerprint reads, evenly spread
_ROWS = 256  # rows of a Source that its fingerprint draws
_EXPECTED = "a source's name, a mapping with a name, a tensor, an array, a torch Dataset or a Source"


def as_spec(plate: str, value: object) -> dict[str, Any]:
    """The data of ``plate`` as a mapping with the key ``name`` and the settings of that source.

    A tensor or array, a torch Dataset and a ready Source become settings of the sources ``tensor``, ``dataset`` and
    ``source``.

    Raises:
        InputError: the value is none of these; the text names the plate.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Tensor | np.ndarray):
        return {"name": "tensor", "data": value}
    if isinstance(value, Source):
        return {"name": "source", "source": value}
    if isinstance(value, Dataset):
        return {"name": "dataset", "dataset": value}
    raise InputError(f"{plate}: expected {_EXPECTED}, got {type(value).__name__}")


def recorded(plate: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` as plain data for a YAML file, with a record in place of data in memory.

    Raises:
        InputError: a setting can neither be written nor recorded.
    """
    return {key: _recorded(f"{plate}.{key}", value) for key, value in spec.items()}


def is_record(value: object) -> bool:
    """Whether ``value`` is the record of data that were in memory."""
    return isinstance(value, Mapping) and _RECORD in value


def without_places(spec: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The recorded ``spec`` for publication: files and folders of this machine are replaced by their names.

    Args:
        spec: settings as plain data.
        keys: settings that name a file or folder; any other setting that is an absolute path counts as one too.
    """
    return {
        key: {_KEPT_BACK: Path(value).name}
        if isinstance(value, str) and (key in keys or Path(value).is_absolute())
        else value
        for key, value in spec.items()
    }


def kept_back(spec: Mapping[str, Any]) -> list[str]:
    """The names of files and folders that :func:`without_places` left in ``spec``."""
    return [
        str(value[_KEPT_BACK])
        for value in spec.values()
        if isinstance(value, Mapping) and _KEPT_BACK in value
    ]


def in_memory(spec: Mapping[str, Any]) -> list[str]:
    """The settings of a recorded ``spec`` that were in memory."""
    return [key for key, value in spec.items() if is_record(value)]


def described(record: Mapping[str, Any]) -> str:
    """A record in words."""
    parts = (record.get(key) for key in (_RECORD, "dtype", "shape", "fingerprint"))
    return "{} of {} {}, fingerprint {}".format(*parts)


def given_again(plate: str, spec: Mapping[str, Any], given: object) -> dict[str, Any]:
    """The recorded ``spec`` with the data in memory, which are ``given`` again, in place of their records.

    Args:
        plate: "plus" or "minus".
        spec: settings as read from a run folder.
        given: the data, in any of the forms that :func:`as_spec` takes.

    Raises:
        InputError: data or settings differ from the recorded ones, or no data were recorded as in memory.
    """
    records = in_memory(spec)
    if not records:
        raise InputError(
            f"{plate}: expected nothing, for the run itself reads its data ({checks.describe(dict(spec))}),"
            f" got {type(given).__name__}"
        )
    fresh = {"name": spec["name"], **as_spec(plate, given)}
    for key, value in fresh.items():
        if key not in records and value != spec.get(key):
            raise InputError(
                f"{plate}.{key}: expected {checks.describe(spec.get(key))} as in training,"
                f" got {checks.describe(value)}"
            )
    for key in records:
        if key not in fresh:
            raise InputError(f"{plate}: expected {key} too, {described(spec[key])}, got none")
        came = _recorded(f"{plate}.{key}", fresh[key])
        if came != spec[key]:
            got = described(came) if is_record(came) else type(fresh[key]).__name__
            raise InputError(
                f"{plate}: expected the data that the run was trained on, {described(spec[key])}, got {got}"
            )
    return {**spec, **{key: fresh[key] for key in records}}


def _plain(value: object) -> Any:
    """``value`` as plain types that YAML knows, if it can be converted."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _recorded(name: str, value: Any) -> Any:
    if _is_plain(value):
        return value
    if isinstance(value, Tensor | np.ndarray):
        rows = as_tensor(name, value)
        return _record("tensor", rows.shape, str(rows.dtype).removeprefix("torch."), hashed(rows))
    if isinstance(value, Source):
        return _record(type(value).__name__, value.shape, "float32", _twice(lambda: hashed(_draws(value))))
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return _record(type(value).__name__, [len(value)], "items", _twice(lambda: hashed(_items(value))))
    raise InputError(
        f"{name}: expected a plain setting, a tensor, an array, a Dataset or a Source, got {type(value).__name__}"
    )


def _record(kind: str, shape: Sequence[int], dtype: str, fingerprint: str | None) -> dict[str, Any]:
    return {_RECORD: kind, "shape": [*shape], "dtype": dtype, "fingerprint": fingerprint}


def _twice(fingerprint: Callable[[], str]) -> str | None:
    """The fingerprint, or None for data that differ each time they are read."""
    first = fingerprint()
    return first if fingerprint() == first else None


def _draws(source: Source) -> list[object]:
    """The parts of a source's fingerprint: its sizes, and some rows drawn with a fixed seed."""
    rows = source.draw(_ROWS, torch.Generator().manual_seed(0))
    return [[source.size(split) for split in SPLITS], rows]


def _items(dataset: Any) -> list[object]:
    """The parts of a Dataset's fingerprint: its length and some items, with a fixed seed for random transforms."""
    count = len(dataset)
    rows = torch.linspace(0, count - 1, min(count, _ITEMS), dtype=torch.float64).long().tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [count, [dataset[row] for row in rows]]


class Digest:
    """The fingerprint of data that come in parts. Equal parts in the same order give the same fingerprint."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, value: object) -> None:
        """Add a part: arrays, numbers, texts, and containers of them."""
        _feed(self._digest, value)

    def text(self) -> str:
        """The fingerprint of all parts so far, 32 hexadecimal digits."""
        return self._digest.hexdigest()


def hashed(value: object) -> str:
    """The fingerprint of ``value``."""
    digest = Digest()
    digest.add(value)
    return digest.text()


def _feed(digest: hashlib.blake2b, value: object) -> None:
    """Add ``value`` to ``digest``: arrays by shape and bytes, containers part by part, other values as text."""
    if isinstance(value, Tensor):
        rows = as_tensor("data", value).contiguous()
        digest.update(f"{rows.dtype}{tuple(rows.shape)}".encode())
        digest.update(rows.flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        _feed(digest, as_tensor("data", value))
    elif isinstance(value, Mapping):
        _feed(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _feed(digest, part)
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        digest.update(repr(value).encode())
    else:  # the text of an object may hold its address
        digest.update(type(value).__name__.encode())

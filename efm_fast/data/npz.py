"""Arrays of .npz files. Headers are checked before data are read, so that damaged or hostile files do no harm."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import checks
from ..errors import InputError
from .memory import from_array
from .registry import register_source
from .source import FiniteSource
from .tools import existing

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@register_source("npz")
def npz(path: str, key: str | None = None, held_out: float = 0.2, seed: int = 0) -> FiniteSource:
    """An array of a NumPy .npz file, read without unpickling anything.

    Args:
        path: path of the file; a relative one starts at the working folder.
        key: name of the array; may be left out if the file holds only one.
        held_out: share of rows held out as the test split, in [0, 1).
        seed: fixes which rows are held out.

    Returns:
        The source (see the source ``tensor`` for shapes and dtypes).

    Raises:
        InputError: there is no such file or array, it is not an .npz file, the array does not hold numbers, is not
            complete or does not fit in memory, or its data are wrong.
    """
    return from_array("npz", _read(existing("npz path", path), key), None, held_out, seed)


def _read(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"npz path: expected an .npz file, cannot read {str(path)!r} as one{_hint(path)}")
    return read_array(path, key, "npz path", repr(str(path)))


def array_names(file: Path | IO[bytes]) -> list[str]:
    """Names of the arrays in an .npz file.

    Raises:
        zipfile.BadZipFile: it is not an .npz file.
    """
    with zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_array(
    file: Path | IO[bytes], key: str | None, argument: str, said: str, most: float = math.inf
) -> np.ndarray[Any, Any]:
    """One array of an .npz file, read without unpickling anything.

    Args:
        file: its path, or the open file.
        key: name of the array; may be None if the file holds only one.
        argument: name of the argument that gave the file, for messages.
        said: name of the file in messages.
        most: largest allowed size of the array in bytes; the machine's memory is a limit too.

    Raises:
        InputError: there is no such array, or it is damaged, too large, or does not hold numbers.
    """
    try:
        names = array_names(file)
        if key is None and len(names) != 1:
            raise InputError(f"npz key: expected one of {', '.join(names)}, got none")
        name = checks.choice("npz key", names[0] if key is None else key, names)
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            info = archive.getinfo(f"{name}.npy")
            _check_header(f"{argument}: {name} of {said}", member, info, most)
        if not isinstance(file, Path):
            file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except InputError:
        raise
    except Exception as error:  # a damaged file may raise from zip, zlib, the header or the array
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{argument}: cannot read {said} as arrays of numbers: {reason}") from error


def _hint(path: Path) -> str:
    with path.open("rb") as file:
        is_single = file.read(6) == np.lib.format.MAGIC_PREFIX
    return "; it is a single array, which np.savez puts into one" if is_single else ""


def _check_header(name: str, member: IO[bytes], info: zipfile.ZipInfo, most: float) -> None:
    """Refuse an array by its header, before memory is allocated for it."""
    version = np.lib.format.read_magic(member)
    if version not in _READERS:
        raise InputError(f"{name}: expected numbers, got an array of format {version}")
    shape, _, dtype = _READERS[version](member)
    if dtype.kind not in "biufc":
        raise InputError(f"{name}: expected numbers, got dtype {dtype}; nothing is unpickled")
    claimed, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if claimed != held:
        raise InputError(f"{name}: its header says {claimed:,} bytes, the file holds {held:,}")
    if claimed > most:
        raise InputError(f"{name}: expected at most {most:,} bytes, got {claimed:,}")
    memory = _memory()
    if claimed > memory:
        raise InputError(
            f"{name}: needs {claimed:,} bytes, this machine has {memory:,}; a torch Dataset reads items when drawn"
        )


def _memory() -> float:
    """Bytes of memory of this machine; infinite if the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf

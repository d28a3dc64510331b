"""Files and folders that are there whole or not at all, also after a power failure.

Each is written under a hidden temporary name, flushed to the disk, and renamed into place; a process that is
killed leaves at most such a temporary, which :func:`remove_leftovers` removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import RunError

_DIRECTORY = getattr(os, "O_DIRECTORY", None)  # None where a folder cannot be flushed, as on Windows
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a RunError of one line that names ``path``."""
    try:
        yield
    except OSError as problem:
        raise RunError(f"cannot write {path}: {problem.strerror or problem}") from None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to the disk, and rename it into place.

    Whatever stood at ``path`` stays untouched until the new file is complete.

    Raises:
        RunError: the disk is full or fails, or the folder cannot be written; the text names the file.
    """
    temporary = hidden_name(path)
    try:
        with naming(path):
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | bytearray) -> None:
    """Write ``content``, atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def make_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` put files into a temporary folder beside ``folder``, and rename it into place.

    If anything fails, nothing is left: no temporary, and no parent folder that was made on the way.

    Raises:
        RunError: ``folder`` is already there or cannot be made; the text names it.
    """
    missing = [parent for parent in folder.parents if not os.path.lexists(parent)]
    made = hidden_name(folder)
    try:
        with naming(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            made.mkdir()
            fill(made)
            _flush_folder(made)
            made = made.rename(folder)
            for parent in (folder, *missing):
                _flush_folder(parent.parent)
    except BaseException as problem:
        shutil.rmtree(made, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(problem, RunError):  # of a file in the temporary folder
            raise RunError(str(problem).replace(str(made), str(folder))) from None
        raise


def publish_folder(made: Path, folder: Path) -> None:
    """Rename ``made``, a folder with a :func:`hidden_name`, whose files are on the disk, into place.

    Raises:
        RunError: it cannot be renamed; the text names ``folder``.
    """
    with naming(folder):
        _flush_folder(made)
        remove_folder(folder)
        made.rename(folder)
        _flush_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` and all that is in it; it is gone at once, even if the process is killed on the way."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder.rename(hidden_name(folder)), ignore_errors=True)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove from ``folder`` what killed writes left: in it and below, or only of the entry called ``name``.

    Raises:
        RunError: a leftover cannot be removed.
    """
    for path in list(folder.glob(".*.part") if name else folder.rglob(".*.part")):
        temporary = _TEMPORARY.fullmatch(path.name)
        if temporary is None or name not in (None, temporary["name"]):
            continue
        with naming(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def hidden_name(path: Path) -> Path:
    """A fresh hidden name beside ``path``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` outlast a power failure."""
    if _DIRECTORY is None:
        return
    handle = os.open(folder, os.O_RDONLY | _DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

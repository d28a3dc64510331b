"""Named tensors in one safetensors file with a checksum, written whole or not at all, proven when they are read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor

from .errors import RunError
from .extras import extra
from .files import write_bytes

with extra("train"):
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes
    from safetensors.torch import save as to_bytes

_HEAD = 200  # the first bytes of a file, which hold its seal
_BLANK = b"0" * 64
_SEAL = re.compile(rb'\{"__metadata__":\{"efm_fast\.[a-z]+":"([0-9a-f]{64})"\}')
_UNSEALED = re.compile(rb'\{"__metadata__":\{"format":"efm_fast\.[a-z]+"\}')  # of version 0.1


def save_tensors(path: Path, kind: str, tensors: dict[str, Tensor]) -> None:
    """Write named tensors as safetensors with a checksum, atomically.

    The one entry of the file's metadata is the SHA-256 of the file with zeros in the place of the checksum.

    Args:
        path: of the file.
        kind: what the tensors are, one word in lower case.
        tensors: by name.

    Raises:
        RunError: a tensor holds NaN or infinity, or the file cannot be written.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    refuse_infinite(path, plain, "not written; what stood there before is whole")
    content = bytearray(to_bytes(plain, {f"efm_fast.{kind}": _BLANK.decode()}))
    place = content.index(_BLANK)
    content[place : place + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    write_bytes(path, content)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_tensors` wrote, and prove it.

    Raises:
        RunError: the file is missing, truncated, not ours, not as it was written, or holds NaN or infinity.
    """
    try:
        content = path.read_bytes()
        tensors = from_bytes(content)
    except FileNotFoundError:
        raise RunError(f"no checkpoint at {path}") from None
    except OSError as problem:
        raise RunError(f"cannot read {path}: {problem.strerror}") from None
    except (SafetensorError, ValueError, KeyError) as problem:
        raise RunError(f"{path} is not a whole safetensors file ({problem}); nothing was changed") from None
    seal = _SEAL.search(content, 0, _HEAD)
    if seal and _digest(content, *seal.span(1)) != seal[1]:
        raise RunError(f"{path} is damaged: its content does not have its checksum; nothing was changed")
    if not seal and not _UNSEALED.search(content, 0, _HEAD):
        raise RunError(f"{path} was not written by efm_fast, or is damaged; nothing was changed")
    refuse_infinite(path, tensors, "nothing was changed")
    return tensors


def _digest(content: bytes, start: int, end: int) -> bytes:
    found = hashlib.sha256(memoryview(content)[:start])
    found.update(_BLANK)
    found.update(memoryview(content)[end:])
    return found.hexdigest().encode()


def refuse_infinite(path: Path, tensors: dict[str, Tensor], then: str) -> None:
    """Raise RunError if a tensor holds NaN or infinity; the text names ``path`` and says what happens ``then``."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise RunError(f"{path}: {name} holds NaN or infinity; {then}")

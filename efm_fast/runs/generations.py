"""Checkpoints of a network that is sharded over processes: one folder each, a generation, published by one rename.

    state-00002000/                 the state after step 2000
        shard-00001-....safetensors     the part of one process
        manifest.json                   the step, and the SHA-256 of every shard

shards.py writes and reads them by torch.distributed.checkpoint, which takes long to import. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import remove_folder
from ..processes import Processes

_NAME = re.compile(r"state-(\d{8,})")
STATE = "state.safetensors"  # a checkpoint that is one file
MANIFEST = "manifest.json"
_PART = 1 << 22  # bytes that are read at once


def generations(folder: Path) -> dict[int, Path]:
    """The generations in a run folder, by step. Each is whole, since it was published by a rename."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.glob("state-*"))
    return {int(name[1]): path for name, path in found if name and path.is_dir()}


def remove_generations(folder: Path, but: int | None = None) -> None:
    """Remove the generations in a run folder except that of step ``but``."""
    for step, path in generations(folder).items():
        if step != but:
            remove_folder(path)


def prove(path: Path, processes: Processes) -> None:
    """Check the shards of a generation against their checksums; each process reads some of the shards.

    Raises:
        RunError: the manifest or a shard is missing or damaged; every process raises it.
    """
    problem = None
    try:
        shards = _manifest(path)["shards"]
        there = {file.name for file in path.glob("*.safetensors")}
        lost = sorted(set(shards) - there)
        if lost:
            raise RunError(
                f"{path} needs the {len(shards)} shards that its processes wrote, of which {len(lost)} are missing,"
                f" such as {lost[0]}; nothing was changed"
            )
        if there - set(shards):
            raise RunError(f"{path} holds {min(there - set(shards))}, which its manifest.json does not name")
        for name in sorted(shards)[processes.rank :: processes.size]:
            if digest(path / name) != shards[name]:
                raise RunError(
                    f"{path / name} is damaged: its content does not have its checksum; nothing was changed"
                )
    except RunError as found:
        problem = found
    except OSError as found:
        problem = RunError(f"cannot read {path}: {found.strerror}")
    processes.agree({}, problem)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        names = manifest["shards"]
        if manifest["format"] != "efm_fast.generation" or not all(Path(name).name == name for name in names):
            raise ValueError("not of a generation")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RunError(f"{path / MANIFEST} does not describe a checkpoint: {problem}") from None
    return manifest


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_PART):
            found.update(part)
    return found.hexdigest()

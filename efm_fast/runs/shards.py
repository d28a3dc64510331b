"""Writes and reads the shards of a generation, see generations.py, by torch.distributed.checkpoint.

Any number of processes can read a generation: torch.distributed.checkpoint finds which parts of the shards each needs.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from ..errors import EfmError, RunError
from ..extras import extra
from ..files import hidden_name, naming, publish_folder, write_text
from ..processes import Processes, shared
from ..sealed import refuse_infinite
from . import generations

with extra("train"):
    from safetensors import SafetensorError


class _Writer(dcp.HuggingFaceStorageWriter):
    """Writes the shards of one generation with their checksums, and publishes it when all processes have written."""

    def __init__(self, made: Path, folder: Path, step: int) -> None:
        super().__init__(str(made), save_distributed=True)
        self.made, self.target, self.step = made, folder, step

    def write_data(self, plan: Any, planner: Any) -> Any:
        """Write the shard of this process and take its checksum."""
        with naming(self.target):
            results = super().write_data(plan, planner).wait()
            names = sorted({result.storage_data.relative_path for result in results})
            seals = {name: generations.digest(self.made / name) for name in names}
        told: torch.futures.Future[list[Any]] = torch.futures.Future()
        told.set_result([dataclasses.replace(one, storage_data=seals) for one in results])
        return told

    def finish(self, metadata: Metadata, results: list[list[Any]]) -> None:
        """Publish the generation; the first process calls this when all have written."""
        seals = {
            name: seal for one in results for result in one for name, seal in result.storage_data.items()
        }
        manifest = {"format": "efm_fast.generation", "step": self.step, "shards": dict(sorted(seals.items()))}
        write_text(self.made / generations.MANIFEST, json.dumps(manifest, indent=1) + "\n")
        publish_folder(self.made, self.target)
        generations.remove_generations(self.target.parent, but=self.step)
        with naming(self.target):
            (self.target.parent / generations.STATE).unlink(missing_ok=True)


def begin_generation(
    folder: Path, step: int, tensors: dict[str, Tensor], processes: Processes, group: dist.ProcessGroup
) -> Future[None]:
    """Copy ``tensors`` and write a generation from the copies in the background.

    Args:
        folder: the run folder.
        step: of the state.
        tensors: of this process, by name; DTensors where they are sharded.
        processes: those of the job; all of them must call this.
        group: the same processes, on the CPU; it must carry no other messages.

    Returns:
        A future that is done when the generation is published; give it to :func:`ended`.

    Raises:
        RunError: a tensor is not finite; every process raises it, and nothing is written.
    """
    target = folder / f"state-{step:08d}"
    problem = None
    try:
        refuse_infinite(target, {key: local(value) for key, value in tensors.items()}, "not written")
    except RunError as found:
        problem = found
    name = processes.agree({"name": hidden_name(target).name}, problem)[0]["name"]
    # staging copies what is on a GPU, not what is on the CPU
    copies = {
        key: value.detach().clone() if value.is_cpu else value.detach() for key, value in tensors.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes of internal buffers
        return dcp.async_save(  # type: ignore[return-value]
            copies, storage_writer=_Writer(folder / name, target, step), process_group=group
        )


def ended(future: Future[None], folder: Path) -> None:
    """Wait until a generation is published.

    Raises:
        RunError: a process could not write its shard; every process raises it. The last generation is whole.
    """
    try:
        future.result()
    except CheckpointException as problem:
        rank, (found, _) = next(iter(problem.failures.items()))
        if not isinstance(found, EfmError):
            text = " ".join(str(found).split())[:160]
            found = RunError(f"cannot write a checkpoint into {folder}: {text}")
        raise shared(RunError(f"{found} (process {rank})")) from None


def read_generation(
    path: Path, into: dict[str, Tensor] | None, group: dist.ProcessGroup | None
) -> dict[str, Tensor]:
    """The tensors of a generation.

    Args:
        path: of the generation.
        into: tensors to fill, DTensors where they are sharded; None for whole tensors of this process alone.
        group: of the processes that read together; None for this process alone.

    Raises:
        RunError: a shard is missing or damaged, or the generation holds other tensors than ``into``.
    """
    reader = dcp.HuggingFaceStorageReader(str(path))
    try:
        known = kept(path)
        if into is None:
            into = {name: torch.empty(one.size, dtype=one.properties.dtype) for name, one in known.items()}
        if set(into) != set(known):
            other = min(set(into) ^ set(known))
            raise RunError(f"{path} does not fit the network of its config.yaml: {other} is in one alone")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that no other process takes part
            dcp.load(into, storage_reader=reader, process_group=group, no_dist=group is None)
    except CheckpointException as problem:
        found = next(iter(problem.failures.values()))[0]
        text = " ".join(str(found).split())[:160]
        raise RunError(f"{path} does not fit the network of its config.yaml: {text}") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{path}: a shard cannot be read: {problem}; nothing was changed") from None
    refuse_infinite(path, {name: local(value) for name, value in into.items()}, "nothing was changed")
    return into


def kept(path: Path) -> dict[str, TensorStorageMetadata]:
    """Size and dtype of each tensor of a generation."""
    reader = dcp.HuggingFaceStorageReader(str(path))
    return reader.read_metadata().state_dict_metadata  # type: ignore[return-value]


def local(value: Tensor) -> Tensor:
    """The part of a DTensor that lies on this process; any other tensor as it is."""
    return value.to_local() if hasattr(value, "to_local") else value

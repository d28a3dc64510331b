"""The full training state as named tensors, so that a checkpoint needs no pickle and resume is exact.

Batches, points and noise are functions of (seed, step) alone; the state therefore holds the network, its
average, the optimiser and the step, and no random state.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from ..config import TrainConfig
from ..errors import RunError
from ..methods import LearnedField
from ..processes import Processes
from ..runs.checkpoint import check_state, latest, load_state, numbers, under
from ..runs.generations import STATE, prove, remove_generations
from ..runs.run import fill
from ..sealed import save_tensors
from .schedule import learning_rate_factor

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class TrainingState:
    """Everything that changes while a field is trained.

    Args:
        field: the untrained field, on its device.
        config: the optimisation's settings.
    """

    def __init__(self, field: LearnedField, config: TrainConfig) -> None:
        self.field, self.config = field, config
        self.average = AveragedModel(field, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        self.mesh: DeviceMesh | None = None
        self._shown = self.averaged_part
        self.step = 0
        self._start_optimiser()

    def _start_optimiser(self) -> None:
        config = self.config
        self.optimizer = torch.optim.AdamW(
            self.field.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config.steps, config.warmup)
        )

    def shard(self, mesh: DeviceMesh, device: torch.device) -> None:
        """Keep a part of everything on each process, before the first step or :meth:`load` (FSDP2).

        Args:
            mesh: of the processes; all have the same weights.
            device: of this process, on which its part is.
        """
        from .sharded import shard_weights  # which takes long to import

        self._shown = copy.deepcopy(self.averaged_part)
        if mesh.get_rank() == 0:
            self._shown.to(device)
        # FSDP2 watches what the network returns, which a view of something else would hide from it
        self.field.register_forward_hook(lambda _, __, found: tuple(part.clone() for part in found))
        for field in (self.field, self.averaged_part):
            shard_weights(field, mesh)
            field.to(device)
        self.mesh = mesh
        # one by one, for lists of buffers and parts of weights cannot be averaged together
        self.average.multi_avg_fn, self.average.avg_fn = None, get_ema_avg_fn(self.config.ema)
        self._start_optimiser()

    @property
    def sharded(self) -> bool:
        """Whether each process has a part of everything."""
        return self.mesh is not None

    @property
    def averaged_part(self) -> LearnedField:
        """The field with averaged weights, of which this process has a part if it is sharded."""
        return self.average.module  # type: ignore[return-value]

    @property
    def averaged_field(self) -> LearnedField:
        """The whole field with averaged weights; those of the last :meth:`gather` if it is sharded."""
        return self._shown

    def gather(self) -> None:
        """Bring the averaged field up to date, with all processes if it is sharded."""
        if self.sharded:
            whole = {name: _whole(value) for name, value in self.averaged_part.state_dict().items()}
            self._shown.load_state_dict(whole)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.config.lr * learning_rate_factor(self.step, self.config.steps, self.config.warmup)

    def update(self) -> Tensor:
        """Take one optimiser step down the gradient and average; returns the norm of the unclipped gradient."""
        norm = _whole(torch.nn.utils.clip_grad_norm_(self.field.parameters(), self.config.clip))
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.field)
        self.step += 1
        return norm

    def named(self) -> dict[str, Tensor]:
        """Every tensor by its name in a checkpoint."""
        tensors = {"step": torch.tensor(self.step), "geometry": numbers(self.field.geometry)}
        tensors |= {f"field.{k}": v for k, v in self.field.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        return tensors

    def copied(self) -> dict[str, Tensor]:
        """A copy of every tensor on the CPU, which stays as it is while training goes on."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.named().items()}

    def save(self, folder: Path) -> None:
        """Write everything into ``folder``'s state.safetensors, in one go.

        Raises:
            RunError: a weight is NaN or infinite, or the file cannot be written; the last checkpoint is whole.
        """
        write_state(folder, self.named())

    def load(self, folder: Path, processes: Processes | None = None) -> None:
        """Continue from the last checkpoint in ``folder``.

        Args:
            folder: the run folder.
            processes: who trains; None for this process alone.

        Raises:
            RunError: it is missing, damaged, or of another network or geometry.
        """
        path = latest(folder)
        if processes is not None and self.sharded and path.is_dir():
            from ..runs.shards import kept, read_generation
            from .sharded import to_fill

            prove(path, processes)
            into = to_fill(self.named(), list(self.field.parameters()), kept(path))
            tensors = read_generation(path, into, processes.group)
            check_state(path, tensors, self.field.geometry)
        else:
            tensors = load_state(folder, self.field.geometry)
            if self.sharded:
                from .sharded import own_parts

                tensors = own_parts(self.named(), list(self.field.parameters()), tensors)
        self.step = int(tensors["step"])
        fill(self.field, under("field.", tensors), path)
        try:
            self.average.load_state_dict(under("average.", tensors))
            self.optimizer.load_state_dict(self._optimizer_state(under("optimizer.", tensors)))
        except (RuntimeError, ValueError, KeyError) as problem:
            raise RunError(f"{path} does not fit the network of its config.yaml: {problem}") from None
        self.schedule.load_state_dict(self.schedule.state_dict() | {"last_epoch": self.step})
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def _optimizer_state(self, tensors: dict[str, Tensor]) -> dict[str, object]:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = copy.deepcopy(self.optimizer.state_dict()["param_groups"])
        return {"state": state, "param_groups": groups}


def write_state(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write ``tensors`` into ``folder``'s state.safetensors, in one go, in the place of every older checkpoint.

    Raises:
        RunError: one is NaN or infinite, or the file cannot be written; the last checkpoint is whole.
    """
    save_tensors(folder / STATE, "state", tensors)
    remove_generations(folder)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value

"""The full training state as named tensors, so that a checkpoint needs no pickle and resume is exact.

Batches, points and noise are functions of (seed, step) alone; the state therefore holds the network, its
average, the optimiser and the step, and no random state.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..config import TrainConfig
from ..errors import RunError
from ..methods import LearnedField
from ..runs.checkpoint import STATE, load_state, numbers, under
from ..runs.run import fill
from ..sealed import save_tensors
from .schedule import learning_rate_factor


class TrainingState:
    """Everything that changes while a field is trained.

    Args:
        field: the untrained field, on its device.
        config: the optimisation's settings.
    """

    def __init__(self, field: LearnedField, config: TrainConfig) -> None:
        self.field, self.config = field, config
        self.average = AveragedModel(field, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            field.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config.steps, config.warmup)
        )
        self.step = 0

    @property
    def averaged_field(self) -> LearnedField:
        """The field with averaged weights."""
        return self.average.module  # type: ignore[return-value]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.config.lr * learning_rate_factor(self.step, self.config.steps, self.config.warmup)

    def update(self) -> Tensor:
        """Take one optimiser step down the gradient and average; returns the norm of the unclipped gradient."""
        norm = torch.nn.utils.clip_grad_norm_(self.field.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.field)
        self.step += 1
        return norm

    def save(self, folder: Path) -> None:
        """Write everything into ``folder``'s state.safetensors, in one go.

        Raises:
            RunError: a weight is NaN or infinite, or the file cannot be written; the last checkpoint is whole.
        """
        tensors = {"step": torch.tensor(self.step), "geometry": numbers(self.field.geometry)}
        tensors |= {f"field.{k}": v for k, v in self.field.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        save_tensors(folder / STATE, "state", tensors)

    def load(self, folder: Path) -> None:
        """Continue from ``folder``'s state.safetensors.

        Raises:
            RunError: the file is missing, damaged, or of another network or geometry.
        """
        path = folder / STATE
        tensors = load_state(folder, self.field.geometry)
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

"""Training that diverges is stopped before anything of it is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from ..errors import RunError
from ..processes import Processes


class Divergence:
    """Remembers the first step whose loss or gradient is not finite.

    It remembers on the device, because a look at the numbers of each step would make the host wait for each step.

    Args:
        folder: the run folder, for the message.
        device: where the numbers are.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder = folder
        self.first = torch.full((), sys.maxsize, dtype=torch.int64, device=device)

    def see(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take note of the loss and the gradient's norm of ``step``."""
        finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        self.first = torch.where(finite, self.first, self.first.clamp(max=step))

    def refuse(self, processes: Processes, problem: RunError | None = None) -> None:
        """Wait for the steps seen so far, on all processes.

        Args:
            processes: who trains.
            problem: something else that this process has found out.

        Raises:
            RunError: one of them was not finite; the text names the first. Or the ``problem`` of a process.
        """
        step = min(one["first"] for one in processes.agree({"first": int(self.first)}, problem))
        if step < sys.maxsize:
            raise RunError(
                f"{self.folder}: the loss or its gradient is not finite at step {step}; the last checkpoint is"
                " whole. Start again with a smaller train.lr"
            )

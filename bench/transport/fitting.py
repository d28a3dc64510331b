"""Training with efm_fast's own optimiser, schedule, clipping and average, for the methods it is compared with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from efm_fast.config import TrainConfig
from efm_fast.nets.mlp import MLP
from efm_fast.training.schedule import learning_rate_factor


def fit(net: MLP, settings: TrainConfig, losses: Iterable[Tensor]) -> MLP:
    """One step for each of ``losses``, which are taken one by one, after ``net`` has changed; the averaged net."""
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=0.0, betas=(0.9, 0.99))
    for step, loss in zip(range(settings.steps), losses, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * learning_rate_factor(step, settings.steps, settings.warmup)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        optimizer.step()
        average.update_parameters(net)
    return average.module.eval()  # type: ignore[return-value]

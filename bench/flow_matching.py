"""Plain flow matching (torchcfm's ConditionalFlowMatcher) with our backbone and budget: what to compare with."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from efm_fast.config import Config
from efm_fast.data import charge_loader, make_source
from efm_fast.nets.mlp import MLP
from efm_fast.training.geometry import measure
from efm_fast.training.schedule import learning_rate_factor


def train_flow(config: Config) -> MLP:
    """Train the velocity field from plus to minus with ``config``'s backbone, batch, steps and optimiser."""
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    # time plays the part of z; "nearest" this large makes the height features smooth in it
    geometry = dataclasses.replace(measure(config, plus, minus), L=1.0, nearest=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _fit(config, MLP(geometry, 1, width=config.net.width, depth=config.net.depth), plus, minus)


def _fit(config: Config, net: MLP, plus: object, minus: object) -> MLP:
    # here, so that the other rows run where this package is missing
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    settings = config.train
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=0.0, betas=(0.9, 0.99))
    matcher = ConditionalFlowMatcher(sigma=0.0)
    loaders = [
        charge_loader(source, settings.batch, seed=config.seed, stream=stream)  # type: ignore[arg-type]
        for stream, source in enumerate((plus, minus))
    ]
    for step, x0, x1 in zip(range(settings.steps), *loaders, strict=False):
        t, x, velocity = matcher.sample_location_and_conditional_flow(x0, x1)
        loss = (net(x, t)[0][:, 0] - velocity).square().mean()
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * learning_rate_factor(step, settings.steps, settings.warmup)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        optimizer.step()
        average.update_parameters(net)
    return average.module.eval()  # type: ignore[return-value]


@torch.no_grad()
def follow_flow(net: MLP, x: Tensor, steps: int) -> Tensor:
    """Carry x from t = 0 to t = 1 by ``steps`` Euler steps, one evaluation each."""
    for k in range(steps):
        x = x + net(x, x.new_full((len(x),), k / steps))[0][:, 0] / steps
    return x

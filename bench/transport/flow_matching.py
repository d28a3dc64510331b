"""Plain flow matching (torchcfm's ConditionalFlowMatcher) with our backbone and budget: what to compare with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.transport.fitting import fit
from efm_fast.config import Config
from efm_fast.data import Source, charge_loader, make_source
from efm_fast.nets.mlp import MLP
from efm_fast.runs.measure import measure


def train_flow(config: Config) -> MLP:
    """Train the velocity field from plus to minus with ``config``'s backbone, batch, steps and optimiser."""
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    # time plays the part of z; "nearest" this large makes the height features smooth in it
    geometry = dataclasses.replace(measure(config, plus, minus), L=1.0, nearest=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = MLP(geometry, 1, width=config.net.width, depth=config.net.depth)
        return fit(net, config.train, _losses(config, net, plus, minus))


def _losses(config: Config, net: MLP, plus: Source, minus: Source) -> Iterator[Tensor]:
    # here, so that the other rows run where this package is missing
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher = ConditionalFlowMatcher(sigma=0.0)
    loaders = [
        charge_loader(source, config.train.batch, seed=config.seed, stream=stream)
        for stream, source in enumerate((plus, minus))
    ]
    for x0, x1 in zip(*loaders, strict=False):
        t, x, velocity = matcher.sample_location_and_conditional_flow(x0, x1)
        yield (net(x, t)[0][:, 0] - velocity).square().mean()


@torch.no_grad()
def follow_flow(net: MLP, x: Tensor, steps: int) -> Tensor:
    """Carry x from t = 0 to t = 1 by ``steps`` Euler steps, one evaluation each."""
    for k in range(steps):
        x = x + net(x, x.new_full((len(x),), k / steps))[0][:, 0] / steps
    return x

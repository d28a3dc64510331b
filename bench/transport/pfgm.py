"""PFGM (Xu et al. 2022, Poisson Flow Generative Models) with our backbone and budget: what to compare with.

Written from the paper: data are charges on z = 0, perturbed far out (algorithm 2), and the network learns the
normalised empirical field of a large batch (algorithm 1). Samples start where field lines cross z = z_max if the
charges are seen from afar, and follow the lines down to z_min by an ODE in log z (section 3.3), with the height's part
of the field taken from the learned lateral part at small z (appendix B.2.3). It generates from its own prior; it has no
second data set to start from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.integrate import solve_ivp
from torch import Generator, Tensor

from bench.transport.fitting import fit
from efm_fast import riesz_sum
from efm_fast.config import Config
from efm_fast.data import Source, charge_loader, make_source, step_generator
from efm_fast.nets.mlp import MLP
from efm_fast.runs.measure import measure

# The paper's numbers for images in [-1, 1], whose features have a root mean square of about a half; lengths below are
# in units of twice that of the data at hand.
SIGMA, TAU, LARGEST_POWER = 0.01, 0.03, 291.0
Z_MAX, Z_MIN, Z_SUBSTITUTED, FARTHEST = 40.0, 1e-3, 1.0, 3000.0 / math.sqrt(3072)
GAMMA = 5.0 / math.sqrt(3072)  # times sqrt(D)
_TOLERANCE = 1e-4  # of the paper's Runge-Kutta solver
_POINTS, _STARTS = 800, 801  # streams of randomness, apart from training's


@dataclass(frozen=True)
class PFGM:
    """A trained network and the lengths it was trained in.

    Attributes:
        net: maps (x [N, D], z [N]) to the negative normalised field, [N, 1, D] and [N].
        centre: mean of the data, [D].
        unit: twice the root mean square of a centred feature, data units.
    """

    net: MLP
    centre: Tensor
    unit: float

    def prior(self, n: int, seed: int) -> Tensor:
        """Where lines from afar cross z = z_max: the sphere's uniform distribution, projected and cut; [n, D]."""
        generator, d = step_generator(seed, 0, _STARTS), len(self.centre)
        gauss = torch.randn(n, d + 1, generator=generator, dtype=torch.float64)
        offset = Z_MAX * gauss[:, 1:] / gauss[:, :1].abs()
        size = offset.norm(dim=1, keepdim=True)
        offset = offset * (FARTHEST * math.sqrt(d) / size).clamp_max(1.0)
        return self.centre + self.unit * offset.float()

    @torch.no_grad()
    def rate(self, x: Tensor, z: float) -> Tensor:
        """dx / d log z, [N, D], data units, at x [N, D] and height z in units of ``unit``."""
        features, height = self.net(x, x.new_full((len(x),), z * self.unit, dtype=torch.float64))
        lateral, root = features[:, 0], math.sqrt(x.shape[1])
        if z < Z_SUBSTITUTED:
            gamma = GAMMA * root
            share = (lateral.norm(dim=1) / root).clamp_max(1.0 - 1e-6)
            height = -root * z / (torch.hypot(gamma * share / (1.0 - share), torch.tensor(z)) + gamma)
        return z * self.unit * lateral / height.clamp_max(-1e-5)[:, None]

    def follow(self, x: Tensor, steps: int | None = None) -> tuple[Tensor, int]:
        """Ends of the lines from ``x`` on z = z_max, [N, D], and evaluations per sample.

        Args:
            x: starts, from :meth:`prior`.
            steps: Euler steps in log z; None takes the paper's adaptive Runge-Kutta pair over the whole batch.
        """
        high, low = math.log(Z_MAX), math.log(Z_MIN)
        if steps is not None:
            dt = (low - high) / steps
            for k in range(steps):
                x = x + dt * self.rate(x, math.exp(high + k * dt))
            return x, steps

        def slope(t: float, flat: object) -> object:
            return self.rate(torch.as_tensor(flat).float().view(shape), math.exp(t)).flatten().numpy()

        shape = x.shape
        solved = solve_ivp(
            slope, (high, low), x.flatten().numpy(), method="RK45", rtol=_TOLERANCE, atol=_TOLERANCE
        )
        return torch.from_numpy(solved.y[:, -1]).float().view(shape), int(solved.nfev)


def perturbed(x: Tensor, unit: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Points around data x [N, D], and their heights [N], data units (algorithm 2)."""
    noise = SIGMA * torch.randn(len(x), x.shape[1] + 1, generator=generator, dtype=torch.float64)
    growth = (1.0 + TAU) ** (LARGEST_POWER * torch.rand(len(x), generator=generator, dtype=torch.float64))
    way = torch.nn.functional.normalize(torch.randn(x.shape, generator=generator, dtype=torch.float64))
    lateral = noise[:, :-1].norm(dim=1) * growth
    return (x + unit * lateral[:, None] * way).float(), unit * noise[:, -1].abs() * growth


def normalised_field(x: Tensor, z: Tensor, charges: Tensor, unit: float) -> Tensor:
    """-sqrt(D) E / (|E| + gamma), [N, D + 1], of ``charges`` on z = 0, E scaled to sum |x~ - y~|^-n = 1."""
    d = x.shape[1]
    total = riesz_sum(x, charges, power=d + 1.0, height=z)
    field = torch.cat([total.v / total.w[:, None], z.to(x.dtype)[:, None]], 1) / unit
    return -math.sqrt(d) * field / (field.norm(dim=1, keepdim=True) + GAMMA * math.sqrt(d))


def train_pfgm(config: Config) -> PFGM:
    """Learn the field of ``config``'s minus data with its backbone, batch, charges, steps and optimiser."""
    minus = make_source(config.minus, seed=config.seed)
    geometry = measure(config, minus, minus)
    unit = 2.0 * geometry.scale
    geometry = dataclasses.replace(geometry, L=Z_MAX * unit, nearest=Z_MIN * unit)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = MLP(geometry, 1, width=config.net.width, depth=config.net.depth)
    net = fit(net, config.train, _losses(config, net, minus, unit))
    return PFGM(net, torch.tensor(geometry.centre), unit)


def _losses(config: Config, net: MLP, source: Source, unit: float) -> Iterator[Tensor]:
    charges = max(config.method.points.charges, config.train.batch)
    for step, rows in enumerate(charge_loader(source, charges, seed=config.seed)):
        x, z = perturbed(rows[: config.train.batch], unit, step_generator(config.seed, step, _POINTS))
        features, height = net(x, z)
        target = normalised_field(x, z, rows, unit)
        yield (torch.cat([features[:, 0], height[:, None]], 1) - target).square().mean()

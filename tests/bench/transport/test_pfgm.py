"""PFGM as published: its target, its perturbations and its sampler, held against one charge."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from bench.transport import pfgm
from efm_fast.config import Config
from efm_fast.nets.mlp import MLP

CHARGE = torch.tensor([[0.7, -0.4, 0.1]])
UNIT = 1.5


def one_charge(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """What a perfect network would give for one charge."""
    field = pfgm.normalised_field(x, z, CHARGE, UNIT)
    return field[:, None, :-1], field[:, -1]


def test_the_target_is_the_normalised_field() -> None:
    generator = torch.Generator().manual_seed(0)
    charges = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    x, z = charges[:8] + 0.3, torch.rand(8, generator=generator, dtype=torch.float64) + 0.1
    difference = torch.cat([x[:, None] - charges[None], z[:, None, None].expand(-1, 50, 1)], 2)
    weight = difference.norm(dim=2) ** -4
    field = (weight[..., None] * difference).sum(1) / weight.sum(1)[:, None] / UNIT
    gamma = pfgm.GAMMA * math.sqrt(3)
    wanted = -math.sqrt(3) * field / (field.norm(dim=1, keepdim=True) + gamma)
    got = pfgm.normalised_field(x, z, charges, UNIT)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_perturbations_reach_from_the_data_to_beyond_z_max() -> None:
    x, z = pfgm.perturbed(torch.zeros(20_000, 3), UNIT, torch.Generator().manual_seed(0))
    assert bool((z >= 0).all())
    assert float(z.quantile(0.02)) < 0.01 * UNIT
    assert float(z.max()) > pfgm.Z_MAX * UNIT
    # any growth cancels in the ratio of two parts of one Gaussian vector: its median is tan of the median angle
    ratio = (x.norm(dim=1) / z).median()
    gauss = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(1))
    assert float(ratio) == pytest.approx(
        float((gauss[:, :3].norm(dim=1) / gauss[:, 3].abs()).median()), rel=0.05
    )


def test_starts_are_the_projected_sphere() -> None:
    model = pfgm.PFGM(cast(MLP, one_charge), torch.zeros(2), UNIT)
    ratio = model.prior(50_000, seed=0).norm(dim=1) / (pfgm.Z_MAX * UNIT)
    # the flux of a far charge inside the ratio t is 1 - (1 + t^2)^-1/2
    for t in (0.5, 1.0, math.sqrt(3)):
        inside = float((ratio <= t).double().mean())
        assert inside == pytest.approx(1 - (1 + t * t) ** -0.5, abs=0.01)
    # and the paper cuts off the farthest
    assert float(ratio.max()) == pytest.approx(pfgm.FARTHEST * math.sqrt(2) / pfgm.Z_MAX)


@pytest.mark.parametrize(("steps", "within"), [(None, 0.01), (200, 0.05)])
def test_lines_of_one_charge_end_at_it(steps: int | None, within: float) -> None:
    model = pfgm.PFGM(cast(MLP, one_charge), CHARGE[0], UNIT)
    ends, evaluations = model.follow(model.prior(64, seed=0), steps)
    assert evaluations == steps if steps else evaluations > 20
    distance = (ends - CHARGE).norm(dim=1)
    assert float(distance.median()) < within


def test_training_is_a_function_of_the_seed() -> None:
    settings = {"train.steps": 3, "train.batch": 8, "method.points.charges": 16, "net.width": 8}
    x, z = torch.randn(5, 2), torch.rand(5)
    nets = [
        pfgm.train_pfgm(Config.load("gaussian_to_swissroll", {**settings, "seed": s})).net for s in (0, 0, 1)
    ]
    with torch.no_grad():
        outputs = [net(x, z)[0] for net in nets]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])

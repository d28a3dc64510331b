"""PFGM as published: its target, its perturbations and its sampler, held against one charge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import Support
from efm_fast.methods import Problem, Travel
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.pfgm import _FARTHEST, _GAMMA, PFGM, PFGMPoints, PFGMSettings
from efm_fast.types import Geometry, Plates

CHARGE = torch.tensor([[0.7, -0.4, 0.1]])
UNIT = 1.5


def method(charge: Tensor = CHARGE, solver: str = "rk45") -> PFGM:
    settings = PFGMSettings(name="pfgm", sample={"solver": solver})
    L, nearest = settings.lengths(1.0, UNIT / 2)
    d = charge.shape[1]
    centre = tuple(charge[0].tolist())
    geometry = Geometry(L, 1.0, nearest, (d,), centre, radius=1.0, scale=UNIT / 2, low=-1.0, high=1.0)
    source = make_source({"name": "gaussian", "dimension": d})
    return PFGM(settings, Problem(geometry, source, source, 0))


class OneCharge(nn.Module):
    """What a perfect network would give for one charge."""

    def __init__(self, pfgm: PFGM) -> None:
        super().__init__()
        self.pfgm = pfgm

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        field = self.pfgm.parametrisation.target(PFGMPoints(x, z, CHARGE))
        return field[:, None, :-1], field[:, -1]


def test_the_target_is_the_normalised_field() -> None:
    pfgm = method()
    generator = torch.Generator().manual_seed(0)
    charges = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    x, height = charges[:8] + 0.3, torch.rand(8, generator=generator, dtype=torch.float64) + 0.1
    difference = torch.cat([x[:, None] - charges[None], height[:, None, None].expand(-1, 50, 1)], 2)
    weight = difference.norm(dim=2) ** -4
    field = (weight[..., None] * difference).sum(1) / weight.sum(1)[:, None] / UNIT
    wanted = -math.sqrt(3) * field / (field.norm(dim=1, keepdim=True) + _GAMMA * math.sqrt(3))
    got = pfgm.parametrisation.target(PFGMPoints(x, pfgm.problem.geometry.L - height, charges))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_perturbations_reach_from_the_data_to_beyond_z_max() -> None:
    pfgm = method()
    plates = Plates(torch.zeros(1, 3), torch.zeros(20_000, 3), pfgm.problem.geometry.L)
    points = pfgm.points(plates, 20_000, torch.Generator().manual_seed(0), 0)
    height = plates.L - points.z
    assert bool((height >= 0).all())
    assert float(height.quantile(0.02)) < 0.01 * UNIT
    assert float(height.max()) > pfgm.settings.z_max * UNIT
    # any growth cancels in the ratio of two parts of one Gaussian vector: its median is tan of the median angle
    ratio = (points.x.norm(dim=1) / height).median()
    gauss = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(1))
    assert float(ratio) == pytest.approx(
        float((gauss[:, :3].norm(dim=1) / gauss[:, 3].abs()).median()), rel=0.05
    )


def test_starts_are_the_projected_sphere() -> None:
    pfgm = method(torch.zeros(1, 2))
    ratio = pfgm.start(50_000, torch.Generator().manual_seed(0)).norm(dim=1) / (pfgm.settings.z_max * UNIT)
    # the flux of a far charge inside the ratio t is 1 - (1 + t^2)^-1/2
    for t in (0.5, 1.0, math.sqrt(3)):
        inside = float((ratio <= t).double().mean())
        assert inside == pytest.approx(1 - (1 + t * t) ** -0.5, abs=0.01)
    # and the paper cuts off the farthest
    assert float(ratio.max()) == pytest.approx(_FARTHEST * math.sqrt(2) / pfgm.settings.z_max)


@pytest.mark.parametrize(("steps", "within"), [(None, 0.01), (200, 0.05)])
def test_lines_of_one_charge_end_at_it_and_lead_back(steps: int | None, within: float) -> None:
    pfgm = method()
    field = LearnedField(OneCharge(pfgm), pfgm.parametrisation, pfgm.problem.geometry)
    support = Support.of(CHARGE.expand(2, -1), CHARGE.expand(2, -1))
    x0 = pfgm.start(64, torch.Generator().manual_seed(0))
    x0[3] = math.nan
    lines = pfgm.sample(field, x0, support, Travel(steps=steps, return_paths=True))
    assert lines.arrived.tolist() == [k != 3 for k in range(64)]
    count = int(lines.evaluations[0])
    assert count == steps if steps else count > 20
    assert float((lines.end - CHARGE).norm(dim=1).nanmedian()) < within
    assert lines.paths is not None
    assert torch.equal(lines.paths[0, :, :-1].nan_to_num(), x0.nan_to_num())
    assert lines.paths[0, 0, -1] == pytest.approx(0.0, abs=1e-4)
    assert lines.end_z[0] == pytest.approx(pfgm.problem.geometry.L)
    # from beside the charge outwards: the height's part of the field is substituted near the data, so roughly
    near = CHARGE + 1e-2 * torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    back = pfgm.sample(field, near, support, Travel(steps=steps, reverse=True))
    assert bool(back.arrived.all())
    assert bool(((back.end - CHARGE).norm(dim=1) > UNIT).all())


def test_pfgm_has_a_prior_and_takes_steps_alone() -> None:
    pfgm = method()
    field = LearnedField(OneCharge(pfgm), pfgm.parametrisation, pfgm.problem.geometry)
    support = Support.of(CHARGE.expand(2, -1), CHARGE.expand(2, -1))
    with pytest.raises(InputError, match=r"^max_steps: the lines map takes steps, got max_steps=3"):
        pfgm.sample(field, CHARGE, support, Travel(max_steps=3))


@pytest.mark.parametrize("solver", ["exponential", "multistep"])
def test_exponential_steps_come_from_far_to_the_one_charge(solver: str) -> None:
    """The mean of one charge is the charge: steps of any length are exact but for gamma and the substituted height."""
    pfgm = method(solver=solver)
    field = LearnedField(OneCharge(pfgm), pfgm.parametrisation, pfgm.problem.geometry)
    support = Support.of(CHARGE.expand(2, -1), CHARGE.expand(2, -1))
    x0 = pfgm.start(64, torch.Generator().manual_seed(0))
    lines = pfgm.sample(field, x0, support, Travel(steps=30))
    assert lines.evaluations.tolist() == [30] * 64
    assert lines.end_z.tolist() == pytest.approx([pfgm.problem.geometry.L] * 64)
    assert float((lines.end - CHARGE).norm(dim=1).median()) < 0.02
    back = pfgm.sample(field, lines.end, support, Travel(steps=30, reverse=True))
    assert back.end_z.tolist() == [0.0] * 64
    assert bool((back.end - CHARGE).norm(dim=1).median() > UNIT)

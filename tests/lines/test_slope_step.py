"""Fused updates against the formula in float64, and the forward map that is made of them."""

from __future__ import annotations

import pytest
import torch

from efm_fast import native
from efm_fast.lines.integrate.slope_step import means_step, slope_step
from efm_fast.types import PlatePosterior

from .conftest import gaussian

L, STEEPEST, SCALE = 2.0, 30.0, 0.17
SHAPES = [(1, 1), (3, 2), (17, 33), (5, 3072), (70, 2048), (0, 4)]


def wanted(base: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    lateral, axial = direction[:, :-1].double(), direction[:, -1].double()
    floor = lateral.norm(dim=1) / STEEPEST
    return base.double() + SCALE * lateral / torch.maximum(axial, floor).clamp_min(1e-38)[:, None]


def posterior(n: int, d: int) -> PlatePosterior:
    share = torch.rand(n, generator=torch.Generator().manual_seed(1))
    return PlatePosterior(share, gaussian(n, 2, d), gaussian(n, 3, d))


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_direct_update(n, d):
    base, direction = gaussian(n, 0, d), gaussian(n, 1, d + 1)
    direction[: n // 2, -1].abs_().add_(0.1)
    new = slope_step(base, direction, SCALE, STEEPEST)
    assert torch.allclose(new.double(), wanted(base, direction), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("z", [0.01, 1.2, 1.99])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_update_from_plate_means(n, d, z):
    base, at, means = gaussian(n, 0, d), gaussian(n, 1, d), posterior(n, d)
    direction = means.moment(at, torch.full((n,), z), L)
    new = means_step(base, at, z, means, L, SCALE, STEEPEST)
    assert torch.allclose(new.double(), wanted(base, direction), rtol=1e-4, atol=1e-4)


def test_extension_and_torch_agree(monkeypatch):
    base, direction = gaussian(9, 0, 50), gaussian(9, 1, 51)
    with_extension = slope_step(base, direction, SCALE, STEEPEST)
    monkeypatch.setattr(native, "why_missing", lambda: "left out here")
    assert torch.allclose(with_extension, slope_step(base, direction, SCALE, STEEPEST), rtol=1e-5, atol=1e-6)


def test_strided_samples_and_a_vanishing_field():
    base = gaussian(8, 0, 6)[:, ::2]
    direction = torch.zeros(8, 4)
    assert torch.equal(slope_step(base, direction, SCALE, STEEPEST), base)
    direction[0] = torch.nan
    new = slope_step(base, direction, SCALE, STEEPEST)
    assert new[0].isnan().all()
    assert torch.equal(new[1:], base[1:])


def test_float64_is_kept():
    base, direction = gaussian(4, 0, 3).double(), gaussian(4, 1, 4).double()
    new = slope_step(base, direction, SCALE, STEEPEST)
    assert new.dtype == torch.float64
    assert torch.allclose(new, wanted(base, direction), rtol=1e-12)

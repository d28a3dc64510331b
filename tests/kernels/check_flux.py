"""Points where a charge's flux crosses a height, far beyond the charges: both plates' fields nearly cancel there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from kernel_cases import DEVICE
from torch import Tensor

import efm_fast
from efm_fast.field import backends

#: Heights above a charge's plate, in units of the distance between the plates.
HEIGHTS = (1e-3, 0.03, 0.3, 1.0, 3.0, 10.0)


def flux_points(n: int, m: int, d: int, shift: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """n points per height, as x [N, d], z [N] and their height in units of L; charges of both plates; L.

    x = y + h g / |g0| with y any charge and g, g0 normal, |g0| >= .05; every other |g0| is close to that, where the
    fields cancel most. ``shift`` moves everything away from the origin.
    """
    generator = torch.Generator().manual_seed(d + m)
    plates = torch.randn(2, m, d, generator=generator) + shift
    L = math.sqrt(2.0 * d)
    height = torch.tensor(HEIGHTS, dtype=torch.float64).repeat_interleave(n)
    count = len(height)
    g0 = torch.randn(count, generator=generator, dtype=torch.float64).abs().clamp_min(0.05)
    g0[::2] = 0.05 + 0.05 * g0[::2]
    plate = torch.randint(0, 2, (count,), generator=generator)
    y = plates[plate, torch.randint(0, m, (count,), generator=generator)].double()
    g = torch.randn(count, d, generator=generator, dtype=torch.float64)
    side = 2 * torch.randint(0, 2, (count,), generator=generator) - 1
    x = y + (L * height / g0)[:, None] * g
    return x.float(), L * (plate + side * height), height, *plates, L


@pytest.mark.parametrize(
    ("d", "n", "m", "shift"),
    [
        (2, 40, 64, 0.0), (2, 10, 6000, 3.0), (16, 20, 64, 0.0), (16, 10, 600, 0.0), (17, 2, 200, 0.0),
        (64, 4, 64, 0.0), (64, 2, 400, 3.0), (192, 2, 200, 0.0), (784, 2, 200, 0.0), (3072, 2, 100, 0.3),
    ],
)  # fmt: skip
def test_direction_where_the_plates_cancel(
    d: int, n: int, m: int, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the interpreter runs on the CPU, which the table keeps from this backend
    table = tuple(
        replace(row, device_type=None) for row in backends.TABLE if row.name in ("triton", "reference")
    )
    monkeypatch.setattr(backends, "TABLE", table)
    x, z, height, plus, minus, L = flux_points(n, m, d, shift)
    got = efm_fast.capacitor_field(*(t.to(DEVICE) for t in (x, z, plus, minus)), L, backend="triton")
    want = efm_fast.capacitor_field(x, z, plus, minus, L, backend="reference")
    off = torch.linalg.vector_norm(got.direction.cpu().double() - want.direction, dim=1)
    for limit, tolerance in ((1.0, 1e-4), (10.0, 1e-3)):
        worst = off[height <= limit].max().item()
        assert worst <= tolerance, f"direction off by {worst:.1e} at heights up to {limit} L"

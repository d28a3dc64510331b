"""Every regime under a machine's rounding (see :mod:`machine`), at the points where accuracy is hard to keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from check_flux import flux_points
from kernel_cases import DEVICE, INTERPRET, kernel_sum, true_sum
from machine import make_rough, matrix_product

import efm_fast
from efm_fast.field import backends
from efm_fast.field.queries import query_set

pytestmark = pytest.mark.skipif(not INTERPRET, reason="a machine rounds by itself")


@pytest.fixture(autouse=True)
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter rounds as a machine does, and serves tensors on the CPU."""
    make_rough(monkeypatch)
    table = tuple(
        replace(row, device_type=None) for row in backends.TABLE if row.name in ("triton", "reference")
    )
    monkeypatch.setattr(backends, "TABLE", table)


def test_a_matrix_instruction_cuts_off() -> None:
    a, b = np.ones((1, 32), np.float32), np.full((32, 1), 1.5, np.float32)
    none, large = np.zeros((1, 1), np.float32), np.full((1, 1), 2.0**24, np.float32)
    assert matrix_product(a, b, none) == 48.0
    # beside 2^24 whole numbers stay: of each 1.5 there is 1
    assert matrix_product(a, b, large) == 2.0**24 + 32
    a[:, 1:] = 0.0
    # and of a sum even ones, towards zero
    assert matrix_product(a, b, large) == 2.0**24
    assert matrix_product(a, b, -large) == 1 - 2.0**24


@pytest.mark.parametrize(
    ("d", "kind"),
    [(2, "tie"), (16, "plate_tie"), (64, "tie"), (64, "twin"), (192, "plate_tie"), (3072, "tie"), (3072, "twin"),
     (3072, "plate_tie"), (12288, "tie")],
)  # fmt: skip
def test_direction_where_charges_balance(d: int, kind: str) -> None:
    q = query_set(kind, 4, 64, d)
    given = (q.x, q.z, q.plus, q.minus)
    got = efm_fast.capacitor_field(*(t.to(DEVICE) for t in given), q.L, backend="triton")
    want = efm_fast.capacitor_field(*given, q.L, backend="reference")
    worst = torch.linalg.vector_norm(got.direction.cpu().double() - want.direction, dim=1).max().item()
    assert worst <= (1e-4 if d <= 3072 else 2e-4), f"direction off by {worst:.1e}"


@pytest.mark.parametrize(
    ("d", "n", "m"),
    [(2, 20, 300), (16, 6, 200), (64, 2, 200), (64, 1, 1100), (192, 2, 100), (3072, 1, 100), (12288, 1, 70)],
)
def test_direction_where_the_plates_cancel(d: int, n: int, m: int) -> None:
    x, z, height, plus, minus, L = flux_points(n, m, d, 0.0)
    got = efm_fast.capacitor_field(x, z, plus, minus, L, backend="triton")
    want = efm_fast.capacitor_field(x, z, plus, minus, L, backend="reference")
    off = torch.linalg.vector_norm(got.direction.double() - want.direction, dim=1)
    for limit, tolerance in ((1.0, 1e-4 if d <= 3072 else 2e-4), (10.0, 1e-3)):
        worst = off[height <= limit].max().item()
        assert worst <= tolerance, f"direction off by {worst:.1e} at heights up to {limit} L"


@pytest.mark.parametrize("d", [200, 784, 3072])
def test_log_norm_in_a_cluster_far_from_the_centre(d: int) -> None:
    """There every product adds to the distance with the same sign, and what is cut off adds up."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randn(d, generator=generator)
    y = 0.1 * torch.randn(400, d, generator=generator) + side * (2 * (torch.arange(400) % 2) - 1)[:, None]
    x = side + 0.1 * torch.randn(4, d, generator=generator)
    arguments = {"power": d + 1.0, "height": torch.full((4,), 0.022 * d)}
    got, want = kernel_sum(x, y, **arguments), true_sum(x, y, **arguments)
    off = (got.log_weight() - want.log_weight()).abs().max().item()
    assert math.isfinite(off)
    assert off <= 1e-3, f"log weight off by {off:.1e}"

"""Splits of the fused pass start from a sample of the charges: fewer pairs are marked, and the sums stay right."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kernel_cases import DEVICE, assert_close, kernel_sum, kernels, true_sum
from torch import Tensor

group: Any = importlib.import_module(f"{kernels.__name__}.group")
plan: Any = importlib.import_module(f"{kernels.__name__}.plan")
M = 2048  # the least with which the sample has more than one tile


def halfway(n: int, d: int, *, uint8: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Points halfway along field lines, where hundreds of charges count and none is heavy; charges; heights."""
    generator = torch.Generator().manual_seed(d)
    y = torch.randn(M, d, generator=generator)
    away = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    distance = (2.0 * d) ** 0.5
    x = y[torch.randint(M, (n,), generator=generator)] + 0.45 * (d + 1.0) ** 0.5 * distance * away
    height = torch.full((n,), 0.5 * distance)
    if uint8:
        x, height, y = 128.0 + 32.0 * x, 32.0 * height, (128.0 + 32.0 * y).clamp(0.0, 255.0).to(torch.uint8)
    return x.to(DEVICE), y.to(DEVICE), height.to(DEVICE)


def test_fewer_pairs_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def rescoring(self: Any, marks: Tensor, first: int, n: int) -> Callable[..., None]:
        def counted(y: Tensor, q: Tensor | None) -> None:
            bits = marks[:n].cpu()
            counts.append(sum(int(((bits >> place) & 1).sum()) for place in range(32)))

        return counted

    monkeypatch.setattr(group.Group, "rescoring", rescoring)
    x, y, height = halfway(8, 64)
    for size in (plan.SEED, 0):
        monkeypatch.setattr(plan, "SEED", size)
        kernel_sum(x, y, power=65.0, height=height)
    seeded, plain = counts
    assert 2 * seeded < plain, f"{seeded} pairs marked, {plain} without the sample"


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("where", ["halfway", "on the sample"])
def test_sums_of_weighted_charges_without_the_point_itself(where: str, uint8: bool) -> None:
    x, y, height = halfway(2, 40, uint8=uint8)
    if where == "on the sample":  # every 16th charge is in it
        x, height = y[::16][:2].float() + 1e-3, height * 1e-3
    weight = torch.linspace(0.5, 3.0, M, device=DEVICE)
    weight[::32] = 0.0
    arguments = {"power": 41.0, "height": height, "weight": weight, "first_self": -32}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5, log=1e-3)


def test_a_sample_without_charge_says_nothing() -> None:
    x, y, height = halfway(2, 40)
    weight = torch.zeros(M, device=DEVICE)
    weight[7::16] = 1.0
    arguments = {"power": 41.0, "height": height, "weight": weight}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-6, log=1e-4)
    weight.zero_()
    assert (kernel_sum(x, y, **arguments).m == -torch.inf).all()

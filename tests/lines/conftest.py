from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from efm_fast.types import Plates


def gaussian(n: int, seed: int, d: int = 2) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def swiss_roll(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    roll = 0.2 * t[:, None] * torch.stack([t.cos(), t.sin()], 1)
    return roll + 0.1 * torch.randn(n, 2, generator=generator)


@pytest.fixture(scope="session")
def plates() -> Plates:
    return Plates(gaussian(256, 0), swiss_roll(256, 1), 6.0)


class Uniform:
    """A field along z alone, everywhere: lines are straight, and no plate changes its sign."""

    L = 2.0

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), torch.full_like(z, 3.0)[:, None]], 1)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        return None


class OneCharge:
    """Every line ends on the one charge at ``target``; a field that knows where its lines arrive."""

    L = 1.0

    def __init__(self, target: Tensor) -> None:
        self.target = target

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([self.target - x, (self.L - z)[:, None]], 1)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        return self.target.expand_as(x)


@pytest.fixture
def uniform_field() -> Uniform:
    return Uniform()

"""The bank of points on exact lines, from sources that repeat themselves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from efm_fast.methods import line_bank
from efm_fast.methods.line_bank import LineBank
from efm_fast.types import Plates


@dataclass
class Repeated:
    """Rows of a finite set, drawn with replacement."""

    rows: Tensor

    def draw(self, n: int, generator: Generator) -> Tensor:
        return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]


def made(charges: int) -> LineBank:
    generator = torch.Generator().manual_seed(0)
    plus, minus = (Repeated(torch.randn(8, 2, generator=generator) + far) for far in (0.0, 1.0))
    return LineBank(plus, minus, 2.0, charges=charges, refresh=10, seed=0, clearance=1e-3)  # type: ignore[arg-type]


def test_lines_of_repeated_charges_arrive() -> None:
    bank = made(64)
    here = torch.zeros(1, 2)
    points = bank(Plates(here, here, 2.0), 200, torch.Generator().manual_seed(1))
    assert torch.isfinite(points.x).all()
    assert len(bank.points) > 64 * 5  # of nearly all lines


def test_a_line_leaves_every_charge_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones where there are more charges than lines, and each as often as it was drawn."""
    monkeypatch.setattr(line_bank, "_PATH_ELEMENTS", 3 * 40)
    launched = []

    def watched(charges: Tensor, index: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        launched.append(charges[index])
        return launch(charges, index, seed=seed)

    launch = line_bank.launch
    monkeypatch.setattr(line_bank, "launch", watched)
    bank = made(64)
    here = torch.zeros(1, 2)
    bank(Plates(here, here, 2.0), 10, torch.Generator().manual_seed(1))
    assert bank.plates is not None
    assert sorted(launched[0].tolist()) == sorted(bank.plates.plus[:40].tolist())

"""Inter-plate points on exact field lines, from a bank that is renewed while training goes on."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..data import Source
from ..field import riesz_sum
from ..lines import launch, trace_lines
from ..streams import Stream, step_generator
from ..types import Plates
from .interplate import InterplatePoints

_PATH_ELEMENTS = 1 << 16  # bounds the lines of a bank at large D, where one path is long and wide


class LineBank:
    """Points along exact lines of a bank's own charges; an inter-plate strategy.

    Such points are where lines go, outside the plates too, which a full map needs. Their target is the field of
    the bank's charges. A bank is a function of (seed, step // refresh) alone, so a resumed run has the same one.

    Args:
        plus: source of the positive charges.
        minus: source of the negative charges.
        L: distance between the plates, data units.
        charges: charges per plate; a line is launched from each of them as far as memory allows.
        refresh: steps between fresh banks.
        seed: of the charges and the launches.
        clearance: points closer to a charge than this, data units, are left out: close to a charge the field is
            a spike that no network should chase.
    """

    def __init__(
        self,
        plus: Source,
        minus: Source,
        L: float,
        *,
        charges: int,
        refresh: int,
        seed: int,
        clearance: float,
    ) -> None:
        self.plus, self.minus, self.L = plus, minus, L
        self.charges, self.refresh, self.seed, self.clearance = charges, refresh, seed, clearance
        self.edition = -1
        self.plates: Plates | None = None
        self.points = torch.empty(0)

    def __call__(self, plates: Plates, n: int, generator: Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` points of the bank; ``plates`` only says where and how to compute."""
        if step // self.refresh != self.edition:
            self._renew(step // self.refresh, plates.plus)
        assert self.plates is not None
        row = torch.randint(len(self.points), (n,), generator=generator, device=self.points.device)
        chosen = self.points[row]
        return InterplatePoints(chosen[:, :-1], chosen[:, -1].double(), self.plates, generated=False)

    def _renew(self, edition: int, like: Tensor) -> None:
        rows = [
            source.draw(self.charges, step_generator(self.seed, edition, stream)).to(like)
            for source, stream in ((self.plus, Stream.BANK_PLUS), (self.minus, Stream.BANK_MINUS))
        ]
        self.plates = Plates(rows[0], rows[1], self.L)
        self.points = self._trace(self.plates, edition)
        self.edition = edition

    def _trace(self, plates: Plates, edition: int) -> Tensor:
        """Points spread evenly over the steps of the bank's lines, [K, D+1]."""
        dimension = plates.plus.shape[1]
        count = min(self.charges, max(32, _PATH_ELEMENTS // (dimension + 1)))
        seed = step_generator(self.seed, edition, Stream.BANK_LAUNCH).initial_seed() % 2**31
        # in the order of their features, as runs of version 0.1 launched them
        _, place = torch.unique(plates.plus[:count], dim=0, return_inverse=True)
        x, z = launch(plates.plus, place.argsort(stable=True), seed=seed)
        lines = trace_lines(x, z, plates.plus, plates.minus, self.L, return_paths=True)
        assert lines.paths is not None
        before, after = lines.paths[:-1], lines.paths[1:]
        moved = (after != before).any(2) & lines.arrived
        middle = (before + after)[moved] / 2
        power = dimension + 1.0
        # a sum's log scale is that of its nearest charge
        near = [
            torch.exp(-riesz_sum(middle[:, :-1], charges, power=power, height=middle[:, -1] - z).m / power)
            for charges, z in ((plates.plus, 0.0), (plates.minus, self.L))
        ]
        return middle[torch.minimum(*near) > self.clearance]

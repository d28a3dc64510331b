"""Passes over the strips of an entropic plan: both of Sinkhorn's updates at once, and draws from the plan's rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .strips import Strips

Draw = Literal["sample", "hardest"]
# a smaller logit counts as this one: subnormal numbers slow exp and products tenfold
_NEGLIGIBLE = -60.0
_TINY = 1e-300  # least factor that is divided by


@dataclass(frozen=True)
class Plan:
    """The plan between two sets of equal weights for potentials that one of them has.

    Attributes:
        strips: the sets.
        epsilon: weight of the entropy, data units squared.
        damping: of every update of a potential: 1 for balanced transport, less for unbalanced.
    """

    strips: Strips
    epsilon: float
    damping: float = 1.0

    def rows(self, columns: Tensor) -> Tensor:
        """The potential of the rows, float64 [N], from that of the columns [M]."""
        return self.strips.all_rows([potential for _, _, _, potential in self._strips(columns)], columns)

    def both(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """The potential of the rows, float64 [N], and the sums of the plan's columns, float64 [M]."""
        potentials, sums = [], torch.zeros_like(columns)
        for strip, _, factor, potential in self._strips(columns):
            potentials.append(potential)
            # where data lie beyond the reach of unbalanced transport, all factors are too small for float32
            unit = factor.amax().clamp_min(_TINY).log2().floor().exp2()
            sums += unit * ((factor / unit).to(strip.dtype) @ strip).double()
        return self.strips.all_rows(potentials, columns), self.strips.all_sums(sums)

    def draw(self, columns: Tensor, how: Draw, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Partners of the rows, int64 [N, K], the mass of each row, float64 [N], and the potential of the rows.

        Args:
            columns: potential of the columns, [M].
            how: "sample", or "hardest" for the largest of each row.
            level: uniform numbers that the samples are drawn with, [N, K].
        """
        found, masses, potentials = [], [], []
        every = level.tensor_split([rows.start for rows in self.strips.blocks()])[1:]
        for (strip, weight, factor, potential), part in zip(self._strips(columns), every, strict=True):
            if how == "hardest":
                found.append(strip.argmax(1, keepdim=True).expand(-1, level.shape[1]))
            else:
                total = strip.cumsum(1)
                at = part[: len(strip)].to(strip) * total[:, -1:]
                found.append(torch.searchsorted(total, at, right=True).clamp_max(strip.shape[1] - 1))
            masses.append(factor * weight)
            potentials.append(potential)
        partners = self.strips.all_rows(found, level.long())
        return partners, self.strips.all_rows(masses, columns), self.strips.all_rows(potentials, columns)

    def _strips(self, columns: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """For every strip: e^(logits less the row's largest), their sums, the plan's factor, the rows' potential."""
        strips, epsilon = self.strips, self.epsilon
        offset = (columns - strips.column_square) / epsilon - math.log(len(columns))
        largest = offset.max()
        offset = (offset - largest).to(strips.dtype)
        for rows in strips.blocks():
            strip = strips.products(rows, 2.0 / epsilon * strips.unit**2, offset)
            top = strip.amax(1, keepdim=True)
            weight = strip.sub_(top).clamp_min_(_NEGLIGIBLE).exp_().sum(1).double()
            log_sum = torch.log(weight) + top[:, 0].double() + largest - strips.row_square[rows] / epsilon
            mass = torch.exp((1.0 - self.damping) * log_sum) / len(strips.rows)
            yield strip, weight, mass / weight, -self.damping * epsilon * log_sum

"""What a bundle of field lines hands back."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import torch
from torch import Tensor


class LineStatus(enum.IntEnum):
    """How a line ended.

    A plate has a front, which faces the other plate, and a back; a line may reach its end from either.
    """

    RUNNING = 0
    FRONT = 1
    BEHIND = 2
    ESCAPED = 3
    STEP_LIMIT = 4
    FAILED = 5


@dataclass(frozen=True)
class Lines:
    """N field lines, one row each, in the order of their starts.

    Attributes:
        end: features where each line ended, [N, D], data units. NaN where the status is FAILED.
        end_z: height where each line ended, [N], data units.
        status: :class:`LineStatus` of each line, int64 [N]. FRONT and BEHIND are arrivals, seen from the side
            of the plate the line came from; ESCAPED lines left for distances from which none returns;
            STEP_LIMIT lines used up their steps; FAILED ones met a NaN or a vanishing field.
        charge: index of the charge on which each line ended, int64 [N], -1 where it met none; None from maps
            that follow a field rather than its charges.
        evaluations: evaluations of the field that each line used, int64 [N].
        length: length of each line in data units, [N].
        paths: points (x, z) of each line, [T, N, D+1], or None unless asked for. A line that ended repeats
            its end.
    """

    end: Tensor
    end_z: Tensor
    status: Tensor
    charge: Tensor | None
    evaluations: Tensor
    length: Tensor
    paths: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Lines:
        """The same lines with their coordinates and lengths in ``dtype``."""
        return replace(
            self,
            end=self.end.to(dtype),
            end_z=self.end_z.to(dtype),
            length=self.length.to(dtype),
            paths=None if self.paths is None else self.paths.to(dtype),
        )

    @property
    def arrived(self) -> Tensor:
        """Which lines reached a plate or a charge, bool [N]."""
        return (self.status == LineStatus.FRONT) | (self.status == LineStatus.BEHIND)

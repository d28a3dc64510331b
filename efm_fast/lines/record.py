"""The result of following field lines."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import torch
from torch import Tensor


class LineStatus(enum.IntEnum):
    """How a line ended.

    A plate has a front, which faces the other plate, and a back. A line may reach a plate from either side.
    """

    RUNNING = 0
    FRONT = 1
    BEHIND = 2
    ESCAPED = 3
    STEP_LIMIT = 4
    FAILED = 5


@dataclass(frozen=True, repr=False)
class Lines:
    """N field lines, one row each, in the order of their starts.

    Attributes:
        end: features where each line ended, [N, D], data units; ``sample`` returns [N, C, H, W] for starts of that
            shape. NaN for lines with the status FAILED.
        end_z: height where each line ended, [N], data units.
        status: :class:`LineStatus` of each line, int64 [N]. FRONT and BEHIND lines arrived, at that side of the plate;
            ESCAPED lines went so far that none returns; STEP_LIMIT lines used up their steps; FAILED lines met a NaN or
            a vanishing field.
        charge: index of the charge on which each line ended, int64 [N], -1 if it reached none; None from maps that
            follow a field and not its charges.
        evaluations: evaluations of the field that each line used, int64 [N].
        length: length of each line in data units, [N].
        paths: points (x, z) of each line, [T, N, D+1], or None if not requested. A line that has ended repeats its end.
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

    def counts(self) -> dict[str, int]:
        """The number of lines with each status, by the names of :class:`LineStatus` in lower case."""
        ways = {status.name.lower(): int((self.status == status).sum()) for status in LineStatus}
        return {name.replace("_", " "): count for name, count in ways.items() if count}

    def __repr__(self) -> str:
        ways = ", ".join(f"{count} {name}" for name, count in self.counts().items())
        shape = ", ".join(map(str, self.end.shape))
        return f"Lines([{shape}]: {ways or 'none'}; {self._cost()})"

    def _cost(self) -> str:
        mean = float(self.evaluations.double().mean()) if len(self.evaluations) else 0.0
        return f"{mean:.1f} evaluations each"

    def _repr_html_(self) -> str:
        from ..plots.notebook import card, samples_png

        numbers = {"shape": list(self.end.shape), **self.counts(), "cost": self._cost()}
        return card("Lines", numbers, samples_png(self.end))

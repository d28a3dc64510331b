"""Schedules of the heights between the plates from which a forward map takes its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ... import checks
from ...errors import InputError

Spacing = Literal["uniform", "log"]

#: Distance of the first and last "log" height from the plates by default, as a fraction of L.
LOG_MARGIN = 1e-2


@dataclass(frozen=True)
class Heights:
    """A schedule of heights z(t) with equal steps of t.

    "uniform" is z = t. "log" is the logistic function z = L / (1 + e^-t): near each plate the distance from it changes
    by a constant factor per step, as field lines spread from one plate and gather at the other.

    Attributes:
        spacing: "uniform" or "log".
        L: distance between the plates, data units.
        start, stop: first and last height, data units.
        steps: number of steps between them.
    """

    spacing: Spacing
    L: float
    start: float
    stop: float
    steps: int

    @property
    def first(self) -> float:
        """t at ``start``."""
        return self._parameter(self.start)

    @property
    def dt(self) -> float:
        """Step of t."""
        return (self._parameter(self.stop) - self.first) / self.steps

    def _parameter(self, z: float) -> float:
        return z if self.spacing == "uniform" else math.log(z) - math.log(self.L - z)

    def z(self, t: float) -> float:
        """Height at t, data units."""
        return t if self.spacing == "uniform" else self.L / (1.0 + math.exp(-t))

    def dz_dt(self, t: float) -> float:
        """Derivative of the height, data units per unit of t."""
        if self.spacing == "uniform":
            return 1.0
        z = self.z(t)
        return z * (self.L - z) / self.L

    def stages(self, nodes: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """For a method with these nodes, float64 on the CPU: z and dz/dt at every stage, [steps, stages] each, and
        the height after every step, [steps]."""
        steps = range(self.steps)
        times = [[self.first + (k + node) * self.dt for node in nodes] for k in steps]
        z = _on_cpu([[self.z(t) for t in row] for row in times])
        dz_dt = _on_cpu([[self.dz_dt(t) for t in row] for row in times])
        after = [self.z(self.first + (k + 1) * self.dt) for k in steps]
        after[-1] = self.stop
        return z, dz_dt, _on_cpu(after)


def _on_cpu(values: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def heights(spacing: str, L: float, steps: int, start: float | None, stop: float | None) -> Heights:
    """A checked schedule; ``start`` and ``stop`` default to the plates, or just inside them for "log".

    Raises:
        InputError: unknown spacing, steps below 1, or heights that do not rise from 0 to L.
    """
    checks.choice("spacing", spacing, ("uniform", "log"))
    checks.count("steps", steps)
    margin = LOG_MARGIN * L if spacing == "log" else 0.0
    low = margin if start is None else checks.number("start", start, "a height")
    high = L - margin if stop is None else checks.number("stop", stop, "a height")
    inside = 0.0 <= low < high <= L if spacing == "uniform" else 0.0 < low < high < L
    if not inside:
        edges = "0 <= start < stop <= L" if spacing == "uniform" else "0 < start < stop < L"
        raise InputError(f"start, stop: expected {edges} = {L}, got start={low} and stop={high}")
    return Heights("uniform" if spacing == "uniform" else "log", L, low, high, steps)

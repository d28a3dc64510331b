"""The geometry that a full map needs for its steps: distances, plate crossings, and the mirror of the far field.

All functions compute each row by itself. In distances that set a step, lateral lengths are divided by ``aspect``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from .support import Support


@dataclass(frozen=True)
class DiscGeometry:
    """Discs that hold the charges, and the lengths at which a map treats lines differently, in data units.

    Attributes:
        support: discs of both plates.
        L: distance between the plates.
        layer: half thickness of the layer around a plate. Lines are not integrated in it; whether they stop is decided.
        aspect: ratio of the lateral to the axial scale of the lines.
        far: distance from the capacitor's centre beyond which its field is taken as that of a dipole.
    """

    support: Support
    L: float
    layer: float
    aspect: float
    far: float

    def distance(self, x: Tensor, z: Tensor) -> Tensor:
        """Distance to the nearer support disc, [N], with lateral lengths divided by ``aspect``."""
        nearest = torch.full_like(z, torch.inf)
        for center, radius, height in self._plates(x, z):
            beside = ((x - center).norm(dim=1) - radius).clamp_min(0.0) / self.aspect
            nearest = torch.minimum(nearest, torch.hypot(beside, height))
        return nearest

    def _plates(self, x: Tensor, z: Tensor) -> tuple[tuple[Tensor, float, Tensor], ...]:
        s = self.support
        return (
            (s.plus_center.to(x), s.plus_radius, z),
            (s.minus_center.to(x), s.minus_radius, z - self.L),
        )

    def meets(self, x: Tensor, z: Tensor, new_x: Tensor, new_z: Tensor) -> tuple[Tensor, Tensor]:
        """The plate whose layer each chord enters inside its support, and the point of entry.

        A chord that starts inside the layer but outside the support enters where it crosses the plane.

        Returns:
            The plate, int64 [N]: 0 plus, 1 minus, -1 none; and the fraction of the chord up to the entry, [N], 1 if
            none.
        """
        plate, share = torch.full_like(z, -1, dtype=torch.int64), torch.ones_like(z)
        heights = zip(self._plates(x, z), self._plates(x, new_z), strict=True)
        for k, ((center, radius, height), (_, _, new_height)) in enumerate(heights):
            side = torch.where(height >= 0, 1.0, -1.0).to(z.dtype)
            fall = side * (height - new_height)
            # a line placed on the layer's edge must count as outside, also after rounding
            outside = side * height > self.layer * (1 - 1e-3)
            for depth, allowed in ((0.0, torch.ones_like(outside)), (self.layer, outside)):
                part = ((side * height - depth) / fall).clamp_min(0.0)
                inside = (x + part[:, None] * (new_x - x) - center).norm(dim=1) <= radius + self.layer
                enters = allowed & (fall > 0) & (part < share) & inside
                plate = torch.where(enters, k, plate)
                share = torch.where(enters, part, share)
        return plate, share

    def mirror(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move points beyond ``far`` that go outward to the place where the dipole's line comes back.

        Both plates together have no charge, so their far field is that of a dipole. Its lines are symmetric about the
        plane through the centre across the dipole: a line that leaves at r comes back at the mirror image of r. About
        the midpoint of the two centres of charge, the next term of the expansion depends only on the difference of the
        plates' covariances. In float32 the sum for the far field would also be lost to cancellation.

        Returns:
            New x [N, D], new z [N], and which points were mirrored, bool [N].
        """
        center, axis = (part.to(x) for part in self.dipole)
        lateral, axial = x - center, z - 0.5 * self.L
        outward = (lateral * axis[:-1]).sum(dim=1) + axial * axis[-1]
        away = torch.hypot(lateral.norm(dim=1), axial) > self.far
        mirrored = away & (outward > 0)
        twice = torch.where(mirrored, 2 * outward, 0.0)
        return x - twice[:, None] * axis[:-1], z - twice * axis[-1], mirrored

    @functools.cached_property
    def dipole(self) -> tuple[Tensor, Tensor]:
        """Features of the midpoint between the plates' centres, [D], and the unit dipole, [D+1]; float64."""
        s = self.support
        axis = torch.cat([s.plus_center - s.minus_center, s.plus_center.new_tensor([-self.L])])
        return 0.5 * (s.plus_center + s.minus_center), axis / axis.norm()

"""The geometry of a capacitor that a full map steps by: distances, plate crossings, the far field's mirror.

Everything is row by row. Lateral lengths count 1 / ``aspect`` where a distance sets a step.
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
        layer: half thickness of the layer around a plate within which a line is decided, not integrated.
        aspect: lateral over axial scale of the lines.
        far: distance from the capacitor's centre beyond which its field is taken as a dipole's.
    """

    support: Support
    L: float
    layer: float
    aspect: float
    far: float

    def distance(self, x: Tensor, z: Tensor) -> Tensor:
        """Distance to the nearer support disc, [N]; lateral lengths count 1 / ``aspect``."""
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
        """Where chords enter a plate's layer inside its support.

        A chord that starts inside the layer, beside the support, enters where it crosses the plane.

        Returns:
            Which plate: int64 [N], 0 plus, 1 minus, -1 none; and at which share of the chord, [N], 1 if none.
        """
        plate, share = torch.full_like(z, -1, dtype=torch.int64), torch.ones_like(z)
        heights = zip(self._plates(x, z), self._plates(x, new_z), strict=True)
        for k, ((center, radius, height), (_, _, new_height)) in enumerate(heights):
            side = torch.where(height >= 0, 1.0, -1.0).to(z.dtype)
            fall = side * (height - new_height)
            # a line set down on the layer's edge is outside it, also after rounding
            outside = side * height > self.layer * (1 - 1e-3)
            for depth, allowed in ((0.0, torch.ones_like(outside)), (self.layer, outside)):
                part = ((side * height - depth) / fall).clamp_min(0.0)
                inside = (x + part[:, None] * (new_x - x) - center).norm(dim=1) <= radius + self.layer
                enters = allowed & (fall > 0) & (part < share) & inside
                plate = torch.where(enters, k, plate)
                share = torch.where(enters, part, share)
        return plate, share

    def mirror(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take outward-bound points beyond ``far`` along the dipole's line to where it comes back.

        Both plates together have no charge, so their far field is the dipole's, whose lines are symmetric about
        the plane through the centre across the dipole: a line that leaves at r comes back at r's mirror image.
        About the midpoint of the two centres of charge the next term of the expansion has only the difference
        of the plates' covariances. (Summed in float32, the far field is lost to cancellation besides.)

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
        """Features of the point midway between the plates' centres, [D], and the unit dipole, [D+1]; float64."""
        s = self.support
        axis = torch.cat([s.plus_center - s.minus_center, s.plus_center.new_tensor([-self.L])])
        return 0.5 * (s.plus_center + s.minus_center), axis / axis.norm()

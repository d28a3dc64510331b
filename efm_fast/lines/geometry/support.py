"""The discs that hold the charges; a full map needs to know nothing else about the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ... import checks
from ...errors import InputError


@dataclass(frozen=True)
class Support:
    """Discs that hold each plate's charges, from samples of both.

    Attributes:
        plus_center, minus_center: mean of the charges, [D], data units.
        plus_radius, minus_radius: distance from the mean to the farthest charge, data units.
        scale: standard deviation of one feature, data units: the root mean square distance from a charge to the mean of
            its plate, over both plates, divided by sqrt(D).
    """

    plus_center: Tensor
    minus_center: Tensor
    plus_radius: float
    minus_radius: float
    scale: float

    @classmethod
    def of(cls, plus: Tensor, minus: Tensor) -> Support:
        """The discs of samples ``plus`` [M, D] and ``minus`` [M', D].

        Raises:
            InputError: not [M, D], different D, empty, or not finite.
        """
        checks.tensor("plus", plus, ndim=2)
        checks.tensor("minus", minus, ndim=2, columns=plus.shape[1])
        centers, radii, squares = [], [], []
        for name, charges in (("plus", plus), ("minus", minus)):
            if len(charges) == 0:
                raise InputError(f"{name}: expected at least one charge, got none")
            checks.finite(name, charges)
            center = charges.double().mean(dim=0)
            square = torch.cat([(c.double() - center).square().sum(dim=1) for c in charges.split(4096)])
            centers.append(center)
            radii.append(float(square.amax().sqrt()))
            squares.append(float(square.mean()))
        scale = (sum(squares) / 2 / plus.shape[1]) ** 0.5
        return cls(centers[0], centers[1], radii[0], radii[1], scale)

    def exchanged(self) -> Support:
        """The discs of the capacitor with its plates exchanged."""
        return Support(self.minus_center, self.plus_center, self.minus_radius, self.plus_radius, self.scale)

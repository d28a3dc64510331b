"""The hand-overs between rooms: small frozen records with documented shapes.

Everywhere: N points, M charges, D features, n = D + 1 (the features and z). z is the last coordinate; the
plates lie at z = 0 (``plus``) and z = L (``minus``). Lengths are in data units; each plate has total charge 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class CapacitorField:
    """The exact field of both plates at N points.

    Attributes:
        direction: unit vectors E / |E|, [N, D+1], z last. Zero where the field vanishes or the point lies
            exactly on a charge.
        log_norm: log |E|, float64 [N], with the 1 / S_{n-1} of Coulomb's law left out (EFM, eq. 1).
    """

    direction: Tensor
    log_norm: Tensor


@dataclass(frozen=True)
class Plates:
    """Charges on both plates of a capacitor, equal charge each, total 1 per plate.

    Attributes:
        plus: positive charges, samples of P, [M, D] on the plate z = 0.
        minus: negative charges, samples of Q, [M', D] on the plate z = L.
        L: distance between the plates, data units.
    """

    plus: Tensor
    minus: Tensor
    L: float


@dataclass(frozen=True)
class PlatePosterior:
    """Where a point's field comes from: the posterior over charges under weights w_j = |x~ - y~_j|^-n.

    Attributes:
        share_plus: weight of the positive plate, W+ / (W+ + W-), [N].
        mean_plus: posterior mean of the positive charges, [N, D], data units.
        mean_minus: the same of the negative charges.
    """

    share_plus: Tensor
    mean_plus: Tensor
    mean_minus: Tensor

    def moment(self, x: Tensor, z: Tensor, L: float) -> Tensor:
        """T = sum_j q_j w_j (x~ - y~_j) / sum_j w_j, [N, D+1], data units: the field over the potential's weights.

        At points that a charge's own flux generated, the mean of T over batches has exactly the direction of the
        field of the whole distributions.
        """
        plus, minus = self.share_plus[:, None], 1.0 - self.share_plus[:, None]
        above, below = z.to(x.dtype)[:, None], (z - L).to(x.dtype)[:, None]
        features = plus * (x - self.mean_plus) - minus * (x - self.mean_minus)
        return torch.cat([features, plus * above - minus * below], 1)


@runtime_checkable
class Field(Protocol):
    """What a map follows: the exact field and a learned one look the same to it."""

    @property
    def L(self) -> float:
        """Distance between the plates, data units."""
        ...

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """Field direction, any positive multiple, [N, D+1] at features x [N, D] and heights z [N]."""
        ...

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line that is about to meet ``plate`` ("plus" or "minus") lands, [N, D]; None if unknown.

        The posterior mean of that plate's charges: as the plate nears it tends to the charge itself.
        """
        ...


@runtime_checkable
class PosteriorField(Field, Protocol):
    """A field that knows the plate means it is made of, so that a step need not write its direction out."""

    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior | None:
        """Share and means of both plates at features x [N, D] and heights z [N]; None if it has none after all."""
        ...


@dataclass(frozen=True)
class Geometry:
    """The lengths a network is scaled by, all in data units; saved with its weights.

    Attributes:
        L: distance between the plates.
        s: root mean square distance between a charge of one plate and a charge of the other.
        nearest: height under which a point counts as on the plate.
        shape: (D,) of vectors, (C, H, W) of images.
        centre: mean of both plates' data, one number per feature.
        radius: largest distance of a datum from the centre.
        scale: root mean square of one centred feature.
        low: smallest value of any feature of the data.
        high: largest value of any feature of the data.
    """

    L: float
    s: float
    nearest: float
    shape: tuple[int, ...]
    centre: tuple[float, ...]
    radius: float
    scale: float
    low: float
    high: float

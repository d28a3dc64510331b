"""The hand-overs between rooms: small frozen records with documented shapes.

Everywhere: N points, M charges, D features, n = D + 1 (the features and z). z is the last coordinate; the
plates lie at z = 0 (``plus``) and z = L (``minus``). Lengths are in data units; each plate has total charge 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


def _scaled(values: Tensor, log_factor: Tensor) -> Tensor:
    """``values * exp(log_factor)`` row by row, in the dtype of ``values``."""
    factor = torch.exp(log_factor).to(values.dtype)
    return values * (factor if values.ndim == 1 else factor[:, None])


@dataclass(frozen=True)
class RieszSum:
    """Sums over charges in log scale, a monoid under :meth:`merge`.

    With l_ij the log kernel between point i and charge j and q_j the charge weights,

        w_i e^{m_i} = sum_j q_j e^{l_ij},        v_i e^{m_i} = sum_j q_j e^{l_ij} (x_i - y_j).

    Attributes:
        m: log scale, float64 [N]; the largest l_ij over charges of non-zero weight. -inf where there is no
            charge, +inf where the point lies exactly on a charge (then w is that charge's weight and v is 0,
            the limit of the sums scaled by their largest term).
        w: scaled sum of weights, float [N], dimensionless.
        v: scaled sum of displacements, float [N, D], data units.
    """

    m: Tensor
    w: Tensor
    v: Tensor

    @classmethod
    def empty(cls, n: int, d: int, *, dtype: torch.dtype, device: torch.device | str) -> RieszSum:
        """The sum over no charges: the neutral element of :meth:`merge`."""
        return cls(
            m=torch.full((n,), -torch.inf, dtype=torch.float64, device=device),
            w=torch.zeros(n, dtype=dtype, device=device),
            v=torch.zeros(n, d, dtype=dtype, device=device),
        )

    def merge(self, other: RieszSum) -> RieszSum:
        """The sum over both sets of charges: rescale to the larger ``m``, then add."""
        m = torch.maximum(self.m, other.m)
        # equal infinities scale by one; a finite term beside +inf, or an empty one, by zero
        left = torch.where(self.m == m, 0.0, self.m - m)
        right = torch.where(other.m == m, 0.0, other.m - m)
        return RieszSum(
            m,
            _scaled(self.w, left) + _scaled(other.w, right),
            _scaled(self.v, left) + _scaled(other.v, right),
        )

    def __neg__(self) -> RieszSum:
        return RieszSum(self.m, -self.w, -self.v)

    def log_weight(self) -> Tensor:
        """log |sum_j q_j e^{l_ij}|, float64 [N]: the log potential up to the kernel's constant factor."""
        return self.m + torch.log(self.w.double().abs())

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the charges under weights q_j e^{l_ij}, [N, D] in data units: ``x - v / w``."""
        return x - self.v / self.w[:, None]


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

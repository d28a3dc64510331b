"""The hand-overs between rooms: small frozen records with documented shapes.

Everywhere: N points, M charges, D features, n = D + 1 (the features and z). z is the last coordinate; the
plates lie at z = 0 (``plus``) and z = L (``minus``). Lengths are in data units; each plate has total charge 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


def _relative(own: Tensor, m: Tensor) -> Tensor:
    """The log factor from log scale ``own`` to a larger ``m``, [N]."""
    # equal infinities scale by one; a finite term beside +inf, or an empty one, by zero
    return torch.where(own == m, 0.0, own - m)


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
        left, right = _relative(self.m, m), _relative(other.m, m)
        return RieszSum(
            m,
            _scaled(self.w, left) + _scaled(other.w, right),
            _scaled(self.v, left) + _scaled(other.v, right),
        )

    def __neg__(self) -> RieszSum:
        return RieszSum(self.m, -self.w, -self.v)

    def to(self, dtype: torch.dtype) -> RieszSum:
        """The same sum with w and v in another dtype."""
        return RieszSum(self.m, self.w.to(dtype), self.v.to(dtype))

    def log_weight(self) -> Tensor:
        """log |sum_j q_j e^{l_ij}|, float64 [N]: the log potential up to the kernel's constant factor."""
        return self.m + torch.log(self.w.double().abs())

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the charges under weights q_j e^{l_ij}, [N, D] in data units: ``x - v / w``."""
        return x - self.v / self.w[:, None]


@dataclass(frozen=True)
class CentredSum:
    """A :class:`RieszSum` whose displacements are split about a centre c: v = along (x - c) + rest.

    Far from the charges all displacements are nearly x - c, and so are those of the other plate: in the difference of
    two plates the first part is one multiple of x - c, known to float64, and the second holds what the charges differ
    by. Whole displacements in float32 would leave |x - c| rounding errors of either plate there.

    Attributes:
        m: log scale, float64 [N].
        w: scaled sum of weights, float64 [N].
        along: the multiple of x - c, float64 [N]; None where the displacements are whole.
        rest: the other displacements, [N, D], data units; float64 at precision="exact".
        centre: c, float32 [D], data units; None where the displacements are whole.
    """

    m: Tensor
    w: Tensor
    along: Tensor | None
    rest: Tensor
    centre: Tensor | None

    @classmethod
    def of(cls, total: RieszSum, w: Tensor | None = None) -> CentredSum:
        """A sum with whole displacements; ``w`` are its weights where they are known to more digits."""
        return cls(total.m, total.w.double() if w is None else w, None, total.v, None)

    def merge(self, other: CentredSum) -> CentredSum:
        """The sum over both sets of charges; both are split about one centre, or neither is."""
        m = torch.maximum(self.m, other.m)
        left, right = _relative(self.m, m), _relative(other.m, m)
        along = None
        if self.along is not None and other.along is not None:
            along = _scaled(self.along, left) + _scaled(other.along, right)
        return CentredSum(
            m,
            _scaled(self.w, left) + _scaled(other.w, right),
            along,
            _scaled(self.rest, left) + _scaled(other.rest, right),
            self.centre,
        )

    def times(self, factor: Tensor) -> CentredSum:
        """The sum of charges ``factor`` times as large, float64 [], not 0: its size goes into the log scale."""
        size = factor.detach().abs()
        sign = factor / size  # 1 or -1, and the way of the gradient
        along = None if self.along is None else self.along * sign
        rest = self.rest * sign.to(self.rest.dtype)
        return CentredSum(self.m + torch.log(size), self.w * sign, along, rest, self.centre)

    def __neg__(self) -> CentredSum:
        along = None if self.along is None else -self.along
        return CentredSum(self.m, -self.w, along, -self.rest, self.centre)

    def weight_at(self, m: Tensor) -> Tensor:
        """The sum of weights in the log scale ``m``, float64 [N], which is nowhere below its own."""
        return _scaled(self.w, _relative(self.m, m))

    def whole(self, x: Tensor) -> RieszSum:
        """The same sum with whole displacements, in the dtype of ``rest``, at the points x [N, D] it was taken at."""
        w = self.w.to(self.rest.dtype)
        if self.along is None or self.centre is None:
            return RieszSum(self.m, w, self.rest)
        # constants to autograd: the displacements' gradient comes in through the rest, see efm_fast.field.ops
        apart = (x.to(self.rest.dtype) - self.centre).detach()
        return RieszSum(self.m, w, torch.addcmul(self.rest, self.along.to(apart.dtype)[:, None], apart))


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

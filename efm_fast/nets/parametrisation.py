"""What a backbone's raw output means: the field itself, or the plate means it is made of."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interplate import InterplatePoints
from ..targets import Normalization, PlatePosterior, field_direction, plate_posterior
from .features import Geometry


class Parametrisation(Protocol):
    """Turns a backbone's raw output into the field, and a target into a loss.

    The raw output is ``features`` [N, groups, D] and ``scalar`` [N], both dimensionless.
    """

    groups: int

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Field direction [N, D+1], up to a positive factor."""
        ...

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` lands, [N, D]; None if this parametrisation cannot tell."""
        ...

    def target(self, points: InterplatePoints) -> Any:
        """What the loss at ``points`` compares with."""
        ...

    def loss(self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: Any) -> Tensor:
        """Mean loss over the points."""
        ...


class PlateMeans:
    """The field as E ~ rho (x~ - m+) - (1 - rho) (x~ - m-)."""

    groups = 2

    def __init__(self, geometry: Geometry) -> None:
        import os
        self.L, self.nearest, self.scale = geometry.L, geometry.nearest, geometry.scale
        self.low, self.high = geometry.low, geometry.high
        self.centre = torch.tensor(geometry.centre)
        self.n = len(geometry.centre) + 1
        self.skip = os.environ.get('SKIP', '1') == '1'
        self.lam = float(os.environ.get('LAM', '1'))
        self.pw = float(os.environ.get('PW', '0.5'))
        self.far = os.environ.get('FARF', '1') == '1'
        self.radius = float(os.environ.get('RAD', '4.'))

    def _coef(self, z):
        h = torch.stack([z.abs(), (z - self.L).abs()], 1).float()
        k = 1 / (1 + (h / self.scale) ** 2)
        g = h * k.sqrt()
        return h, k, g

    def means(self, features: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """m+ and m-, each [N, D], data units."""
        if not self.skip:
            mid, reach = (self.high + self.low) / 2, .55 * (self.high - self.low)
            bounded = mid + reach * torch.tanh(features)
            return bounded[:, 0], bounded[:, 1]
        h, k, g = self._coef(z)
        xc = x.clamp(self.low, self.high) - self.centre
        m = self.centre + k[:, :, None] * xc[:, None] + g[:, :, None] * features
        w = 0.05 * (self.high - self.low)
        if not torch.is_grad_enabled():
            m = m.clamp(self.low - w, self.high + w)
        return m[:, 0], m[:, 1]

    def logit(self, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """log(rho / (1 - rho)), [N]."""
        skin = self.nearest * 1e-3
        if not self.far:
            known = torch.log((z - self.L).abs() + skin) - torch.log(z.abs() + skin)
            return scalar + known.to(scalar.dtype)
        r = (x - self.centre).double().norm(dim=1)
        e = (r - self.radius).clamp_min(0.)
        A2 = self.n * (self.n - 1) * self.scale ** 2
        def lw(h):
            return -0.5 * torch.log(h * h + e * e + skin**2) - 0.5 * (self.n - 1) * torch.log(r * r + h * h + A2)
        return scalar + (lw(z.double()) - lw(z.double() - self.L)).to(scalar.dtype)

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        plus, minus = self.means(features, x, z)
        rho = torch.sigmoid(self.logit(scalar, x, z))
        return PlatePosterior(rho, plus, minus).moment(x, z, self.L)

    def arrival(self, features: Tensor, scalar: Tensor, x, z, plate: str) -> Tensor:
        plus, minus = self.means(features, x, z)
        return plus if plate == "plus" else minus

    def target(self, points: InterplatePoints) -> PlatePosterior:
        return plate_posterior(points)

    def loss(self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: PlatePosterior) -> Tensor:
        plus, minus = self.means(features, points.x, points.z)
        share = target.share_plus
        h, k, g = self._coef(points.z)
        if self.skip:
            v = g ** 2 * (self.scale / g) ** (2 * self.pw)
        else:
            v = torch.full_like(g, self.scale ** 2)
        error_plus = (plus - target.mean_plus).square().mean(1) / v[:, 0]
        error_minus = (minus - target.mean_minus).square().mean(1) / v[:, 1]
        split = F.binary_cross_entropy_with_logits(self.logit(scalar, points.x, points.z), share)
        return self.lam * (share * error_plus + (1.0 - share) * error_minus).mean() + split


class DirectField:
    """The network's output is the field: D features and z.

    At generated points it regresses T / c with c = sqrt(|x~ - centre|^2 + scale^2), a fixed positive factor that
    leaves the direction of the mean unbiased; elsewhere it regresses the unit vector E / |E|.
    """

    groups = 1

    def __init__(self, geometry: Geometry, normalization: Normalization = "superposition") -> None:
        self.geometry = geometry
        self.normalization = normalization

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The raw output as a field, [N, D+1]."""
        return torch.cat([features[:, 0], scalar[:, None]], 1)

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> None:
        """A direct field does not know where its lines end."""
        return

    def target(self, points: InterplatePoints) -> Tensor:
        """T / c at generated points, E / |E| elsewhere; [N, D+1]."""
        if not points.generated:
            return field_direction(points, normalization=self.normalization)
        x, z, L = points.x, points.z, points.plates.L
        moment = plate_posterior(points).moment(x, z, L)
        away = x - torch.tensor(self.geometry.centre, dtype=x.dtype, device=x.device)
        size = (away.square().sum(1) + (z - L / 2).square() + self.geometry.scale**2).sqrt()
        return moment / size.to(x.dtype)[:, None]

    def loss(self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: Tensor) -> Tensor:
        """Mean squared error of the vector."""
        guess = self.direction(features, scalar, points.x, points.z)
        return (guess - target).square().sum(1).mean()

"""What a backbone's raw output means: the field itself, or the plate means it is made of."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interplate import InterplatePoints
from ..targets import Normalization, PlatePosterior, field_direction, plate_posterior
from .features import Geometry


class Raw(Protocol):
    """A backbone's output: ``features`` [N, K, D] and ``scalar`` [N], dimensionless."""

    features: Tensor
    scalar: Tensor


class Parametrisation(Protocol):
    """Turns a backbone's raw output into the field, and a target into a loss."""

    groups: int

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Field direction [N, D+1], up to a positive factor."""
        ...

    def arrival(self, features: Tensor, scalar: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` lands, [N, D]; None if this parametrisation cannot tell."""
        ...

    def loss(self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: object) -> Tensor:
        """Mean loss over the points."""
        ...


class PlateMeans:
    """The field as E ~ rho (x~ - m+) - (1 - rho) (x~ - m-).

    m+- are the posterior means of the plates' charges, with the plate's z, and rho = W+ / (W+ + W-) the share of
    the positive plate. The network gives m+-, bounded to the data's range, and the logit of rho without its
    known part log(h- / h+); the far field and the singular layer at a plate are then analytic, and close to a
    plate its mean is where the line lands.
    """

    groups = 2

    def __init__(self, geometry: Geometry) -> None:
        self.L, self.nearest = geometry.L, geometry.nearest
        self.middle = (geometry.high + geometry.low) / 2
        self.reach = 0.55 * (
            geometry.high - geometry.low
        )  # a tenth beyond the data, so tanh need not saturate

    def means(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """m+ and m-, each [N, D], data units."""
        bounded = self.middle + self.reach * torch.tanh(features)
        return bounded[:, 0], bounded[:, 1]

    def logit(self, scalar: Tensor, z: Tensor) -> Tensor:
        """log(rho / (1 - rho)), [N]."""
        skin = self.nearest * 1e-3
        known = torch.log((z - self.L).abs() + skin) - torch.log(z.abs() + skin)
        return scalar + known.to(scalar.dtype)

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """T of the plate means, [N, D+1]: the field over the potential's weights, data units."""
        plus, minus = self.means(features)
        rho = torch.sigmoid(self.logit(scalar, z))
        return PlatePosterior(rho, plus, minus).moment(x, z, self.L)

    def arrival(self, features: Tensor, scalar: Tensor, plate: str) -> Tensor:
        """The plate's posterior mean, [N, D]."""
        plus, minus = self.means(features)
        return plus if plate == "plus" else minus

    def target(self, points: InterplatePoints) -> PlatePosterior:
        """Posterior of the minibatch's charges at ``points``."""
        return plate_posterior(points)

    def loss(
        self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: PlatePosterior
    ) -> Tensor:
        """Squared error of the means, each weighted by its plate's share, plus cross-entropy of the share.

        Weighted so, the minimiser at generated points is the posterior mean of the whole distribution whatever
        the number of charges in the minibatch.
        """
        plus, minus = self.means(features)
        share = target.share_plus
        width = self.reach**2
        error_plus = (plus - target.mean_plus).square().mean(1) / width
        error_minus = (minus - target.mean_minus).square().mean(1) / width
        split = F.binary_cross_entropy_with_logits(self.logit(scalar, points.z), share)
        return (share * error_plus + (1.0 - share) * error_minus).mean() + split


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

    def arrival(self, features: Tensor, scalar: Tensor, plate: str) -> None:
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

"""What a backbone's raw output means: the field itself, or the plate means it is made of."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..types import Geometry, PlatePosterior
from .interplate import InterplatePoints
from .targets import Normalization, field_direction, plate_posterior

_IMAGE_WEIGHT = 10.0  # of the means against the shares, whose cross-entropy is mostly irreducible noise


class Parametrisation(Protocol):
    """Turns a backbone's raw output into the field, and a target into a loss.

    The raw output is ``features`` [N, groups, D] and ``scalar`` [N], both dimensionless.
    """

    groups: int

    def inputs(self, x: Tensor, z: Tensor) -> Tensor:
        """What the backbone sees of the features, [N, D], data units."""
        return x

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Field direction [N, D+1], up to a positive factor."""
        ...

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` lands, [N, D]; None if this parametrisation cannot tell."""
        return None

    def posterior(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> PlatePosterior | None:
        """Share and means of both plates; None if this parametrisation has none."""
        return None

    def target(self, points: Any) -> Any:
        """What the loss at ``points`` compares with."""
        ...

    def loss(self, features: Tensor, scalar: Tensor, points: Any, target: Any) -> Tensor:
        """Mean loss over the points."""
        ...


class PlateMeans(Parametrisation):
    """The field as E ~ rho (x~ - m+) - (1 - rho) (x~ - m-).

    m+- are the posterior means of the plates' charges and rho = W+ / (W+ + W-) is the share of the positive
    plate. The network gives what is not known of them beforehand:

    - For vectors, m_s = c + k (x - c) + g F, with c the data's centre, k = 1 / (1 + (h_s / scale)^2),
      g = h_s sqrt(k) and F the network. At a plate the charges lie around x within about h_s, and the lateral
      field is in proportion to (x - m_s) / h_s: so F, not m_s, must be learned to a fixed accuracy at every
      height. Images lie near a thin sheet in their space, x off it is mostly noise that F would have to
      cancel pixel by pixel; for them m_s is the network's output itself, bounded to the data's range.
    - logit rho without log(W+ / W-) of two smooth blobs of charge, which is log(h- / h+) between the plates and
      the dipole's law far away, where the field is a small difference of large terms.

    The far field and the singular layer at a plate are then analytic, and close to a plate its mean is where
    the line lands.
    """

    groups = 2

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.margin = 0.05 * (geometry.high - geometry.low)
        self.passes_x = len(geometry.shape) == 1
        self._centres: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def means(self, features: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """m+ and m-, each [N, D], data units."""
        if not self.passes_x:
            middle = (self.geometry.high + self.geometry.low) / 2
            bounded = middle + (middle - self.geometry.low + self.margin) * torch.tanh(features)
            return bounded[:, 0], bounded[:, 1]
        centre = self._centre(x)
        keep, gain = self._mixing(x, z)
        inside = x.clamp(self.geometry.low, self.geometry.high) - centre
        means = centre + keep[:, :, None] * inside[:, None] + gain[:, :, None] * features
        return means[:, 0], means[:, 1]

    def logit(self, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """log(rho / (1 - rho)), [N]."""
        known = self._log_blob(x, z) - self._log_blob(x, z - self.geometry.L)
        return scalar + known.to(scalar.dtype)

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """T of the plate means, [N, D+1]: the field over the potential's weights, data units."""
        return self.posterior(features, scalar, x, z).moment(x, z, self.geometry.L)

    def posterior(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> PlatePosterior:
        """rho, m+ and m-, bounded to the data's range."""
        plus, minus = (self._bounded(m) for m in self.means(features, x, z))
        return PlatePosterior(torch.sigmoid(self.logit(scalar, x, z)), plus, minus)

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> Tensor:
        """The plate's posterior mean, [N, D]."""
        plus, minus = self.means(features, x, z)
        return self._bounded(plus if plate == "plus" else minus)

    def target(self, points: InterplatePoints) -> PlatePosterior:
        """Posterior of the minibatch's charges at ``points``."""
        return plate_posterior(points)

    def loss(
        self, features: Tensor, scalar: Tensor, points: InterplatePoints, target: PlatePosterior
    ) -> Tensor:
        """Squared error of the means, each weighted by its plate's share, plus cross-entropy of the share.

        Weighted so, the minimiser at generated points is the posterior mean of the whole distribution whatever
        the number of charges in the minibatch. For vectors a further factor sqrt(scale / g), a function of z
        alone, stands between equal weight for m and equal weight for F: the minibatch's mean is noisy in F near
        a plate.
        """
        plus, minus = self.means(features, points.x, points.z)
        share = target.share_plus
        weight = self._weight(points.x, points.z)
        error_plus = weight[:, 0] * (plus - target.mean_plus).square().mean(1)
        error_minus = weight[:, 1] * (minus - target.mean_minus).square().mean(1)
        split = F.binary_cross_entropy_with_logits(self.logit(scalar, points.x, points.z), share)
        return (share * error_plus + (1.0 - share) * error_minus).mean() + split

    def _weight(self, x: Tensor, z: Tensor) -> Tensor:
        """Weight of the means' squared errors against the cross-entropy, [N, 2] or [1, 2], per squared length."""
        scale = self.geometry.scale
        if not self.passes_x:
            return torch.full((1, 2), _IMAGE_WEIGHT / scale**2, dtype=x.dtype, device=z.device)
        _, gain = self._mixing(x, z)
        return scale**-1.5 / gain.clamp_min(1e-6 * scale).sqrt()

    def _centre(self, x: Tensor) -> Tensor:
        # kept, for a copy from the host has no place in a captured graph
        key = (x.dtype, x.device)
        if key not in self._centres:
            self._centres[key] = torch.tensor(self.geometry.centre, dtype=x.dtype, device=x.device)
        return self._centres[key]

    def _mixing(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """k and g of both plates, each [N, 2]."""
        height = self._heights(z).to(x.dtype)
        keep = 1.0 / (1.0 + (height / self.geometry.scale) ** 2)
        return keep, height * keep.sqrt()

    def _heights(self, z: Tensor) -> Tensor:
        """Distances from both plates, [N, 2]."""
        return torch.stack([z, z - self.geometry.L], 1).abs()

    def _log_blob(self, x: Tensor, height: Tensor) -> Tensor:
        """log W, up to a constant, of a disc of charge as wide as the data, float64 [N].

        -log h above the disc, -n log r far away; the width under the second root keeps the logit moderate
        where r is not yet large against sqrt(n) times the data's radius.
        """
        n = x.shape[1] + 1
        away = torch.linalg.vector_norm(x - self._centre(x), dim=1, dtype=torch.float64)
        beside = (away - self.geometry.radius).clamp_min(0.0)
        width = n * (n - 1) * self.geometry.scale**2
        skin = (1e-3 * self.geometry.nearest) ** 2
        near = torch.log(height.double() ** 2 + beside**2 + skin)
        return -0.5 * near - 0.5 * (n - 1) * torch.log(away**2 + height.double() ** 2 + width)

    def _bounded(self, means: Tensor) -> Tensor:
        return means.clamp(self.geometry.low - self.margin, self.geometry.high + self.margin)


class PreconditionedMeans(PlateMeans):
    """Plate means with the preconditioning of EDM (Karras et al. 2022, table 1), for generation of images.

    m_s = c + c_skip (x - c) + c_out F, where c_skip = w^2 / (sigma_s^2 + w^2), c_out = sigma_s sqrt(c_skip) and w is
    the width of the data. Errors of the means have weights 1 / c_out^2. The noise per feature of x, as plate s sees it,
    is estimated as

        sigma_s^2 = h_s^2 + max(0, |x - c|^2 - radius^2) / D:

    the height tells it near a plate, where x may be a datum, and the distance where x is farther out than all data.
    """

    def means(self, features: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """m+ and m-, each [N, D], data units."""
        skip, gain = self._mixing(x, z)
        centre = self._centre(x)
        means = centre + skip[:, :, None] * (x - centre)[:, None] + gain[:, :, None] * features
        return means[:, 0], means[:, 1]

    def _mixing(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        away2 = (x - self._centre(x)).square().sum(1, keepdim=True)
        beyond2 = (away2 - self.geometry.radius**2).clamp_min(0.0) / x.shape[1]
        noise2 = self._heights(z).to(x.dtype) ** 2 + beyond2
        skip = 1.0 / (1.0 + noise2 / self.geometry.scale**2)
        return skip, (noise2 * skip).sqrt()

    def _weight(self, x: Tensor, z: Tensor) -> Tensor:
        _, gain = self._mixing(x, z)
        return gain.clamp_min(1e-6 * self.geometry.scale) ** -2


class DirectField(Parametrisation):
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

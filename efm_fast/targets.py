"""What the network is to learn at inter-plate points: two Riesz sums, read in the ways a loss needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .field import capacitor_field, riesz_sum
from .field.request import Precision
from .interplate import InterplatePoints

Normalization = Literal["superposition", "per_plate"]


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


def plate_posterior(
    points: InterplatePoints, *, backend: str = "auto", precision: Precision = "default"
) -> PlatePosterior:
    """Posterior over the charges of both plates at ``points``, from two Riesz sums of Coulomb power.

    Raises:
        InputError: charges and points differ in D, dtype or device.
    """
    plates, power = points.plates, points.x.shape[1] + 1
    sums = [
        riesz_sum(points.x, charges, power=power, height=height, backend=backend, precision=precision)
        for charges, height in ((plates.plus, points.z), (plates.minus, points.z - plates.L))
    ]
    log_weight = [
        s.log_weight() - torch.log(torch.tensor(float(len(c)), dtype=torch.float64))
        for s, c in zip(sums, (plates.plus, plates.minus), strict=True)
    ]
    share = torch.sigmoid(log_weight[0] - log_weight[1]).to(points.x.dtype)
    return PlatePosterior(share, *(s.posterior_mean(points.x) for s in sums))


def field_direction(
    points: InterplatePoints,
    *,
    normalization: Normalization = "superposition",
    backend: str = "auto",
    precision: Precision = "default",
) -> Tensor:
    """E / |E| of the minibatch's charges at ``points``, [N, D+1]: the paper's target (EFM, algorithm 1)."""
    plates = points.plates
    return capacitor_field(
        points.x,
        points.z,
        plates.plus,
        plates.minus,
        plates.L,
        normalization=normalization,
        backend=backend,
        precision=precision,
    ).direction

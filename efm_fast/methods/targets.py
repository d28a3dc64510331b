"""What the network is to learn at inter-plate points: two Riesz sums, read in the ways a loss needs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..field import capacitor_field, riesz_sum
from ..field.request import Precision
from ..types import PlatePosterior
from .interplate import InterplatePoints

Normalization = Literal["superposition", "per_plate"]


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

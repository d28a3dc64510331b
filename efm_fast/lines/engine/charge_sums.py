"""The exact field of two sets of charges for many evaluations, together with the distance to the nearest charge.

The log scale of a sum is the log kernel of the nearest charge, and the sum of weights tells the weight of the other
charges relative to it. Therefore lines at many features need no search for near charges, which would cost more than the
sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...field.capacitor import superposed
from ...field.kernel import Riesz
from ...field.logsum import CentredSum
from ...field.request import SumRequest, centre_of
from ...field.torch_op import call
from .choice import LineProblem


@dataclass(frozen=True)
class View:
    """The field at N points, and the charges near them.

    Attributes:
        rate: the field over (sum of weights)^(D/(D+1)), [N, D+1], dimensionless. Its length is about 1 near a lone
            charge, at most about 1 elsewhere, and 0 where the field vanishes and on charges. Unlike the unit direction
            it is smooth where the plates cancel.
        nearest: distance to the nearest charge of either plate, float64 [N], data units.
        others: weight of all other charges relative to that of the nearest minus charge, float64 [N], dimensionless.
    """

    rate: Tensor
    nearest: Tensor
    others: Tensor

    def __getitem__(self, rows: Tensor) -> View:
        return View(self.rate[rows], self.nearest[rows], self.others[rows])


class ChargeSums:
    """The field of ``problem``'s charges, computed by the sums of ``backend`` at one set of points after the other."""

    def __init__(self, problem: LineProblem, backend: str) -> None:
        self.plates, self.backend, self.precision = problem.plates, backend, problem.precision
        self.power = problem.x.shape[1] + 1.0
        self.centre = centre_of(problem.plates.plus, problem.plates.minus).to(problem.x.device)

    def __call__(self, points: Tensor) -> View:
        """Evaluate the field at ``points`` [N, D+1], data units."""
        x, z, L = points[:, :-1], points[:, -1], self.plates.L
        plus = self._plate(x, self.plates.plus, z)
        minus = self._plate(x, self.plates.minus, z.double() - L)
        log_nearest = torch.maximum(plus.m, minus.m) / -self.power
        plus, minus = (
            _of_charge_one(*part) for part in ((plus, self.plates.plus), (minus, self.plates.minus))
        )
        others = minus.w - 1.0 + torch.exp(plus.m - minus.m) * plus.w
        field = superposed(plus, minus, x, z, L)
        m = torch.maximum(plus.m, minus.m)
        log_weight = m + torch.log(plus.weight_at(m) + minus.weight_at(m))
        size = torch.exp(field.log_norm - log_weight * (1.0 - 1.0 / self.power))
        size = size.nan_to_num(0.0)  # on a charge both are infinite
        rate = field.direction * size[:, None].to(field.direction.dtype)
        return View(rate.to(points.dtype), torch.exp(log_nearest), others)

    def _plate(self, x: Tensor, charges: Tensor, height: Tensor) -> CentredSum:
        request = SumRequest(
            x=x.contiguous(),
            y=charges,
            kernel=Riesz(self.power),
            height=height,
            precision=self.precision,
            centre=self.centre,
        )
        return call(request, self.backend)


def _of_charge_one(total: CentredSum, charges: Tensor) -> CentredSum:
    """Scale a sum over ``charges`` to one unit of charge on the plate."""
    return replace(total, m=total.m - math.log(len(charges)))

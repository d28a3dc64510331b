"""How far lines run from their charge before other charges bend them: there the tracing of a coupling begins.

Near a charge its own field, r^-D at distance r, is stronger than that of all others, and a line runs straight. With
many features it does so for a long way: at D = 768, among ten thousand charges, a perpendicular line rises straight to
four times the distance to the next charge. Evaluations on this part would find nothing but the straight line.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..field.request import working_dtype
from ..lines.geometry.places import Places
from ..processes import Processes
from .strips import Strips

_HIDDEN = 1e-6  # largest share of all other charges in the field on the straight part of a line
_LEAST = 0.1  # a start's distance from its charge at least, over the smaller of L and the nearest charge's distance


def straight(
    own: Tensor, other: Tensor, L: float, features: int, charges: int, *, perpendicular: bool
) -> Tensor:
    """The distance to which lines run straight from their charges, float64 [N], data units.

    On the straight part the field of all other charges is at most 1e-6 of the charge's own. With few features that
    part is short, and a tenth of the distance to the nearest charge is taken instead.

    Args:
        own: distance from each charge to the nearest other place of its plate, float64 [N]; inf for none.
        other: lateral distance to the nearest charge of the other plate, float64 [N].
        L: distance of the plates, data units.
        features: D.
        charges: number of charges on the plate that lines leave.
        perpendicular: whether lines leave at a right angle to the plate; else in any direction.
    """
    # each plate may add half of the share; its total charge is ``charges`` times the charge that the line leaves
    ratio = (_HIDDEN / (2.0 * charges)) ** (1.0 / features)
    if perpendicular:
        # r / sqrt(own^2 + r^2) = ratio, and r / sqrt(other^2 + (r - L)^2) = ratio
        rest, squared = 1.0 - ratio**2, ratio**2
        reach = own * (squared / rest) ** 0.5
        power = squared * (other.square() + L * L)
        reach = torch.minimum(reach, power / (squared * L + (squared**2 * L * L + rest * power).sqrt()))
    else:
        nearest = torch.minimum(own, (other.square() + L * L).sqrt())
        reach = nearest * ratio / (1.0 + ratio)  # r / (nearest - r) = ratio
    return torch.maximum(reach, _LEAST * own.clamp_max(L))


def gaps(charges: Tensor, opposite: Tensor, processes: Processes) -> tuple[Tensor, Tensor]:
    """From ``charges`` [N, D] to the nearest other place of their plate, and to the nearest of ``opposite`` [M, D].

    Lateral distances, float64 [N] each, data units; inf where all charges of the plate are at one place.
    """
    places = Places.of(charges).at
    dtype = working_dtype(charges, opposite)
    apart = Strips(charges, places, dtype, processes).near()[0]
    own = apart.masked_fill(apart == 0.0, torch.inf).amin(1).sqrt()
    return own, Strips(charges, opposite, dtype, processes).near()[0].amin(1).sqrt()

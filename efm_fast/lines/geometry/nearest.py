"""Distances from points to their nearest charges."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 24


def nearest_charges(points: Tensor, charges: Tensor, plate: float, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest charges of one plate, by direct differences.

    Args:
        points: (x, z), [N, D+1], data units.
        charges: [M, D], on the plate at height ``plate``.
        plate: height of the plate, data units.
        count: number of charges to find; if there are fewer, the rest are at infinity.

    Returns:
        Distances in rising order, [N, count], data units, and the charges' indices, int64.
    """
    found = min(count, len(charges))
    y = charges.to(points.dtype)
    distances, indices = [], []
    for block in points.split(max(1, _BLOCK_ELEMENTS // max(1, len(y)))):
        lateral = torch.cdist(block[:, :-1], y, compute_mode="donot_use_mm_for_euclid_dist")
        near = lateral.topk(found, dim=1, largest=False)
        distances.append(torch.hypot(near.values, (block[:, -1] - plate)[:, None]))
        indices.append(near.indices)
    distance, index = torch.cat(distances), torch.cat(indices)
    if found < count:
        missing = (len(points), count - found)
        distance = torch.cat([distance, distance.new_full(missing, torch.inf)], dim=1)
        index = torch.cat([index, index.new_full(missing, -1)], dim=1)
    return distance, index


def nearest_of_candidates(
    points: Tensor, charges: Tensor, plate: float, centre: Tensor, candidates: int = 4
) -> tuple[Tensor, Tensor]:
    """The nearest charge of one plate, chosen among a few that a matrix product finds; for points near one charge.

    Args:
        points: (x, z), [N, D+1], data units.
        charges: [M, D], on the plate at height ``plate``.
        plate: height of the plate, data units.
        centre: a point near the middle of the charges, [D].
        candidates: how many charges are compared by direct difference.

    Returns:
        Distance, [N], data units, and the charge's index, int64 [N].
    """
    x, y = points[:, :-1] - centre.to(points.dtype), charges.to(points.dtype) - centre.to(points.dtype)
    score = torch.addmm(y.square().sum(dim=1), x, y.T, alpha=-2.0)  # |x - y|^2 less |x|^2
    index = score.topk(min(candidates, len(y)), dim=1, largest=False).indices
    lateral = (points[:, None, :-1] - charges[index].to(points.dtype)).norm(dim=2)
    near, which = lateral.min(dim=1)
    return torch.hypot(near, points[:, -1] - plate), index.gather(1, which[:, None])[:, 0]

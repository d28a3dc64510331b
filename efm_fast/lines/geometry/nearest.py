"""Distances from points to their nearest charges, by direct differences."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 24


def nearest_charges(points: Tensor, charges: Tensor, plate: float, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest charges of one plate.

    Args:
        points: (x, z), [N, D+1], data units.
        charges: [M, D], on the plate at height ``plate``.
        plate: data units.
        count: how many; with fewer charges than that the rest are at infinity.

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

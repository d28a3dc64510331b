"""The distinct places of charges: data sets hold equal data, and a line ends at a place, whoever is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Types of charges that torch compares row by row.
_COMPARED = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.uint8,
    torch.int32,
    torch.int64,
)


@dataclass(frozen=True)
class Places:
    """Where charges are, each place once.

    Attributes:
        at: the places, [K, D], in the order of their first charges, data units; the charges themselves if all differ.
        first: index of the first charge at each place, int64 [K].
        count: charges at each place, int64 [K].
    """

    at: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, charges: Tensor) -> Places:
        """The places of ``charges`` [M, D]."""
        index = torch.arange(len(charges), device=charges.device)
        rows = charges if charges.dtype in _COMPARED else charges.double()
        _, place, count = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
        if len(count) == len(charges):
            return cls(charges, index, torch.ones_like(index))
        first, order = torch.full_like(count, len(charges)).scatter_reduce(0, place, index, "amin").sort()
        return cls(rows[first], first, count[order])

    def charge(self, place: Tensor) -> Tensor:
        """Index of the first charge at each of ``place``, int64 [N]; -1 where that is -1."""
        return torch.where(place < 0, -1, self.first[place.clamp_min(0)])

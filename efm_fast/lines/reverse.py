"""The field as seen from the minus plate, which carries Q back to P.

A line followed backward, dx/ds = -E_x and dz/ds = -E_z, rises in z' = L - z along (-E_x, E_z). That is the field of
a capacitor whose plates changed places: charges of the other sign, mirrored in the plane midway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..types import Field, PlatePosterior, Plates, PosteriorField
from .exact import ExactField
from .record import Lines

_OTHER = {"plus": "minus", "minus": "plus"}


@dataclass(frozen=True)
class Reversed:
    """Any field with its plates exchanged; satisfies :class:`efm_fast.types.PosteriorField`.

    Heights are z' = L - z. Its plate "plus", at z' = 0, is the minus plate of ``field``.

    Attributes:
        field: the field to look at from the other side.
    """

    field: Field

    @property
    def L(self) -> float:
        """Distance between the plates, data units."""
        return self.field.L

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """Direction of the mirrored field, any positive multiple, [N, D+1], at x [N, D] and heights z' [N]."""
        found = self.field.direction(x, self.L - z)
        return torch.cat([-found[:, :-1], found[:, -1:]], 1)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` of the mirrored capacitor lands, [N, D]; None if unknown.

        Raises:
            InputError: if ``plate`` is neither "plus" nor "minus".
        """
        return self.field.arrival(x, self.L - z, _OTHER[checks.choice("plate", plate, _OTHER)])

    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior | None:
        """Share and means of the exchanged plates; None if ``field`` has none."""
        if not isinstance(self.field, PosteriorField):
            return None
        found = self.field.posterior(x, self.L - z)
        if found is None:
            return None
        return PlatePosterior(1.0 - found.share_plus, found.mean_minus, found.mean_plus)


def reversed_field(field: Field) -> Field:
    """``field`` with its plates exchanged: a map from P to Q along it is the map from Q to P along ``field``.

    An exact field stays one, so the extension follows its lines as before.
    """
    if isinstance(field, Reversed):
        return field.field
    if isinstance(field, ExactField):
        plates = field.plates
        return dataclasses.replace(field, plates=Plates(plates.minus, plates.plus, plates.L))
    return Reversed(field)


def mirrored(lines: Lines, L: float) -> Lines:
    """Lines of a reversed field in the heights of the field itself, z = L - z'."""
    paths = lines.paths
    if paths is not None:
        paths = torch.cat([paths[..., :-1], L - paths[..., -1:]], -1)
    return dataclasses.replace(lines, end_z=L - lines.end_z, paths=paths)


def follow_from(field: Field, follow: Callable[[Field], Lines], *, reverse: bool) -> Lines:
    """The lines that ``follow`` traces from the plus plate of ``field``, or with ``reverse`` from its minus plate.

    Args:
        field: the field, its plates at z = 0 and z = L.
        follow: traces lines upward from the plate at height 0 of the field that it is given.
        reverse: whether the lines start on the minus plate: ``follow`` is then given the reversed field.

    Returns:
        The lines in the heights of ``field``.
    """
    return mirrored(follow(reversed_field(field)), field.L) if reverse else follow(field)

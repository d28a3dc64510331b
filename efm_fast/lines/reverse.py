"""The field with its plates exchanged, whose lines carry Q back to P.

A line that is followed backward, dx/ds = -E_x and dz/ds = -E_z, rises in z' = L - z along (-E_x, E_z). This is the
field of a capacitor with exchanged plates: charges of the opposite sign, mirrored in the middle plane.
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
        field: the field whose plates are exchanged.
    """

    field: Field

    @property
    def L(self) -> float:
        """Distance between the plates, data units."""
        return self.field.L

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """A positive multiple of the mirrored field, [N, D+1], at x [N, D] and heights z' [N]."""
        found = self.field.direction(x, self.L - z)
        return torch.cat([-found[:, :-1], found[:, -1:]], 1)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """The place where a line at (x, z') lands on ``plate`` of the mirrored capacitor, [N, D]; None if unknown.

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
    """``field`` with its plates exchanged. Its map from P to Q is the map from Q to P of ``field``.

    An exact field gives an exact field again, so that the extension can follow its lines.
    """
    if isinstance(field, Reversed):
        return field.field
    if isinstance(field, ExactField):
        plates = field.plates
        return dataclasses.replace(field, plates=Plates(plates.minus, plates.plus, plates.L))
    return Reversed(field)


def mirrored(lines: Lines, L: float) -> Lines:
    """Lines of a reversed field with their heights converted to those of the field, z = L - z'."""
    paths = lines.paths
    if paths is not None:
        paths = torch.cat([paths[..., :-1], L - paths[..., -1:]], -1)
    return dataclasses.replace(lines, end_z=L - lines.end_z, paths=paths)


def follow_from(field: Field, follow: Callable[[Field], Lines], *, reverse: bool) -> Lines:
    """The lines that ``follow`` traces from the plus plate of ``field``, or from its minus plate if ``reverse``.

    Args:
        field: the field, its plates at z = 0 and z = L.
        follow: traces lines upward from the plate at height 0 of the field that it is given.
        reverse: whether the lines start on the minus plate: ``follow`` is then given the reversed field.

    Returns:
        The lines in the heights of ``field``.
    """
    return mirrored(follow(reversed_field(field)), field.L) if reverse else follow(field)

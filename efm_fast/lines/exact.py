"""The exact field of two sets of charges, as a :class:`efm_fast.types.Field` that maps can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .. import checks
from ..field import capacitor_field, riesz_sum
from ..field.request import Precision
from ..types import Plates


@dataclass(frozen=True)
class ExactField:
    """The superposed Coulomb field of a capacitor's charges; satisfies :class:`efm_fast.types.Field`.

    Whether a row depends on the other rows depends on the backend: direct sums for small D compute rows independently;
    matrix products for large D round differently for another number of rows.

    Attributes:
        plates: the charges and the distance between the plates.
        backend: backend of the sums; "auto" chooses one.
        precision: precision of the sums.
    """

    plates: Plates
    backend: str = "auto"
    precision: Precision = "default"

    @property
    def L(self) -> float:
        """Distance between the plates, data units."""
        return self.plates.L

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """Unit direction of the field, [N, D+1], at features x [N, D] and heights z [N]."""
        field = capacitor_field(
            x,
            z,
            self.plates.plus,
            self.plates.minus,
            self.plates.L,
            backend=self.backend,
            precision=self.precision,
        )
        return field.direction

    def arrival(self, x: Tensor, z: Tensor, plate: Literal["plus", "minus"] | str) -> Tensor:
        """Posterior mean of the plate's charges under Coulomb weights, [N, D] in data units.

        Raises:
            InputError: if ``plate`` is neither "plus" nor "minus".
        """
        checks.choice("plate", plate, ("plus", "minus"))
        charges, at = (self.plates.plus, 0.0) if plate == "plus" else (self.plates.minus, self.plates.L)
        total = riesz_sum(
            x,
            charges,
            power=float(x.shape[1] + 1),
            height=(z - at).to(x.dtype),
            backend=self.backend,
            precision=self.precision,
        )
        return total.posterior_mean(x)

"""The field of both plates: their sums are superposed exactly, in log scale, and normalised once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import CapacitorField
from .distributed.sharding import Sharding, together
from .kernel import Riesz
from .logsum import CentredSum
from .request import Precision, SumRequest, centre_of
from .streaming import Charges, is_streamed, some_of
from .sums import Group, result_dtype, sum_and_charge
from .torch_op import watched

Normalization = Literal["superposition", "per_plate"]


@together
def capacitor_field(
    x: Tensor,
    z: Tensor,
    plus: Charges,
    minus: Charges,
    L: float,
    *,
    plus_weight: Tensor | None = None,
    minus_weight: Tensor | None = None,
    softening: float = 0.0,
    normalization: Normalization = "superposition",
    backend: str = "auto",
    precision: Precision = "default",
    progress: bool = False,
    group: Group = None,
) -> CapacitorField:
    """Direction and log norm of the Coulomb field between two charged plates (EFM, eq. 7).

    Args:
        x: features of the points, [N, D], data units.
        z: heights of the points, [N]; the plates lie at 0 and L.
        plus: positive charges on z = 0, [M, D]; in memory or streamed, see :func:`efm_fast.riesz_sum`.
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units, above 0.
        plus_weight: relative weights of the charges, [M], scaled to total charge 1; None means equal.
        minus_weight: the same for ``minus``, [M'].
        softening: r2 becomes r2 + softening^2; data units.
        normalization: "superposition" adds the fields of the two plates, as in physics. "per_plate" scales each plate's
            field to length one before it adds them, as the published code of the authors does. That is not a Coulomb
            field; it exists for comparison only.
        backend: see :func:`efm_fast.riesz_sum`.
        precision: see :func:`efm_fast.riesz_sum`.
        progress: see :func:`efm_fast.riesz_sum`.
        group: processes that share the sums, each with some of the charges; see :func:`efm_fast.kernel_sum`.

    Returns:
        CapacitorField: unit ``direction`` [N, D+1] in the dtype of x, z last; ``log_norm`` float64 [N].
        Exactly on a charge: direction 0 and log_norm +inf. Where the field vanishes: 0 and -inf. A point with a
        NaN in x or z has NaN for both, and a NaN among charges or weights spoils every row.

    Raises:
        InputError: an argument has the wrong type, shape, device or range; a plate has no charges, or weights that
            add up to 0.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    checks.tensor("x", x, ndim=2)
    checks.same_device("z", checks.tensor("z", z, ndim=1, rows=len(x)), x.device)
    L = checks.length("L", L)
    checks.choice("normalization", normalization, get_args(Normalization))
    sharding = None if group is None else Sharding.of(group)
    if sharding is not None:
        sharding.agree(streamed=[is_streamed(charges) for charges in (plus, minus)], D=x.shape[1])
    totals = [
        None if is_streamed(charges) else plate_charge(name, charges, weight, x, "x", sharding)  # type: ignore[arg-type]
        for name, charges, weight in (("plus", plus, plus_weight), ("minus", minus, minus_weight))
    ]
    centre, plus, minus = _centred(plus, minus, x, sharding)
    coulomb = Riesz(x.shape[1] + 1.0)
    asked = partial(SumRequest, kernel=coulomb, softening=softening, precision=precision, centre=centre)
    plates = []
    for name, charges, weight, height, known in (
        ("plus", plus, plus_weight, z, totals[0]),
        ("minus", minus, minus_weight, z.double() - L, totals[1]),
    ):
        # a stream becomes tensors when it is read
        request = asked(x, charges, weight=weight, height=height)  # type: ignore[arg-type]
        part, streamed = sum_and_charge(request, backend, progress, group)
        total = known if streamed is None else _not_zero(name, _of_all(streamed, sharding))
        plates.append(part.times(1.0 / torch.as_tensor(total, dtype=torch.float64, device=x.device)))
    superposition = _per_plate if normalization == "per_plate" else superposed
    field = superposition(plates[0], plates[1], x, z, L)
    return CapacitorField(field.direction.to(result_dtype(x, backend)), field.log_norm)


def _centred(
    plus: Charges, minus: Charges, x: Tensor, sharding: Sharding | None
) -> tuple[Tensor, Charges, Charges]:
    """The centre of both plates' charges on all processes, and the charges with the chunks put back that were read."""
    if plus is minus and isinstance(plus, Iterator):
        raise InputError("minus: expected charges of its own, got the iterator that plus is read from")
    some_plus, plus = some_of(plus, "plus")
    some_minus, minus = some_of(minus, "minus")
    centre = centre_of(some_plus, some_minus).to(x.device)
    if sharding is None:
        return centre, plus, minus
    count = len(some_plus) + len(some_minus)
    return sharding.centre(centre if count else x.new_zeros(x.shape[1]).float(), count), plus, minus


def plate_charge(
    name: str,
    charges: Tensor,
    weight: Tensor | None,
    points: Tensor,
    of: str,
    sharding: Sharding | None = None,
) -> float | Tensor:
    """Total weight of a plate's charges [M, D], checked against ``points`` [N, D], whose argument is called ``of``.

    With a ``sharding`` it is the total over all processes, of which some may have no charges.

    Raises:
        InputError: charges or weights are not such tensors, or cannot be scaled to charge 1.
    """
    checks.tensor(name, charges, ndim=2, columns=points.shape[1])
    checks.same_device(name, charges, points.device, of)
    if weight is not None:
        checks.tensor(f"{name}_weight", weight, ndim=1, rows=len(charges))
        checks.same_device(f"{name}_weight", weight, points.device, of)
    if sharding is not None:
        sharding.agree(**{f"{name}_weight": weight is not None})
    own = float(len(charges)) if weight is None else weight.double().sum()
    return _not_zero(name, _of_all(own, sharding))


def _of_all(own: float | Tensor, sharding: Sharding | None) -> float | Tensor:
    return own if sharding is None else sharding.total(own)


def _not_zero(name: str, total: float | Tensor) -> float | Tensor:
    """Return ``total`` unless it is 0. It has no value while a compiler or transform traces; a 0 then becomes NaN."""
    if (isinstance(total, float) or not watched(total)) and total == 0:
        raise InputError(
            f"{name}: expected charges whose weights do not add up to 0, got none or such that do"
        )
    return total


def superposed(plus: CentredSum, minus: CentredSum, x: Tensor, z: Tensor, L: float) -> CapacitorField:
    """E+ - E-: one sum over both plates, with E_z = W+ z - W- (z - L) = (W+ - W-) z + W- L."""
    both = plus.merge(-minus)
    vertical = both.w * z.double() + minus.weight_at(both.m) * L
    return normalised(both.m, both.whole(x).v, vertical)


def _per_plate(plus: CentredSum, minus: CentredSum, x: Tensor, z: Tensor, L: float) -> CapacitorField:
    """E+ / |E+| - E- / |E-|."""
    vectors = []
    for plate, height in ((plus, z.double()), (minus, z.double() - L)):
        vector = torch.cat([plate.whole(x).v, (plate.w * height).to(plate.rest.dtype)[:, None]], 1)
        vectors.append(vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True))
    vector = vectors[0] - vectors[1]
    return normalised(torch.zeros_like(plus.m), vector[:, :-1], vector[:, -1])


def normalised(m: Tensor, features: Tensor, vertical: Tensor) -> CapacitorField:
    """Direction and log norm of the field e^m (features, vertical)."""
    vector = torch.cat([features, vertical.to(features.dtype)[:, None]], 1)
    norm = torch.linalg.vector_norm(vector, dim=1, dtype=torch.float64)
    # a vanishing vector must not reach log and division: their NaN gradients would spread to every other row
    vanishes = norm == 0
    safe = torch.where(vanishes, 1.0, norm)
    log_norm = torch.where(vanishes, -torch.inf, m + torch.log(safe))
    log_norm = torch.where(m == torch.inf, torch.inf, log_norm)
    return CapacitorField(vector / safe[:, None].to(vector.dtype), log_norm)

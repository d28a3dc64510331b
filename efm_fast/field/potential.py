"""Potential and electrostatic energy: sums over charges with power D - 1.

In n = D + 1 dimensions a unit charge has the potential 1 / ((n - 2) r^(n - 2)), so that the field of
:func:`efm_fast.capacitor_field` is minus its gradient. Both leave out the factor 1 / S_{n-1} of Coulomb's law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from .capacitor import plate_charge
from .distributed.collectives import sum_of_all
from .distributed.sharding import Sharding, together
from .logsum import LogSum
from .request import Precision
from .sums import Group, riesz_sum


@dataclass(frozen=True)
class SignedLog:
    """Numbers of either sign that may be too large or small for floats: sign * exp(log_abs).

    Attributes:
        sign: -1, 0 or 1, float64.
        log_abs: log of the absolute value, float64; -inf for zero.
    """

    sign: Tensor
    log_abs: Tensor

    def value(self) -> Tensor:
        """The numbers in float64; infinite or zero where they leave its range."""
        return self.sign * torch.exp(self.log_abs)


@together
def potential(
    x: Tensor,
    y: Tensor,
    *,
    height: Tensor | float | None = None,
    weight: Tensor | None = None,
    softening: float = 0.0,
    first_self: int | None = None,
    backend: str = "auto",
    precision: Precision = "default",
    group: Group = None,
) -> SignedLog:
    """Coulomb potential sum_j q_j / ((D - 1) r_ij^(D - 1)) of charges on one plate, in log scale, [N].

    Args:
        x: features of the points, [N, D], D at least 2, data units.
        y: charges, [M, D].
        height: distance of each point from the charges' plate, [N] or one number, data units; None means 0.
        weight: charge weights of either sign, [M]; None means one each.
        softening: r2 becomes r2 + softening^2; data units.
        first_self: see :func:`efm_fast.riesz_sum`.
        backend: see :func:`efm_fast.riesz_sum`.
        precision: see :func:`efm_fast.riesz_sum`.
        group: processes that share the sum, each with some of the charges; see :func:`efm_fast.kernel_sum`.

    Returns:
        SignedLog: float64 [N]; +inf log on a charge.

    Raises:
        InputError: an argument has the wrong type, shape, device or range, or D is 1.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    total = riesz_sum(
        x,
        y,
        power=_power(x),
        height=height,
        weight=weight,
        softening=softening,
        first_self=first_self,
        backend=backend,
        precision=precision,
        group=group,
    )
    return _signed(total, x.shape[1])


@together
def capacitor_potential(
    x: Tensor,
    z: Tensor,
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    plus_weight: Tensor | None = None,
    minus_weight: Tensor | None = None,
    softening: float = 0.0,
    backend: str = "auto",
    precision: Precision = "default",
    group: Group = None,
) -> SignedLog:
    """Potential of two plates of charge 1 and -1. The field of ``capacitor_field`` is minus its gradient.

    Args:
        x: features of the points, [N, D], D at least 2, data units.
        z: heights of the points, [N], data units.
        plus: positive charges on z = 0, [M, D].
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units, above 0.
        plus_weight: relative weights of the charges, [M], scaled to total charge 1; None means equal.
        minus_weight: the same for ``minus``, [M'].
        softening: r2 becomes r2 + softening^2; data units.
        backend: see :func:`efm_fast.riesz_sum`.
        precision: see :func:`efm_fast.riesz_sum`.
        group: processes that share the sum, each with some of the charges; see :func:`efm_fast.kernel_sum`.

    Returns:
        SignedLog: float64 [N], positive near the plate at z = 0, negative near the one at z = L.

    Raises:
        InputError: an argument has the wrong type, shape, device or range; a plate has no charges, or weights that
            add up to 0.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    power = _power(x)
    checks.same_device("z", checks.tensor("z", z, ndim=1, rows=len(x)), x.device)
    L = checks.length("L", L)
    sharding = None if group is None else Sharding.of(group)
    plates = []
    for name, charges, weight, height in (
        ("plus", plus, plus_weight, z),
        ("minus", minus, minus_weight, z.double() - L),
    ):
        total = plate_charge(name, charges, weight, x, "x", sharding)
        part = riesz_sum(
            x,
            charges,
            power=power,
            weight=weight,
            height=height,
            softening=softening,
            backend=backend,
            precision=precision,
            group=group,
        )
        plates.append(part.times(1.0 / torch.as_tensor(total, dtype=torch.float64, device=x.device)))
    return _signed(plates[0].merge(-plates[1]), x.shape[1])


@together
def energy(
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    plus_weight: Tensor | None = None,
    minus_weight: Tensor | None = None,
    softening: float = 0.0,
    backend: str = "auto",
    precision: Precision = "default",
    group: Group = None,
) -> SignedLog:
    """Electrostatic energy of both plates' charges: the sum of q q' / ((D - 1) r^(D - 1)) over pairs.

    Args:
        plus: positive charges on z = 0, [M, D].
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units, above 0.
        plus_weight: relative weights of the charges, [M], scaled to total charge 1; None means equal.
        minus_weight: the same for ``minus``, [M'].
        softening: r2 becomes r2 + softening^2; data units.
        backend: see :func:`efm_fast.riesz_sum`.
        precision: see :func:`efm_fast.riesz_sum`.
        group: processes that share the sum, each with some of the charges; see :func:`efm_fast.kernel_sum`.

    Returns:
        SignedLog: one number, float64. Its log is +inf if two charges of one plate coincide and ``softening`` is 0.

    Raises:
        InputError: an argument has the wrong type, shape, device or range; a plate has no charges, or weights that
            add up to 0.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    L, power = checks.length("L", L), _power(plus, "plus")
    # the charges are also the points, so every process has points of its own
    sharding = None if group is None else replace(Sharding.of(group), points="sharded")
    options = {"softening": softening, "backend": backend, "precision": precision, "group": sharding}
    q_plus = _normalised("plus", plus, plus_weight, plus, sharding)
    q_minus = _normalised("minus", minus, minus_weight, plus, sharding)
    total = None
    for factor, points, q, charges, q_other, height in (
        (0.5, plus, q_plus, plus, q_plus, None),
        (0.5, minus, q_minus, minus, q_minus, None),
        (-1.0, plus, q_plus, minus, q_minus, L),
    ):
        first_self = 0 if points is charges else None
        part = riesz_sum(
            points,
            charges,
            power=power,
            weight=q_other,
            height=height,
            first_self=first_self,
            **options,  # type: ignore[arg-type]
        )
        term = part.over_points(factor * q)
        total = term if total is None else total.merge(term)
    assert total is not None
    if sharding is not None:
        total = sum_of_all(total, sharding.processes)
    one = _signed(total, plus.shape[1])
    return SignedLog(one.sign[0], one.log_abs[0])


def _power(x: Tensor, name: str = "x") -> float:
    checks.tensor(name, x, ndim=2)
    if x.shape[1] < 2:
        raise InputError(
            f"{name}: expected at least 2 features, for the potential of 1 is a logarithm, got shape {tuple(x.shape)}"
        )
    return float(x.shape[1] - 1)


def _normalised(
    name: str, charges: Tensor, weight: Tensor | None, plus: Tensor, sharding: Sharding | None
) -> Tensor:
    """Weights q_j scaled so that they add up to 1 over all processes; float64 [M]."""
    total = plate_charge(name, charges, weight, plus, "plus", sharding)
    if weight is None:
        return torch.full((len(charges),), 1.0 / float(total), dtype=torch.float64, device=charges.device)
    return weight.double() / total


def _signed(total: LogSum, d: int) -> SignedLog:
    return SignedLog(torch.sign(total.w.double()), total.log_weight() - math.log(d - 1))

"""Sums over charges in log scale, and the merge that makes one of two: its one home in Python.

A sum is kept as numbers that are to be multiplied by e^m, where m, the log scale of each point, is the largest log
kernel among the charges. Two sums over different charges merge: both are brought to the larger m, then added.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

_Sum = TypeVar("_Sum", bound="LogScaled")


def relative_weights(log_kernel: Tensor, charge: Tensor) -> tuple[Tensor, Tensor]:
    """The log scale m [N] of pairs [N, M], their largest l over charges of non-zero weight, and q e^(l - m) [N, M]."""
    log_kernel = torch.where(charge != 0, log_kernel, -torch.inf)
    m = log_kernel.amax(dim=1)
    return m, charge * _factor(log_kernel, m[:, None])


def _factor(own: Tensor, m: Tensor) -> Tensor:
    """e^(own - m) for a log scale ``own`` and a larger ``m``."""
    # equal infinities scale by one; a finite term beside +inf, or an empty one, by zero
    return torch.exp(torch.where(own == m, 0.0, own - m))


def _scaled(values: Tensor, factor: Tensor) -> Tensor:
    """``values`` times ``factor`` [N] row by row, in the dtype of ``values``."""
    factor = factor.to(values.dtype)
    return values * (factor if values.ndim == 1 else factor[:, None])


class LogScaled(ABC):
    """Numbers in units of e^m for each point: what :class:`LogSum` and :class:`CentredSum` have in common."""

    m: Tensor
    w: Tensor

    @abstractmethod
    def _parts(self) -> tuple[Tensor | None, ...]:
        """The numbers that e^m multiplies, [N] or [N, D] each; None for one that is not there."""

    @abstractmethod
    def _with(self: _Sum, m: Tensor, parts: Sequence[Tensor | None]) -> _Sum:
        """The same kind of sum with another log scale and other parts."""

    def merge(self: _Sum, other: _Sum) -> _Sum:
        """The sum over both sets of charges: rescale to the larger ``m``, then add."""
        m = torch.maximum(self.m, other.m)
        left, right = _factor(self.m, m), _factor(other.m, m)
        pairs = zip(self._parts(), other._parts(), strict=True)
        return self._with(
            m,
            [None if a is None or b is None else _scaled(a, left) + _scaled(b, right) for a, b in pairs],
        )

    def times(self: _Sum, factor: Tensor) -> _Sum:
        """The sum of charges ``factor`` times as large, float64 [], not 0: its size goes into the log scale."""
        size = factor.detach().abs()
        sign = factor / size  # 1 or -1, and the way of the gradient
        parts = [None if part is None else part * sign.to(part.dtype) for part in self._parts()]
        return self._with(self.m + torch.log(size), parts)

    def __neg__(self: _Sum) -> _Sum:
        return self._with(self.m, [None if part is None else -part for part in self._parts()])

    def weight_at(self, m: Tensor) -> Tensor:
        """The sum of weights in the log scale ``m`` [N], which is nowhere below its own; [N] in the dtype of w."""
        return _scaled(self.w, _factor(self.m, m))

    @staticmethod
    def rows(sums: Sequence[_Sum]) -> _Sum:
        """The sums at several blocks of points as one, in their order."""
        if len(sums) == 1:
            return sums[0]
        columns = zip(*(part._parts() for part in sums), strict=True)
        parts = [None if any(p is None for p in column) else torch.cat(column) for column in columns]
        return sums[0]._with(torch.cat([part.m for part in sums]), parts)


@dataclass(frozen=True)
class LogSum(LogScaled):
    """Sums over charges in log scale, a monoid under :meth:`merge`.

    With l_ij the log kernel between point i and charge j and q_j the charge weights,

        w_i e^{m_i} = sum_j q_j e^{l_ij},        v_i e^{m_i} = sum_j q_j e^{l_ij} (x_i - y_j).

    Attributes:
        m: log scale, float64 [N]; the largest l_ij over charges of non-zero weight. -inf where there is no
            charge, +inf where the point lies exactly on a charge (then w is that charge's weight and v is 0,
            the limit of the sums scaled by their largest term).
        w: scaled sum of weights, float [N], dimensionless.
        v: scaled sum of displacements, float [N, D], data units.
    """

    m: Tensor
    w: Tensor
    v: Tensor

    @classmethod
    def empty(cls, n: int, d: int, *, dtype: torch.dtype, device: torch.device | str) -> LogSum:
        """The sum over no charges: the neutral element of :meth:`merge`."""
        return cls(
            m=torch.full((n,), -torch.inf, dtype=torch.float64, device=device),
            w=torch.zeros(n, dtype=dtype, device=device),
            v=torch.zeros(n, d, dtype=dtype, device=device),
        )

    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.w, self.v

    def _with(self, m: Tensor, parts: Sequence[Tensor | None]) -> LogSum:
        return LogSum(m, *parts)  # type: ignore[arg-type]

    def to(self, dtype: torch.dtype) -> LogSum:
        """The same sum with w and v in another dtype."""
        return LogSum(self.m, self.w.to(dtype), self.v.to(dtype))

    def log_weight(self) -> Tensor:
        """log |sum_j q_j e^{l_ij}|, float64 [N]: the log potential up to the kernel's constant factor."""
        return self.m + torch.log(self.w.double().abs())

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the charges under weights q_j e^{l_ij}, [N, D] in data units: ``x - v / w``."""
        return x - self.v / self.w[:, None]

    def over_points(self, charge: Tensor) -> LogSum:
        """The sum over the points too, each of weight ``charge`` [N]; float64, one row."""
        if len(self.m) == 0:
            return LogSum.empty(1, self.v.shape[1], dtype=torch.float64, device=self.m.device)
        m = self.m.amax(0, keepdim=True)
        factor = charge * _factor(self.m, m)
        return LogSum(m, *(_scaled(part.double(), factor).sum(0, keepdim=True) for part in self._parts()))


#: The name that a sum had when there was only the Riesz kernel.
RieszSum = LogSum


@dataclass(frozen=True)
class CentredSum(LogScaled):
    """A :class:`LogSum` whose displacements are split about a centre c: v = along (x - c) + rest.

    Far from the charges all displacements are nearly x - c, and so are those of the other plate: in the difference of
    two plates the first part is one multiple of x - c, known to float64, and the second holds what the charges differ
    by. Whole displacements in float32 would leave |x - c| rounding errors of either plate there.

    Two sums that are merged are split about one centre, or neither is split.

    Attributes:
        m: log scale, float64 [N].
        w: scaled sum of weights, float64 [N].
        along: the multiple of x - c, float64 [N]; None where the displacements are whole.
        rest: the other displacements, [N, D], data units; float64 at precision="exact".
        centre: c, float32 [D], data units; None where the displacements are whole.
    """

    m: Tensor
    w: Tensor
    along: Tensor | None
    rest: Tensor
    centre: Tensor | None

    @classmethod
    def of(cls, total: LogSum, w: Tensor | None = None) -> CentredSum:
        """A sum with whole displacements; ``w`` are its weights where they are known to more digits."""
        return cls(total.m, total.w.double() if w is None else w, None, total.v, None)

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.w, self.along, self.rest

    def _with(self, m: Tensor, parts: Sequence[Tensor | None]) -> CentredSum:
        w, along, rest = parts
        return CentredSum(m, w, along, rest, self.centre)  # type: ignore[arg-type]

    def whole(self, x: Tensor) -> LogSum:
        """The same sum with whole displacements, in the dtype of ``rest``, at the points x [N, D] it was taken at."""
        w = self.w.to(self.rest.dtype)
        if self.along is None or self.centre is None:
            return LogSum(self.m, w, self.rest)
        # constants to autograd: the displacements' gradient comes in through the rest, see efm_fast.field.torch_op
        apart = (x.to(self.rest.dtype) - self.centre).detach()
        return LogSum(self.m, w, torch.addcmul(self.rest, self.along.to(apart.dtype)[:, None], apart))

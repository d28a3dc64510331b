"""Sums over charges in log scale, and the merge of two such sums into one.

A sum is stored as numbers in units of e^m. The log scale m of a point is the largest log kernel among the charges. Two
sums over different charges merge: both are rescaled to the larger m, and added.
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
    # equal infinities scale by one; a finite sum beside +inf, and an empty sum, scale by zero
    return torch.exp(torch.where(own == m, 0.0, own - m))


def _scaled(values: Tensor, factor: Tensor) -> Tensor:
    """``values`` times ``factor`` [N] row by row, in the dtype of ``values``."""
    factor = factor.to(values.dtype)
    return values * (factor if values.ndim == 1 else factor[:, None])


class LogScaled(ABC):
    """Numbers in units of e^m for each point: the base class of :class:`LogSum` and :class:`CentredSum`."""

    m: Tensor
    w: Tensor

    @abstractmethod
    def _parts(self) -> tuple[Tensor | None, ...]:
        """The numbers in units of e^m, [N] or [N, D] each; None for a missing one."""

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
        """The sum of charges ``factor`` times as large, float64 [], not 0; its size goes into the log scale."""
        size = factor.detach().abs()
        sign = factor / size  # 1 or -1; the gradient of ``factor`` flows through it
        parts = [None if part is None else part * sign.to(part.dtype) for part in self._parts()]
        return self._with(self.m + torch.log(size), parts)

    def __neg__(self: _Sum) -> _Sum:
        return self._with(self.m, [None if part is None else -part for part in self._parts()])

    def weight_at(self, m: Tensor) -> Tensor:
        """The sum of weights in units of e^m for a log scale ``m`` [N] not below its own; [N] in the dtype of w."""
        return _scaled(self.w, _factor(self.m, m))

    @staticmethod
    def rows(sums: Sequence[_Sum]) -> _Sum:
        """The sums at several blocks of points, joined in their order."""
        if len(sums) == 1:
            return sums[0]
        columns = zip(*(part._parts() for part in sums), strict=True)
        parts = [None if any(p is None for p in column) else torch.cat(column) for column in columns]
        return sums[0]._with(torch.cat([part.m for part in sums]), parts)


@dataclass(frozen=True)
class LogSum(LogScaled):
    """Sums over charges in log scale. Two of them over different charges :meth:`merge` into one.

    With l_ij the log kernel between point i and charge j and q_j the charge weights,

        w_i e^{m_i} = sum_j q_j e^{l_ij},        v_i e^{m_i} = sum_j q_j e^{l_ij} (x_i - y_j).

    Attributes:
        m: log scale, float64 [N]: the largest l_ij over charges of non-zero weight. It is -inf without charges, and
            +inf if the point lies exactly on a charge. Then w is the weight of that charge and v is 0, the limit of
            the sums relative to their largest term.
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
        """log |sum_j q_j e^{l_ij}|, float64 [N]: the log of the potential, up to a constant factor of the kernel."""
        return self.m + torch.log(self.w.double().abs())

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the charges under weights q_j e^{l_ij}, [N, D] in data units: ``x - v / w``."""
        return x - self.v / self.w[:, None]

    def over_points(self, charge: Tensor) -> LogSum:
        """The sum over both charges and points, with point weights ``charge`` [N]; float64, one row."""
        if len(self.m) == 0:
            return LogSum.empty(1, self.v.shape[1], dtype=torch.float64, device=self.m.device)
        m = self.m.amax(0, keepdim=True)
        factor = charge * _factor(self.m, m)
        return LogSum(m, *(_scaled(part.double(), factor).sum(0, keepdim=True) for part in self._parts()))


#: The older name of LogSum, from when there was only the Riesz kernel.
RieszSum = LogSum


@dataclass(frozen=True)
class CentredSum(LogScaled):
    """A :class:`LogSum` whose displacements are split about a centre c: v = along (x - c) + rest.

    Far from the charges all displacements, also those of the other plate, are nearly x - c. In the difference of two
    plates the first part is a multiple of x - c, known in float64, and the second part holds the differences between
    the charges. Displacements that are not split would leave rounding errors of the size of |x - c| in float32.

    Sums that are merged must be split about the same centre, or not at all.

    Attributes:
        m: log scale, float64 [N].
        w: scaled sum of weights, float64 [N].
        along: the factor of x - c, float64 [N]; None if displacements are not split.
        rest: the rest of the displacements, [N, D], data units; float64 with precision="exact".
        centre: c, float32 [D], data units; None if displacements are not split.
    """

    m: Tensor
    w: Tensor
    along: Tensor | None
    rest: Tensor
    centre: Tensor | None

    @classmethod
    def of(cls, total: LogSum, w: Tensor | None = None) -> CentredSum:
        """A sum without split displacements; ``w`` are its weights if they are known to more digits."""
        return cls(total.m, total.w.double() if w is None else w, None, total.v, None)

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.w, self.along, self.rest

    def _with(self, m: Tensor, parts: Sequence[Tensor | None]) -> CentredSum:
        w, along, rest = parts
        return CentredSum(m, w, along, rest, self.centre)  # type: ignore[arg-type]

    def whole(self, x: Tensor) -> LogSum:
        """The same sum without split displacements, in the dtype of ``rest``; x [N, D] are its points."""
        w = self.w.to(self.rest.dtype)
        if self.along is None or self.centre is None:
            return LogSum(self.m, w, self.rest)
        # constants for autograd: the gradient of displacements flows through ``rest``, see efm_fast.field.torch_op
        apart = (x.to(self.rest.dtype) - self.centre).detach()
        return LogSum(self.m, w, torch.addcmul(self.rest, self.along.to(apart.dtype)[:, None], apart))

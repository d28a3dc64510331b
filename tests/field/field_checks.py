"""Checks that the tests of the field share."""

from __future__ import annotations

import torch
from torch import Tensor

from efm_fast.field import backends
from efm_fast.field.kernel import Riesz
from efm_fast.field.logsum import LogSum
from efm_fast.field.request import SumRequest
from efm_fast.types import CapacitorField


def serving_backends(d: int = 2, dtype: torch.dtype = torch.float32) -> list[str]:
    """Names of the backends that serve a plain sum in ``d`` dimensions on the CPU here."""
    request = SumRequest(
        torch.zeros(1, d, dtype=dtype), torch.zeros(1, d, dtype=dtype), kernel=Riesz(d + 1.0)
    )
    return [row.name for row in backends.TABLE if row.why_not(request) is None]


def cases(*dimensions: int, but: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Pairs (backend, d) that are served here, without the backends in ``but``."""
    return [(name, d) for d in dimensions for name in serving_backends(d) if name not in but]


def unscaled(total: LogSum) -> Tensor:
    """(w, v) with the log scale multiplied in, float64 [N, 1 + D]; only for sums that float64 can hold."""
    factor = torch.exp(total.m)[:, None]
    return factor * torch.cat([total.w[:, None], total.v], 1).double()


def assert_field_close(got: CapacitorField, want: CapacitorField, direction: float, log_norm: float) -> None:
    """Largest direction error, a bias bound that outliers cannot hide, and log|E|."""
    error = got.direction.double() - want.direction.double()
    worst = torch.linalg.vector_norm(error, dim=1).max().item()
    assert worst <= direction, f"direction off by {worst:.2e}, allowed {direction:.0e}"
    bias = error.mean(0).norm().item()
    assert bias <= direction / 2, f"direction biased by {bias:.2e}"
    off = (got.log_norm - want.log_norm).abs().max().item()
    assert off <= log_norm, f"log norm off by {off:.2e}, allowed {log_norm:.0e}"


def assert_sum_close(got: LogSum, want: LogSum, rtol: float, size: float = 1.0) -> None:
    """Two sums agree whatever their log scales; ``size`` is the length that errors of v are relative to."""
    assert torch.equal(torch.isposinf(got.m), torch.isposinf(want.m))
    scale = torch.maximum(got.m, want.m)
    rows = []
    for total in (got, want):
        shift = torch.where(total.m == scale, 0.0, total.m - scale)
        weights, moments = total.w.double(), total.v.double() / size
        rows.append(torch.exp(shift)[:, None] * torch.cat([weights[:, None], moments], 1))
    torch.testing.assert_close(rows[0], rows[1], rtol=rtol, atol=rtol)

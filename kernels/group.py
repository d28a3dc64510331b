"""What the matrix-product regimes share: rows in bfloat16 parts, and some points on their pass over all charges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .merge import merge_splits
from .platform import INTERPRET, LAUNCH, PART_DTYPE
from .request import Call
from .rescore import rescore_marked
from .split import row_limits, split_rows
from .weights import ABSENT, BIG

#: Rounding of r2 in a split-precision product, relative to |x|^2 + max |y|^2 (centred): about the median.
ROUNDING = 1e-6
#: A pair whose share of its row's weight exceeds this is added by direct difference.
HEAVY = 1.0 / 64.0


@dataclass(frozen=True)
class Parts:
    """Rows in bfloat16 parts: high and low [rows, width] (low None where high is exact) and their squared norms.

    ``largest`` holds the largest of the norms of each program that wrote them.
    """

    high: Tensor
    low: Tensor | None
    norm2: Tensor
    largest: Tensor

    @staticmethod
    def empty(rows: int, width: int, device: torch.device, *, low: bool, wide: bool) -> Parts:
        """Room for ``rows`` x ``width``; norms in float64 if ``wide``."""
        programs = rows // _rows_together(rows, width)
        return Parts(
            torch.empty(rows, width, dtype=PART_DTYPE, device=device),
            torch.empty(rows, width, dtype=PART_DTYPE, device=device) if low else None,
            torch.empty(rows, dtype=torch.float64 if wide else torch.float32, device=device),
            torch.empty(programs, dtype=torch.float32, device=device),
        )

    def fill(self, source: Tensor, centre: Tensor, q: Tensor | None) -> None:
        """Take the rows ``source - centre``, padded to this size; those of weight 0 in ``q`` are absent."""
        rows, width = self.high.shape
        together = _rows_together(rows, width)
        split_rows[(rows // together,)](
            source, centre, q, self.high, self.low, self.norm2, self.largest, len(source), source.shape[1], width,
            HAS_Q=q is not None, HAS_LOW=self.low is not None, WIDE=self.norm2.dtype == torch.float64,
            EMULATED=INTERPRET, ROWS=together, BLOCK=_block(width), num_warps=4, **LAUNCH,
        )  # fmt: skip


def _block(width: int) -> int:
    return min(1024, triton.next_power_of_2(width))


def _rows_together(rows: int, width: int) -> int:
    """Rows of one program of split_rows; more in the interpreter, which pays per program."""
    return min(rows, 64 if INTERPRET else max(1, 2048 // _block(width)))


class Group:
    """Some points on their pass over all charges: what is fixed, and the sums so far.

    Attributes:
        points: the points in parts, padded to a multiple of ``tile`` rows.
        c: a row's own part of r2, |x|^2 + height^2 + softening^2, float32 [rows]; 1 in padding rows.
        totals: sums of weights, float64 [count + 1, rows]; the last of pairs added by direct difference.
        sums: weights x centred charges, [count, rows, width].
        v: displacements of the pairs added by direct difference, [n, D]: the result's own memory.
    """

    def __init__(
        self,
        call: Call,
        rows: slice,
        centre: Tensor,
        width: int,
        tile: int,
        count: int,
        v: Tensor,
        *,
        low: bool,
    ) -> None:
        self.call, self.first, self.centre, self.width, self.count, self.v = (
            call,
            rows.start,
            centre,
            width,
            count,
            v,
        )
        self.tile = tile
        self.x = call.x[rows]
        self.n = len(self.x)
        self.rows = triton.cdiv(self.n, tile) * tile
        device = call.x.device
        self.base = torch.full((self.n,), call.softening2, dtype=torch.float64, device=device)
        if call.height is not None:
            self.base += call.height[rows].double() ** 2
        self.points = Parts.empty(self.rows, width, device, low=low, wide=True)
        self.points.fill(self.x, centre, None)
        self.constant = self.points.norm2.clone()
        self.constant[: self.n] += self.base
        self.c = torch.where(self.points.norm2 < ABSENT.value, self.constant, 1.0).float()
        self.near, self.doubtful = torch.empty_like(self.c), torch.empty_like(self.c)
        self.totals = torch.zeros(count + 1, self.rows, dtype=torch.float64, device=device)
        self.sums = torch.zeros(count, self.rows, width, device=device)
        self.exact_pivot = torch.full((self.rows,), BIG.value, dtype=torch.float64, device=device)

    def pivots(self, count: int) -> Tensor:
        """Pivots before the first charge, float32 [count, rows]; so near in padding rows that nothing matters there."""
        pivots = torch.full((count, self.rows), BIG.value, device=self.c.device)
        pivots[:, self.n :] = -1.0 + 2.0**-20
        return pivots

    def unsigned(self, count: int) -> Tensor:
        """Sums of weights' sizes before the first charge, [count, rows]; so large in padding rows that none matters."""
        unsigned = torch.zeros(count, self.rows, device=self.c.device)
        unsigned[:, self.n :] = BIG.value
        return unsigned

    def limit(self, charges: Parts) -> None:
        """Set ``near`` and ``doubtful`` for a chunk of charges, see :func:`split.row_limits`."""
        block = min(128, self.tile)
        row_limits[(self.rows // block,)](
            self.points.norm2, self.c, charges.largest, self.near, self.doubtful, len(charges.largest), ROUNDING,
            self.call.rate, KIND=self.call.kind, FAST=self.call.precision == "fast", BLOCK_N=block, BLOCK=1024,
            num_warps=4, **LAUNCH,
        )  # fmt: skip

    @property
    def heavy(self) -> float:
        """Share of a row's weight above which a pair is marked; above 1 none is."""
        return 2.0 if self.call.precision == "fast" else HEAVY

    def rescore(self, y: Tensor, q: Tensor | None, marks: Tensor, first: int, n: int) -> None:
        """Add the marked pairs of ``n`` points from ``first`` (of this group) on."""
        if n <= 0:
            return
        block = min(2048, triton.next_power_of_2(self.call.d))
        rescore_marked[(n,)](
            self.x[first:], y, q, self.base[first:], marks, self.exact_pivot[first:],
            self.totals[self.count, first:], self.v[first:], self.call.d, self.call.d, marks.shape[1], marks.shape[1],
            0, self.call.rate, KIND=self.call.kind, HAS_Q=q is not None, HAS_SELF=False, ONE_BLOCK=block >= self.call.d,
            BLOCK=block, WORDS=128, num_warps=1 if block <= 256 else 4, **LAUNCH,
        )  # fmt: skip

    def finish(self, pivots: Tensor, m: Tensor, w: Tensor) -> None:
        """Merge everything into m, w and v; ``pivots`` [count, rows] are float32 and lack the row's constant."""
        own = torch.where(pivots < ABSENT.value, pivots.double() + self.constant, BIG.value)
        pivots64 = torch.cat([own, self.exact_pivot[None]])
        block_d = min(64, triton.next_power_of_2(self.call.d))
        block_n = 32
        grid = (triton.cdiv(self.n, block_n), triton.cdiv(self.call.d, block_d))
        merge_splits[grid](
            self.x, self.centre, pivots64, pivots64, self.totals, self.sums, m, w, self.v, self.n, self.call.d,
            self.rows, self.width, self.count, self.call.rate, KIND=self.call.kind, MOMENTS=True, BLOCK_N=block_n,
            BLOCK_D=block_d, num_warps=4, **LAUNCH,
        )  # fmt: skip

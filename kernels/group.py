"""Classes for the regimes with matrix products: rows in bfloat16 parts, and a group of points in its pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from . import plan
from .kernel import ABSENT, BIG
from .merge import merge_splits
from .platform import INTERPRET, LAUNCH, PART_DTYPE
from .repeat import Repeated
from .request import Request, Sums
from .rescore import rescore_marked
from .split import split_rows

#: Typical rounding error of r2 in a split-precision product, relative to |x|^2 + max |y|^2 (centred): about the median.
ROUNDING = 1e-6
#: A pair whose share of its row's weight exceeds this is added by direct difference.
HEAVY = 1.0 / 64.0
#: The largest number of charges whose mean is taken as the centre, and their largest size in bytes.
SAMPLE, SAMPLE_BYTES = 4096, 8 << 20
#: A charge cannot matter whose share of a row's weight is below this divided by the number of charges.
NEGLIGIBLE = 2.0**-24


def centre_of(y: Tensor) -> Tensor:
    """A float32 centre [D] near the charges' mean; whole numbers for bytes, so that they stay exact in bfloat16."""
    count = max(1, min(SAMPLE, SAMPLE_BYTES // (4 * y.shape[1])))
    mean = y[:: max(1, len(y) // count)].float().mean(0)
    return mean.round() if y.dtype == torch.uint8 else mean


def by_groups(request: Request, width: int, serve: Callable[[Request, slice, Tensor, Sums], None]) -> Sums:
    """Sum one group of points after the other; the workspace is that of :mod:`plan`.

    Args:
        request: the sum.
        width: features after padding.
        serve: fills the sums of some points, given their rows, the centre of the charges, and sums whose v is 0.
    """
    out = Sums.room(request.n, request.d, request.x.device)
    out.v.zero_()
    centre = centre_of(request.y)
    size = plan.group_rows(request.n, width)
    for first in range(0, request.n, size):
        rows = slice(first, min(first + size, request.n))
        serve(request, rows, centre, out.of(rows))
    return out


@dataclass(frozen=True)
class Parts:
    """Rows in bfloat16 parts: high and low [rows, width] and their squared norms. ``low`` is None if high is exact.

    ``largest`` holds the largest norm of each program that wrote them.
    """

    high: Tensor
    low: Tensor | None
    norm2: Tensor
    largest: Tensor

    @staticmethod
    def empty(rows: int, width: int, device: torch.device, *, low: bool, wide: bool) -> Parts:
        """Memory for ``rows`` x ``width`` numbers; norms are float64 if ``wide``."""
        programs = rows // _rows_together(rows, width)
        return Parts(
            torch.empty(rows, width, dtype=PART_DTYPE, device=device),
            torch.empty(rows, width, dtype=PART_DTYPE, device=device) if low else None,
            torch.empty(rows, dtype=torch.float64 if wide else torch.float32, device=device),
            torch.empty(programs, dtype=torch.float32, device=device),
        )

    def filling(self, centre: Tensor, *, weighted: bool, step: int = 1) -> Repeated:
        """The launch that stores every ``step``-th row of a source less ``centre``.

        It is given the ``source``, how many ``rows`` to take, and their weights ``q`` if ``weighted``, otherwise None.
        Rows of weight 0 become absent.
        """
        rows, width = self.high.shape
        together = _rows_together(rows, width)
        return Repeated(
            split_rows, (rows // together,), {"num_warps": 4},
            centre=centre, high=self.high, low=self.low, norm2=self.norm2, largest=self.largest, step=step,
            D=len(centre), width=width, HAS_Q=weighted, HAS_LOW=self.low is not None,
            WIDE=self.norm2.dtype == torch.float64, EMULATED=INTERPRET, ROWS=together, BLOCK=_block(width),
        )  # fmt: skip

    def fill(self, source: Tensor, centre: Tensor, q: Tensor | None, step: int = 1) -> None:
        """Store every ``step``-th row of ``source - centre``, as many as fit; rows of weight 0 are absent."""
        rows = min(len(self.high), triton.cdiv(len(source), step))
        self.filling(centre, weighted=q is not None, step=step)(source=source, q=q, rows=rows)


def _block(width: int) -> int:
    return min(1024, triton.next_power_of_2(width))


def _rows_together(rows: int, width: int) -> int:
    """Rows of one program of split_rows; more in the interpreter, whose cost is per program."""
    return min(rows, 64 if INTERPRET else max(1, 2048 // _block(width)))


class Group:
    """A group of points in its pass over all charges: the points, and their sums so far.

    Attributes:
        points: the points in parts, padded to a multiple of ``tile`` rows.
        c: the part of r2 that all pairs of a row share, |x|^2 + height^2 + softening^2, float32 [rows]; 1 in padding
            rows.
        totals: sums of weights, float64 [count + 1, rows]; the last row is for pairs added by direct difference.
        sums: weights x centred charges, [count, rows, width].
        v: displacements of the pairs added by direct difference, [n, D], in the memory of the result.
    """

    def __init__(
        self, request: Request, rows: slice, centre: Tensor, width: int, tile: int, count: int, v: Tensor
    ) -> None:
        self.request, self.first, self.centre, self.v = request, rows.start, centre, v
        self.width, self.tile, self.count = width, tile, count
        self.x = request.x[rows]
        self.n = len(self.x)
        self.rows = triton.cdiv(self.n, tile) * tile
        self.base = request.base(rows)
        device = request.x.device
        low = not request.rounded_points
        self.points = Parts.empty(self.rows, width, device, low=low, wide=True)
        self.points.fill(self.x, centre, None)
        self.constant = self.points.norm2.clone()
        self.constant[: self.n] += self.base
        self.c = torch.where(self.points.norm2 < ABSENT.value, self.constant, 1.0).float()
        self.totals = torch.zeros(count + 1, self.rows, dtype=torch.float64, device=device)
        self.sums = torch.zeros(count, self.rows, width, device=device)
        self.exact_pivot = torch.full((self.rows,), BIG.value, dtype=torch.float64, device=device)

    def pivots(self, count: int) -> Tensor:
        """Pivots before the first charge, float32 [count, rows]; in padding rows so small that no charge matters."""
        pivots = torch.full((count, self.rows), BIG.value, device=self.c.device)
        pivots[:, self.n :] = -1.0 + 2.0**-20
        return pivots

    def unsigned(self, count: int) -> Tensor:
        """Sums of weight sizes before the first charge, [count, rows]; so large in padding rows that none matters."""
        unsigned = torch.zeros(count, self.rows, device=self.c.device)
        unsigned[:, self.n :] = BIG.value
        return unsigned

    @property
    def heavy(self) -> float:
        """Share of a row's weight above which a pair is marked; no pair is marked if it is above 1."""
        return 2.0 if self.request.precision == "fast" else HEAVY

    def rescoring(self, marks: Tensor, first: int, n: int) -> Repeated:
        """The launch that adds marked pairs of ``n`` points from ``first`` on, given charges ``y`` of weights ``q``."""
        d, form = self.request.d, self.request.form
        block = min(2048, triton.next_power_of_2(d))
        return Repeated(
            rescore_marked, (n,), {"num_warps": 1 if block <= 256 else 4},
            x=self.x[first:], base=self.base[first:], marks=marks, pivots=self.exact_pivot[first:],
            totals=self.totals[self.count, first:], sums=self.v[first:], D=d, width=d, words=marks.shape[1],
            per_split=marks.shape[1], mark_stride=marks.shape[1], self_offset=0, rate=form.rate, second=form.second,
            KIND=form.kind, HAS_Q=self.request.weight is not None, HAS_SELF=False, EXACT=False, ONE_BLOCK=block >= d,
            BLOCK=block, WORDS=128,
        )  # fmt: skip

    def finish(self, pivots: Tensor, out: Sums) -> None:
        """Merge all sums into ``out``; ``pivots`` [count, rows] are float32 and do not include ``c``."""
        own = torch.where(pivots < ABSENT.value, pivots.double() + self.constant, BIG.value)
        pivots64 = torch.cat([own, self.exact_pivot[None]])
        d, form = self.request.d, self.request.form
        block_d = min(64, triton.next_power_of_2(d))
        block_n = 32
        merge_splits[(triton.cdiv(self.n, block_n), triton.cdiv(d, block_d))](
            x=self.x, centre=self.centre, nearest=pivots64, pivots=pivots64, totals=self.totals, sums=self.sums,
            m=out.m, w=out.w, v=out.v, N=self.n, D=d, rows=self.rows, width=self.width, splits=self.count,
            rate=form.rate, second=form.second, KIND=form.kind, MOMENTS=True, BLOCK_N=block_n, BLOCK_D=block_d,
            num_warps=4, **LAUNCH,
        )  # fmt: skip

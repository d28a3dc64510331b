"""Launchers for more than a few features: distances by matrix product, doubtful pairs by direct difference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from . import plan
from .chunked import combine, distances, weights_of_rows
from .fused import sum_fused
from .merge import merge_splits
from .platform import INTERPRET, LAUNCH, PART_DTYPE, processors, shape_index
from .request import Call
from .rescore import rescore_marked
from .split import split_rows
from .weights import ABSENT, BIG, GAUSSIAN

#: Rounding of r2 in a split-precision product, relative to |x|^2 + max |y|^2 (centred): about the median.
ROUNDING = 1e-6
#: A pair whose share of its row's weight exceeds this is added by direct difference.
HEAVY = 1.0 / 64.0
#: Rows of one program of weights_of_rows; more in the interpreter, which pays per program.
ROWS_OF_WEIGHTS = 64 if INTERPRET else 1
#: Charges whose mean stands for the centre.
SAMPLE = 4096


@dataclass(frozen=True)
class Parts:
    """Rows in bfloat16 parts: high and low [rows, width] (low None where high is exact) and their squared norms."""

    high: Tensor
    low: Tensor | None
    norm2: Tensor


def centre_of(y: Tensor) -> Tensor:
    """A float32 centre [D] near the charges' mean; whole numbers for bytes, so that they stay exact in bfloat16."""
    mean = y[:: max(1, len(y) // SAMPLE)].float().mean(0)
    return mean.round() if y.dtype == torch.uint8 else mean


def split(
    source: Tensor, centre: Tensor, q: Tensor | None, rows: int, width: int, *, low: bool, wide: bool
) -> Parts:
    """``source - centre`` in bfloat16 parts, padded to ``rows`` x ``width``; norms in float64 if ``wide``."""
    device = source.device
    parts = Parts(
        torch.empty(rows, width, dtype=PART_DTYPE, device=device),
        torch.empty(rows, width, dtype=PART_DTYPE, device=device) if low else None,
        torch.empty(rows, dtype=torch.float64 if wide else torch.float32, device=device),
    )
    block = min(1024, triton.next_power_of_2(width))
    together = 64 if INTERPRET else max(1, 2048 // block)
    split_rows[(rows // together,)](
        source, centre, q, parts.high, parts.low, parts.norm2, len(source), source.shape[1], width,
        HAS_Q=q is not None, HAS_LOW=low, WIDE=wide, EMULATED=INTERPRET, ROWS=together,
        BLOCK=block, num_warps=4, **LAUNCH,
    )  # fmt: skip
    return parts


class Group:
    """Some points on their pass over all charges: what is fixed, and the sums so far.

    The last of ``count + 1`` slots of totals and sums belongs to the pairs that are added by direct difference.
    """

    def __init__(self, call: Call, rows: slice, centre: Tensor, width: int, count: int, *, low: bool) -> None:
        self.call, self.first, self.centre, self.width, self.count = call, rows.start, centre, width, count
        self.x = call.x[rows]
        self.n = len(self.x)
        self.rows = triton.cdiv(self.n, plan.ROWS) * plan.ROWS
        device = call.x.device
        self.base = torch.full((self.n,), call.softening2, dtype=torch.float64, device=device)
        if call.height is not None:
            self.base += call.height[rows].double() ** 2
        self.points = split(self.x, centre, None, self.rows, width, low=low, wide=True)
        self.constant = self.points.norm2.clone()
        self.constant[: self.n] += self.base
        self.c = torch.where(self.points.norm2 < ABSENT.value, self.constant, 1.0).float()
        self.totals = torch.zeros(count + 1, self.rows, device=device)
        self.sums = torch.zeros(count + 1, self.rows, width, device=device)
        self.exact_pivot = torch.full((self.rows,), BIG.value, dtype=torch.float64, device=device)

    def limits(self, norm2: Tensor) -> tuple[Tensor, Tensor]:
        """``near`` and ``doubtful`` of :func:`fused.weigh` for a chunk of charges with these norms, [rows] each."""
        call = self.call
        largest = torch.where(norm2 < ABSENT.value, norm2, 0.0).amax()
        rounding = ROUNDING * (self.points.norm2.float() + largest)
        if call.kind == GAUSSIAN.value:
            bad = rounding * call.rate > 1e-4
            doubtful = torch.where(bad & (call.precision != "fast"), BIG.value, -BIG.value)
            return torch.full_like(rounding, -BIG.value), doubtful
        unseen = 4.0 * call.rate * rounding
        near = unseen - self.c
        if call.precision == "fast":
            return near, torch.full_like(near, -BIG.value)
        return near, 64.0 * unseen - self.c

    @property
    def heavy(self) -> float:
        """Share of a row's weight above which a pair is marked; above 1 none is."""
        return 2.0 if self.call.precision == "fast" else HEAVY

    def rescore(self, y: Tensor, q: Tensor | None, marks: Tensor, first: int, n: int) -> None:
        """Add the marked pairs of ``n`` points from ``first`` (of this group) on."""
        block = min(2048, triton.next_power_of_2(self.call.d))
        rescore_marked[(n,)](
            self.x[first:], y, q, self.base[first:], marks, self.exact_pivot[first:],
            self.totals[self.count, first:], self.sums[self.count, first:], self.call.d, self.width,
            marks.shape[1], marks.shape[1], 0, self.call.rate, KIND=self.call.kind, HAS_Q=q is not None, HAS_SELF=False,
            ONE_BLOCK=block >= self.call.d, BLOCK=block, WORDS=128, num_warps=1 if block <= 256 else 4, **LAUNCH,
        )  # fmt: skip

    def finish(self, pivots: Tensor, m: Tensor, w: Tensor, v: Tensor) -> None:
        """Merge everything; ``pivots`` [count, rows] are float32 and lack the row's constant."""
        own = torch.where(pivots < ABSENT.value, pivots.double() + self.constant, BIG.value)
        pivots64 = torch.cat([own, self.exact_pivot[None]])
        block_d = min(64, triton.next_power_of_2(self.call.d))
        block_n = 32
        grid = (triton.cdiv(self.n, block_n), triton.cdiv(self.call.d, block_d))
        merge_splits[grid](
            self.x, self.centre, pivots64, self.totals, self.sums, m, w, v, self.n, self.call.d, self.rows,
            self.width, self.count + 1, self.call.rate, KIND=self.call.kind, MOMENTS=True, EXTRA=1,
            BLOCK_N=block_n, BLOCK_D=block_d, num_warps=4, **LAUNCH,
        )  # fmt: skip


def launch_gemm(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum by split-precision matrix products; workspace as in :mod:`plan`."""
    device = call.x.device
    m = torch.empty(call.n, dtype=torch.float64, device=device)
    w = torch.empty(call.n, dtype=torch.float32, device=device)
    v = torch.empty(call.n, call.d, dtype=torch.float32, device=device)
    fused = plan.fused_shapes(shape_index(call.x))
    width = plan.padded_width(call.d, fused)
    centre = centre_of(call.y)
    size = plan.group_rows(call.n, width)
    serve = _fused if width in fused else _chunked
    for first in range(0, call.n, size):
        rows = slice(first, min(first + size, call.n))
        serve(call, rows, centre, width, (m[rows], w[rows], v[rows]))
    return m, w, v


def _chunk(call: Call, first: int, size: int) -> tuple[Tensor, Tensor | None]:
    return call.y[first : first + size], None if call.q is None else call.q[first : first + size]


def _fused(call: Call, rows: slice, centre: Tensor, width: int, out: tuple[Tensor, Tensor, Tensor]) -> None:
    shape = plan.fused_shapes(shape_index(call.x))[width]
    n = rows.stop - rows.start
    padded = triton.cdiv(n, plan.ROWS) * plan.ROWS
    chunk = plan.fused_chunk(call.m, padded, width)
    count, per_split = plan.fused_splits(padded, chunk, width, shape.block_n, processors(call.x))
    group = Group(call, rows, centre, width, count, low=not call.rounded)
    pivots = torch.full((count, padded), BIG.value, device=call.x.device)
    unsigned = torch.zeros(count, padded, device=call.x.device)
    marks = torch.empty(padded, chunk // 32, dtype=torch.int32, device=call.x.device)
    exact_y = call.y.dtype == torch.uint8
    for first in range(0, call.m, chunk):
        y, q = _chunk(call, first, chunk)
        charges = split(y, centre, q, chunk, width, low=not exact_y, wide=False)
        near, doubtful = group.limits(charges.norm2)
        self_offset = 0 if call.first_self is None else first + call.first_self - rows.start
        sum_fused[(padded // shape.block_n, count)](
            group.points.high, group.points.low, group.c, near, doubtful, charges.high, charges.low, charges.norm2, q,
            marks, pivots, unsigned, group.totals, group.sums, padded, len(y), per_split, chunk, chunk // 32,
            self_offset, call.rate, group.heavy, WIDTH=width, KIND=call.kind, HAS_XL=group.points.low is not None,
            HAS_YL=charges.low is not None, HAS_Q=q is not None, HAS_SELF=call.first_self is not None,
            EMULATED=INTERPRET, BLOCK_N=shape.block_n, BLOCK_M=shape.block_m, num_warps=shape.warps,
            num_stages=shape.stages, **LAUNCH,
        )  # fmt: skip
        group.rescore(y, q, marks, 0, n)
    group.finish(pivots, *out)


def _chunked(call: Call, rows: slice, centre: Tensor, width: int, out: tuple[Tensor, Tensor, Tensor]) -> None:
    device, index = call.x.device, shape_index(call.x)
    n = rows.stop - rows.start
    padded = triton.cdiv(n, plan.ROWS) * plan.ROWS
    columns = plan.chunked_columns(call.m, width)
    height = plan.block_rows(padded, columns)
    count, per_split = plan.combine_splits(height, columns, width, padded, processors(call.x))
    group = Group(call, rows, centre, width, count, low=not call.rounded)
    pivots = torch.full((padded,), BIG.value, device=device)
    unsigned = torch.zeros(padded, device=device)
    rescales = torch.empty(padded, device=device)
    s = torch.empty(height, columns, device=device)
    high = torch.empty(height, columns, dtype=PART_DTYPE, device=device)
    low = torch.empty_like(high)
    marks = torch.empty(height, columns // 32, dtype=torch.int32, device=device)
    exact_y = call.y.dtype == torch.uint8
    near_shape, depth = plan.DISTANCES[index], plan.DISTANCES_DEPTH[index]
    far_shape = plan.COMBINE[index]
    for first in range(0, call.m, columns):
        y, q = _chunk(call, first, columns)
        charges = split(y, centre, q, columns, width, low=not exact_y, wide=False)
        near, doubtful = group.limits(charges.norm2)
        for top in range(0, padded, height):
            block = slice(top, min(top + height, padded))
            size = block.stop - top
            low_x = None if group.points.low is None else group.points.low[block]
            self_offset = 0 if call.first_self is None else first + call.first_self - rows.start - top
            distances[(size // near_shape.block_n, columns // near_shape.block_m)](
                group.points.high[block], low_x, charges.high, charges.low, charges.norm2, s, columns, width,
                HAS_XL=low_x is not None, HAS_YL=charges.low is not None, BLOCK_N=near_shape.block_n,
                BLOCK_M=near_shape.block_m, BLOCK_D=depth, num_warps=near_shape.warps,
                num_stages=near_shape.stages, **LAUNCH,
            )  # fmt: skip
            weights_of_rows[(size // ROWS_OF_WEIGHTS,)](
                s, q, group.c[block], near[block], doubtful[block], pivots[block], unsigned[block],
                group.totals[0, block], rescales[block], high, low, marks, len(y), self_offset,
                call.rate, group.heavy, ROWS=ROWS_OF_WEIGHTS,
                COLUMNS=columns, KIND=call.kind, HAS_Q=q is not None, HAS_SELF=call.first_self is not None,
                EMULATED=INTERPRET, num_warps=8, **LAUNCH,
            )  # fmt: skip
            combine[(size // far_shape.block_n, width // plan.COMBINE_FEATURES, count)](
                high, low, charges.high, charges.low, rescales[block], group.sums[0, top:], padded, columns, width,
                per_split, HAS_YL=charges.low is not None, BLOCK_N=far_shape.block_n,
                BLOCK_D=plan.COMBINE_FEATURES, BLOCK_M=far_shape.block_m, num_warps=far_shape.warps,
                num_stages=far_shape.stages, **LAUNCH,
            )  # fmt: skip
            group.rescore(y, q, marks, top, max(0, min(size, n - top)))
    group.finish(pivots.expand(count, padded), *out)

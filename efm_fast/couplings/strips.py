"""Squared distances between two sets, a strip of rows at a time: never all pairs at once.

|x - y|^2 = |x - c|^2 + |y - c|^2 - 2 (x - c).(y - c), with c a mean of the data. The first term is the same for a whole
row, so a strip holds the other two: rows are compared within themselves, where float32 then loses least.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..field.backends.matmul import plain_matmul
from ..field.distributed.collectives import added_up
from ..field.request import centre_of
from ..processes import Processes

_STRIP = 1 << 24  # numbers of a strip
_CHUNK = 1 << 22  # numbers of a chunk of data that is read as floats
_ON_A_GPU = 16  # times as many there, for its products are quick at that size only
_NEAR = 4  # charges that are compared by direct difference
_ROUNDING = 1e-12  # of a mean squared distance, over the squares that it is a difference of


class Strips:
    """Two sets of data, [N, D] and [M, D] of any real dtype on one device, as the strips see them.

    Args:
        rows: the set whose data are rows of the strips.
        columns: the other one.
        dtype: of the products, float32 or float64.
        processes: who share the strips out among them; each has both sets.

    Attributes:
        row_square, column_square: squared distances from the centre, float64 [N] and [M], data units squared.
        unit: the data's distance from their centre as a power of two, data units.
    """

    def __init__(
        self, rows: Tensor, columns: Tensor, dtype: torch.dtype, processes: Processes | None = None
    ) -> None:
        self.rows, self.columns, self.dtype = rows, columns, dtype
        self.processes = processes or Processes.alone()
        self.centre = centre_of(rows, columns).to(rows.device, dtype)
        self.row_square, self.column_square = (self._squares(part) for part in (rows, columns))
        self.unit = _power_of_two((float(self.row_square.mean()) + float(self.column_square.mean())) ** 0.5)

    def swapped(self) -> Strips:
        """The same sets with rows and columns exchanged."""
        other = object.__new__(Strips)
        other.rows, other.columns, other.dtype, other.centre = (
            self.columns,
            self.rows,
            self.dtype,
            self.centre,
        )
        other.row_square, other.column_square = self.column_square, self.row_square
        other.unit = self.unit
        other.processes = self.processes
        return other

    def mean(self) -> float:
        """The mean squared distance, data units squared; exactly 0 if all data are equal."""
        means = [
            torch.stack([(data[part].double() - self.centre).sum(0) for part in _chunks(data)]).sum(0)
            / len(data)
            for data in (self.rows, self.columns)
        ]
        squares = float(self.row_square.mean() + self.column_square.mean())
        mean = squares - 2.0 * float(means[0] @ means[1])
        return mean if mean > _ROUNDING * squares else 0.0

    def blocks(self) -> Iterator[slice]:
        """Rows of each strip of this process. Strips are the same however many processes share them."""
        return self._blocks(self.processes.rank)

    def _blocks(self, rank: int) -> Iterator[slice]:
        height = max(1, _larger(_STRIP, self.rows) // len(self.columns))
        strips, size = -(-len(self.rows) // height), self.processes.size
        for k in range(strips * rank // size, strips * (rank + 1) // size):
            yield slice(k * height, min((k + 1) * height, len(self.rows)))

    def all_rows(self, parts: Sequence[Tensor], like: Tensor) -> Tensor:
        """What the strips of all processes gave, in the order of rows, from what those of this process gave.

        Args:
            parts: [rows of a strip, ...] for each strip of this process.
            like: a tensor of the same dtype and width, for a process without strips.
        """
        mine = torch.cat([like.new_empty(0, *like.shape[1:]), *parts])
        if self.processes.size == 1:
            return mine
        counts = [sum(b.stop - b.start for b in self._blocks(rank)) for rank in range(self.processes.size)]
        return torch.cat(self.processes.gather_rows(mine, counts))

    def all_sums(self, mine: Tensor) -> Tensor:
        """The sum over the strips of all processes, from that over those of this process."""
        return mine if self.processes.size == 1 else added_up(mine, self.processes, rows=True)

    def products(self, rows: slice, scale: float, offset: Tensor) -> Tensor:
        """``scale`` (x - c).(y - c) / ``unit``^2 + ``offset`` [M] for the rows of a strip, [rows, M]."""
        x = self._centred(self.rows[rows])
        strip = torch.empty(len(x), len(self.columns), dtype=self.dtype, device=x.device)
        with plain_matmul(x.device.type):
            for part in _chunks(self.columns):
                y = self._centred(self.columns[part])
                torch.addmm(offset[part], x, y.T, alpha=scale, out=strip[:, part])
        return strip

    def nearest(self) -> Tensor:
        """Index of the column nearest to each row, int64 [N]."""
        square, index = self.near()
        return index.gather(1, square.argmin(1, keepdim=True))[:, 0]

    def near(self) -> tuple[Tensor, Tensor]:
        """Squared distances to the few columns nearest to each row, by direct difference, [N, 4], and their indices."""
        squares, indices = [], []
        for rows in self.blocks():
            strip = self.products(rows, -2.0, (self.column_square / self.unit**2).to(self.dtype))
            few = strip.topk(min(_NEAR, strip.shape[1]), dim=1, largest=False).indices
            apart = self.rows[rows, None].double() - self.columns[few].double()
            squares.append(apart.square().sum(2))
            indices.append(few)
        none = self.row_square.new_empty(0, min(_NEAR, len(self.columns)))
        return self.all_rows(squares, none), self.all_rows(indices, none.long())

    def _centred(self, data: Tensor) -> Tensor:
        """The data less the centre, in ``unit``: squares of very small or large numbers are none of ``dtype``."""
        return (data.to(self.dtype) - self.centre).div_(self.unit)

    def _squares(self, data: Tensor) -> Tensor:
        parts = [(data[part].double() - self.centre).square().sum(1) for part in _chunks(data)]
        return torch.cat(parts)


def _power_of_two(number: float) -> float:
    """The power of two at or below ``number``; 1 for 0."""
    return 2.0 ** (math.frexp(number)[1] - 1) if number > 0.0 else 1.0


def _chunks(data: Tensor) -> Iterator[slice]:
    size = max(1, _larger(_CHUNK, data) // data.shape[1])
    for start in range(0, len(data), size):
        yield slice(start, min(start + size, len(data)))


def _larger(numbers: int, data: Tensor) -> int:
    return numbers if data.device.type == "cpu" else numbers * _ON_A_GPU

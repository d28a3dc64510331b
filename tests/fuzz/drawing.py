"""Random arguments as a caller might hold them: every dtype, layout, view and edge, from one seed."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from efm_fast.field import backends
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import SumRequest

Item = TypeVar("Item")

DIMENSIONS = (1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 65, 100, 200)
NARROW = (torch.uint8, torch.int8, torch.int16, torch.bfloat16, torch.float16, torch.float32)
WIDE = (torch.int32, torch.int64, torch.float64)


class Draw:
    """One case's random numbers: the same for the same seed, whatever ran before."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        return self.random.choice(items)

    def size(self, most: int) -> int:
        """From 1 to ``most``, small ones as often as large ones."""
        return max(1, min(most, round(math.exp(self.random.uniform(0, math.log(most + 1))))))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def index(self, n: int, below: int) -> Tensor:
        return torch.randint(below, (n,), generator=self.generator)

    def charges(self, m: int, d: int, dtype: torch.dtype) -> Tensor:
        """Normal charges, whole numbers of a few tens where the dtype has no others; some of them twins."""
        y = self.normal(m, d)
        if not dtype.is_floating_point:
            y = (
                (20 * y + (60 if dtype == torch.uint8 else 0))
                .round()
                .clamp(0 if dtype == torch.uint8 else -127, 127)
            )
        y = y.to(dtype)
        if m > 3 and self.chance(0.2):
            y[: m // 3] = y[m // 3 : 2 * (m // 3)]
        return y

    def points(self, n: int, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Points among charges ``y``: anywhere, on them, next to them, midway between two, far away."""
        d, y = y.shape[1], y.double()
        size = float(y.std()) if y.numel() > 1 else 1.0
        x = self.normal(n, d) * size
        if len(y) and self.chance(0.8):
            at, other, offset = y[self.index(n, len(y))], y[self.index(n, len(y))], self.normal(n, d) * size
            kinds = (
                at,
                at + 1e-3 * offset,
                at + 1e-6 * offset,
                (at + other) / 2,
                at + 0.3 * offset,
                100 * offset,
            )
            kind = self.index(n, len(kinds))
            x = torch.stack(kinds)[kind, torch.arange(n)]
        return x.to(dtype)

    def layout(self, values: Tensor) -> Tensor:
        """The same numbers, held in some other way."""
        ways = [values, values]
        if values.ndim == 2:
            ways.append(values.T.contiguous().T)
            ways.append(torch.cat([values, values], 1)[:, : values.shape[1]])
        ways.append(torch.stack([values, values], -1)[..., 1])
        ways.append(torch.cat([values, values])[len(values) :])
        if values.dtype in (torch.float32, torch.float64):
            ways.append(torch.complex(torch.zeros_like(values), -values).conj().imag)
            ways.append(torch.complex(values, values).conj().real)
        return self.pick(ways)

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """Sometimes a default device that is not that of the tensors."""
        return torch.device("meta") if self.chance(0.15) else contextlib.nullcontext()

    def backend(self, x: Tensor, y: Tensor, precision: str) -> str:
        """A backend that serves such a sum."""
        request = SumRequest(x, y, kernel=Riesz(2.0), precision=precision)  # type: ignore[arg-type]
        return self.pick([row.name for row in backends.TABLE if row.why_not(request) is None])


def promise(backend: str, precision: str, *tensors: Tensor) -> str:
    """The row of the tolerances that holds."""
    if all(t.dtype == torch.float64 for t in tensors):
        # the GEMM form of float64 points is promised no more than float32's where it is not rescored
        return "float64" if precision != "fast" else "fast"
    return "exact" if backend == "reference" and precision != "fast" else precision


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """torch's number of threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

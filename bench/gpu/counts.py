"""What the fused pass decides, counted by emulation in float64; and what the rescoring costs, counted in machine code.

``python -m bench.gpu.counts`` needs no GPU and writes bench/results/gpu_counts.json: pairs that a row of the fused pass
marks, with and without the sample that its splits start from; tiles of real images that it may skip, by what the rows
know before and by the order of points and charges; instructions of the rescoring.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.common.record import print_table, write_result
from bench.gpu.prediction import Problem
from efm_fast import kernels

plan = kernels.plan
_TILE = 64  # points and charges of a tile of the fused pass on capability 9
_HEAVY, _NEGLIGIBLE = kernels.group.HEAVY, kernels.group.NEGLIGIBLE
_DOUBLE = re.compile(r"\b(?:D(?:ADD|MUL|FMA|SETP|MNMX)|MUFU\.R(?:CP|SQ)64H|F2F\.F(?:64\.F32|32\.F64))\b")


@dataclass
class Rows:
    """The state of some rows of a split: logarithms (to base 2) of the pivot's weight, and totals beside it, [n, 1]."""

    top: Tensor
    total: Tensor

    @staticmethod
    def before(logs: Tensor, seen: Tensor | None) -> Rows:
        """The state before a split, from the logarithms of the weights of charges ``seen`` already, [n, k]."""
        if seen is None:
            return Rows(logs.new_full((len(logs), 1), -1e300), logs.new_zeros(len(logs), 1))
        top = seen.amax(1, keepdim=True)
        return Rows(top, (seen - top).exp2().sum(1, keepdim=True))

    def needs(self, tile: Tensor, charges: int) -> Tensor:
        """Whether a pair of the tile may matter to a row, [n]."""
        best = (tile.amax(1, keepdim=True) - self.top).clamp(max=0.0)
        return (best.exp2() * charges / _NEGLIGIBLE > self.total)[:, 0]

    def add(self, tile: Tensor) -> int:
        """Add a tile of logarithms of weights, [n, _TILE]; how many pairs are marked as heavy."""
        top = torch.maximum(self.top, tile.amax(1, keepdim=True))
        weight = (tile - top).exp2()
        self.total = self.total * (self.top - top).exp2() + weight.sum(1, keepdim=True)
        self.top = top
        return int((weight > self.total * _HEAVY).sum())


def marks(logs: Tensor, chunk: int, splits: int, per_split: int, sample: int) -> float:
    """Pairs that a row marks as heavy, of the logarithms of all weights [n, M]."""
    step = logs.shape[1] // sample if sample else 0
    seen = logs[:, ::step][:, :sample] if sample else None
    count = 0
    for split in range(splits):
        rows = Rows.before(logs, seen)
        for first in range(0, logs.shape[1], chunk):
            part = logs[:, first : first + chunk][:, split * per_split : (split + 1) * per_split]
            count += sum(rows.add(tile) for tile in part.split(_TILE, 1) if tile.shape[1])
    return count / len(logs)


def marked_rows() -> Iterator[list[object]]:
    """Marked pairs of the prediction's problem in 64 features, for 64 of its rows, at many and at few points."""
    d, m, n = 64, 65536, 64
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(m, d, generator=generator, dtype=torch.float64)
    own = y[torch.randint(m, (n,), generator=generator)]
    away = torch.nn.functional.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)
    distance = math.sqrt(2.0 * d)
    for points, near in ((16384, False), (512, False), (16384, True)):
        reach = 0.35 * distance if near else 0.45 * math.sqrt(d + 1.0) * distance
        logs = log2_weights(own + reach * away, 0.5 * distance, y)
        rows = plan.group_rows(points, d)
        chunk = plan.fused_chunk(m, rows, d)
        splits, per_split = plan.fused_splits(rows, chunk, d, plan.FUSED[1][d], 132)
        found = [marks(logs, chunk, splits, per_split, size) for size in (0, plan.seed_charges(m))]
        yield [Problem(points, m, d, near=near).name, splits, *found]


def log2_weights(x: Tensor, height: Tensor | float, y: Tensor) -> Tensor:
    """Logarithms to base 2 of the weights of Coulomb's kernel, [n, M]; the squared height is a number or [n, 1]."""
    r2 = torch.cdist(x, y).square() + height**2
    return -0.5 * (x.shape[1] + 1.0) * r2.log2()


def skipped(logs: Tensor, order: Tensor, knows: str) -> float:
    """Share of tiles that blocks of rows skip in one split, by what the rows know before."""
    m = logs.shape[1]
    sample = logs[:, :: m // _TILE][:, :_TILE]
    seen = {"nothing": None, "a sample": sample, "the nearest charge": logs.amax(1, keepdim=True)}[knows]
    left = tiles = 0
    for rows in order.split(_TILE):
        state = Rows.before(logs[rows], None if seen is None else seen[rows])
        for tile in logs[rows].split(_TILE, 1):
            tiles += 1
            if state.needs(tile, m).any():
                state.add(tile)
            else:
                left += 1
    return left / tiles


def skipping_rows() -> Iterator[list[object]]:
    """Tiles skipped at flux points of the 8 x 8 digits near a plate, by the order of points and charges."""
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    generator = torch.Generator().manual_seed(0)
    images = torch.tensor(load_digits().data, dtype=torch.float64) / 8.0 - 1.0
    y = images[torch.randperm(len(images), generator=generator)]
    m, d, n = *y.shape, 2048
    distance = float(torch.cdist(y[:500], y[:500]).median())
    clusters = KMeans(m // _TILE, n_init=1, random_state=0).fit(y.numpy()).labels_
    axis = torch.linalg.svd(y - y.mean(0), full_matrices=False).Vh[0]
    for height in (0.003, 0.01, 0.03, 0.1):
        own = torch.randint(m, (n,), generator=generator)
        g0 = torch.randn(n, generator=generator, dtype=torch.float64).abs().clamp_min(0.05)
        g = torch.randn(n, d, generator=generator, dtype=torch.float64)
        logs = log2_weights(y[own] + (height * distance / g0)[:, None] * g, height * distance, y)
        counts = logs - logs.amax(1, keepdim=True) > math.log2(_NEGLIGIBLE / m)
        octave = counts.sum(1).double().log2().floor()
        orders = {
            "any": torch.arange(m),
            "direction": torch.argsort(y @ axis),
            "clusters": torch.argsort(torch.from_numpy(clusters), stable=True),
        }
        for name, order in orders.items():
            place = torch.empty(m, dtype=torch.long)
            place[order] = torch.arange(m)
            sorted_rows = torch.argsort(octave * m + place[logs.argmax(1)])
            for points, rows in (("any", torch.arange(n)), ("by reach and nearest charge", sorted_rows)):
                found = [skipped(logs[:, order], rows, knows) for knows in _KNOWN]
                yield [height, float(counts.double().mean()), name, points, *found]


def instruction_rows() -> Iterator[list[object]]:
    """Instructions of the rescoring in 64 features as it was, with logarithms in float64, and as it is."""
    with kernels.ahead.recorded(90) as launches:
        x, y = torch.empty(512, 64, device="meta"), torch.empty(20_000, 64, device="meta")
        kernels.log_sum(kernels.Request(x, y, "riesz", (65.0,)))
    launch = next(launch for launch in launches if launch.name == "rescore_marked")
    for arch in (89, 90):
        for exact in (True, False):
            asked = kernels.ahead.Launch(
                launch.kernel, launch.grid, launch.arguments | {"EXACT": exact}, launch.options
            )
            code = kernels.ahead.machine_code(asked, arch)
            found = kernels.ahead.compiled(asked, arch)
            double = sum(bool(_DOUBLE.search(line)) for line in code)
            yield [
                f"sm_{arch}",
                "float64" if exact else "float32",
                len(code),
                double,
                found.registers,
                found.spilled,
            ]


_KNOWN = ("nothing", "a sample", "the nearest charge")
TABLES = {
    "marks": (("sum", "splits", "marked before", "marked now"), marked_rows),
    "skipping": (
        ("height / L", "pairs that matter", "order of charges", "order of points", *_KNOWN),
        skipping_rows,
    ),
    "rescoring": (
        ("architecture", "weights in", "instructions", "of them float64", "registers", "stack"),
        instruction_rows,
    ),
}


def main() -> None:
    """Count, print and write."""
    torch.set_num_threads(1)
    tables = {}
    for name, (columns, count) in TABLES.items():
        rows = list(count())
        print_table([dict(zip(columns, row, strict=True)) for row in rows], columns)
        tables[name] = {"columns": columns, "rows": rows}
    write_result("gpu_counts", {"tables": tables})


if __name__ == "__main__":
    main()

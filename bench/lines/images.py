"""Lines among charges of image size: their rate beside that of the sums they are made of, and where they end.

    python -m bench.lines.images                 # 512 lines among 2 x 1024 charges at D = 192, 768, 3072; minutes
    python -m bench.lines.images --lines 4268 --charges 4268 --features 768 --threads 2

512 lines step together, and ended ones give their places to waiting ones. Towards the end few are left, and a sum for
few points takes longer per point, so 512 lines have a smaller share than more lines. The sums are timed at points of
the lines themselves, because a point near one charge takes less time than a point among many. Seconds are CPU time, so
other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from bench.common.record import as_text, print_table, write_result
from bench.lines.cost import Row
from efm_fast import capacitor_field
from efm_fast.lines import Lines, launch, trace_lines
from efm_fast.types import Plates

Result = TypeVar("Result")
_INNER, _NOISE = 40, 0.05  # inner dimension of the charges, and the noise of each feature
_TIMED_POINTS = 512
_SAMPLED_LINES = 48  # whose points the sums are timed at, and whose ends a tight tolerance checks
_TIGHT = 1e-5


def spent(call: Callable[[], Result]) -> tuple[float, Result]:
    """Processor seconds of a call, and what it returned."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def image_like(charges: int, features: int, share: float) -> Plates:
    """Two sets of charges on a curved surface of few dimensions, with noise; L is ``share`` of their size."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(_INNER, features, generator=generator) / _INNER**0.5
    plus, minus = (
        torch.tanh(torch.randn(charges, _INNER, generator=generator) @ basis + shift)
        + _NOISE * torch.randn(charges, features, generator=generator)
        for shift in (0.0, 0.3)
    )
    return Plates(plus, minus, share * float(plus.std()) * features**0.5)


def sums_rate(plates: Plates, x: Tensor, z: Tensor) -> float:
    """Seconds of ``capacitor_field`` per point, least of three, at points of the lines from x [N, D], z [N]."""
    paths = trace_lines(x, z, plates.plus, plates.minus, plates.L, method="bs23", return_paths=True).paths
    assert paths is not None
    under_way = (paths[1:] != paths[:-1]).any(dim=2)
    points = paths[:-1][under_way]
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))[:_TIMED_POINTS]
    at = points[chosen]

    def sums() -> object:
        return capacitor_field(at[:, :-1], at[:, -1], plates.plus, plates.minus, plates.L)

    return min(spent(sums)[0] for _ in range(3)) / len(at)


def same_ends(plates: Plates, x: Tensor, z: Tensor, lines: Lines) -> float:
    """Share of the first lines that end where those of a tight tolerance do."""
    few = slice(0, 4 * _SAMPLED_LINES)
    tight = trace_lines(
        x[few],
        z[few],
        plates.plus,
        plates.minus,
        plates.L,
        method="dopri5",
        tolerance=_TIGHT / (x.shape[1] + 1) ** 0.5,
    )
    assert lines.charge is not None
    assert tight.charge is not None
    return float((lines.charge[few] == tight.charge).double().mean())


def row(n_lines: int, charges: int, features: int, share: float, *, check: bool) -> Row:
    """One table row; to beat: 80 % of the sums' rate, 99 % the same ends, 120 evaluations."""
    plates = image_like(charges, features, share)
    x, z = launch(plates.plus, torch.arange(n_lines) % charges, seed=1)
    z = z.abs()
    before = sums_rate(plates, x[:_SAMPLED_LINES], z[:_SAMPLED_LINES])
    begin = time.perf_counter()
    seconds, lines = spent(lambda: trace_lines(x, z, plates.plus, plates.minus, plates.L))
    wall = time.perf_counter() - begin
    # a machine's speed drifts, so the sums are timed on both sides of the lines
    per_point = (before + sums_rate(plates, x[:_SAMPLED_LINES], z[:_SAMPLED_LINES])) / 2
    evaluations = lines.evaluations.double()
    found: Row = {"D": features, "lines": n_lines, "charges": charges, "L / size": share}
    found |= {"evaluations": float(evaluations.mean()), "most": int(evaluations.max())}
    found |= {"arrived": float(lines.arrived.double().mean()), "seconds": seconds, "wall": wall}
    found |= {"share of the sums' rate": float(evaluations.sum()) * per_point / seconds}
    if check:
        found["same ends"] = same_ends(plates, x, z, lines)
    return found


def main() -> None:
    """Measure, print, and write ``bench/results/line_images.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=512)
    parser.add_argument("--charges", type=int, default=1024)
    parser.add_argument("--features", type=int, nargs="+", default=[192, 768, 3072])
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.003, 0.3], help="L over the data's size"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-check", action="store_true", help="skip the ends of a tight tolerance")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        row(options.lines, options.charges, features, share, check=not options.no_check)
        for features in options.features
        for share in options.shares
    ]
    text = as_text(rows)
    print_table([dict(zip(text["columns"], row, strict=True)) for row in text["rows"]], text["columns"])
    print(f"wrote {write_result('line_images', {'rows': rows, 'tables': {'rows': text}})}")


if __name__ == "__main__":
    main()

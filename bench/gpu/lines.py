"""Predicted time of lines in image space on an H200: 50,000 lines among 2 x 50,000 charges at D = 3072.

``python -m bench.gpu.lines`` needs no GPU, takes minutes and writes bench/results/gpu_lines.json. It follows some of
the lines on the CPU, among all charges, to count the evaluations that a line takes. Then it plays the walk of a CUDA
device with as many lines as asked for, whose evaluations are drawn from those counted, and adds up the predicted times
of its sums (:mod:`bench.gpu.prediction`). Nothing else is in the time: ``bench.lines.steps`` counts the operations
between sums.
"""

from __future__ import annotations

import argparse
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.common.record import as_text, print_table, write_result
from bench.gpu.prediction import H200, Prediction, Problem, predict
from bench.lines.cost import Row
from bench.lines.images import image_like
from efm_fast.lines import launch, trace_lines
from efm_fast.lines.engine.pace import CUDA
from efm_fast.lines.integrate.embedded import PAIRS

_LINES, _CHARGES, _FEATURES = 50_000, 50_000, 3072
_SHARES = (0.003, 0.3)
_PER_STEP = PAIRS["bs23"].evaluations


def counted(share: float, lines: int, charges: int) -> Tensor:
    """Evaluations of ``lines`` lines from as many charges, with plates apart by ``share`` of the data's size, int64."""
    plates = image_like(charges, _FEATURES, share)
    x, z = launch(plates.plus, torch.arange(lines), seed=1)
    found = trace_lines(x, z.abs(), plates.plus, plates.minus, plates.L)
    assert found.arrived.all()
    return found.evaluations


@dataclass(frozen=True)
class Played:
    """The sums of a walk: how many at each number of points, and steps taken."""

    sums: dict[int, int]
    steps: int

    def seconds(self, charges: int, uint8: bool, resource: str) -> float:
        """Predicted seconds of the sums of both plates; ``resource`` is "bound" or "serial"."""

        @functools.cache
        def of(points: int) -> Prediction:
            return predict(Problem(points, charges, _FEATURES, uint8=uint8), H200)

        return sum(2 * count * getattr(of(points), resource) for points, count in self.sums.items())


def played(evaluations: Tensor) -> Played:
    """The walk of a CUDA device, with lines that need so many evaluations each, int64 [N]."""
    left = (evaluations - 1 + _PER_STEP - 1) // _PER_STEP  # steps; the first evaluation is that of the start
    sums, steps = {CUDA.window: -(-len(left) // CUDA.window)}, 0
    while running := int((left > 0).sum()):
        width = CUDA.width(running)
        for _ in range(CUDA.steps):
            left[(left > 0).nonzero()[:width, 0]] -= 1
        sums[width] = sums.get(width, 0) + _PER_STEP * CUDA.steps
        steps += CUDA.steps
    return Played(sums, steps)


def row(share: float, lines: int, charges: int, evaluations: Tensor, uint8: bool) -> Row:
    """One line of the table."""
    drawn = torch.randint(len(evaluations), (lines,), generator=torch.Generator().manual_seed(0))
    walk = played(evaluations[drawn])
    return {
        "L / size": share,
        "charges": "uint8" if uint8 else "float32",
        "lines followed": len(evaluations),
        "evaluations": float(evaluations.double().mean()),
        "most": int(evaluations.max()),
        "steps": walk.steps,
        "bound s": walk.seconds(charges, uint8, "bound"),
        "serial s": walk.seconds(charges, uint8, "serial"),
    }


def main() -> None:
    """Count, predict, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--followed", type=int, default=24, help="lines followed on the CPU")
    parser.add_argument("--charges", type=int, default=_CHARGES, help="charges of each plate")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for share in _SHARES:
        evaluations = counted(share, options.followed, options.charges)
        rows += [row(share, _LINES, options.charges, evaluations, uint8) for uint8 in (False, True)]
    table = as_text(rows)
    print_table(table["rows"], table["columns"])
    print(f"wrote {write_result('gpu_lines', {'tables': {'H200': table}})}")


if __name__ == "__main__":
    main()

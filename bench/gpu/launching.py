"""What a launch of each kernel of a sum costs the CPU before the driver gets it; needs no GPU.

``python -m bench.gpu.launching`` binds arguments as Triton does for every launch, and as a loop repeats launches here,
with a stand-in for the driver. It writes bench/results/gpu_launching.json. Times are those of the thread, the best of
several rounds: other work on the machine adds little.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

import torch

from bench.common.record import print_table, write_result
from efm_fast import kernels

Repeated = importlib.import_module(f"{kernels.__name__}.repeat").Repeated

SHAPE = (512, 9000, 784)
COLUMNS = ("kernel", "arguments", "per chunk", "bound us", "repeated us")


def microseconds(launch: Callable[[], object], times: int = 200, rounds: int = 7) -> float:
    """Time of the thread for one launch, the least of the means of ``rounds``."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(times):
            launch()
        found.append((time.thread_time() - start) / times)
    return 1e6 * min(found)


def rows() -> Iterator[list[object]]:
    """One row per kernel that a chunk of charges launches."""
    n, m, d = SHAPE
    x, y, height = torch.zeros(n, d), torch.zeros(m, d), torch.zeros(n)
    with kernels.ahead.recorded(90) as launches:
        kernels.log_sum(kernels.Request(x, y, "riesz", (d + 1.0,), height=height))
    # one chunk of charges is launched often, and the points and the end once
    per_chunk = Counter(launch.name for launch in launches)
    chunks = per_chunk["distances"]
    for launch in {launch.name: launch for launch in launches}.values():
        if per_chunk[launch.name] < chunks:
            continue
        with kernels.ahead.idle(launch, 90, lambda *arguments: None):
            varying = {
                name: launch.arguments[name] for name in ("y", "q", "source") if name in launch.arguments
            }
            fixed = {name: value for name, value in launch.arguments.items() if name not in varying}
            repeated = Repeated(launch.kernel, launch.grid, launch.options, **fixed)
            bound = microseconds(
                lambda launch=launch: launch.kernel[launch.grid](**launch.arguments, **launch.options)  # type: ignore[misc]
            )
            again = microseconds(lambda repeated=repeated, varying=varying: repeated(**varying))  # type: ignore[misc]
        yield [launch.name, len(launch.arguments), 1, bound, again]


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    found = list(rows())
    total = ["all of a chunk", sum(row[1] for row in found), len(found)]  # type: ignore[misc]
    found.append([*total, *(sum(row[k] for row in found) for k in (3, 4))])  # type: ignore[misc]
    print_table([dict(zip(COLUMNS, row, strict=True)) for row in found], COLUMNS)
    write_result("gpu_launching", {"tables": {"launches": {"columns": COLUMNS, "rows": found}}})


if __name__ == "__main__":
    main()

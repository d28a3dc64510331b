"""``python -m bench.scaling sums|prefetch|streaming|training|plan``: processes of one machine, and a plan for more.

``sums`` compares P processes of one thread with one process of P threads, counts the bytes that they send. ``prefetch``
times the ring with and without it. ``streaming`` reads charges from the disk. ``training`` times steps and checkpoints
of one process and of two. ``plan`` counts for up to 512 GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.record import ROOT, print_table, write_result
from bench.scaling import plan

_CHUNK = 1 << 22


def run(job: dict[str, Any], processes: int) -> list[dict[str, float]]:
    """What each of so many processes says of ``job``."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "WORLD_SIZE": str(processes), "MEETING": f"file://{folder}/meeting"}
        command = [sys.executable, "-m", "bench.scaling.worker", json.dumps(job)]
        started = [
            subprocess.Popen(
                command, cwd=ROOT, env={**env, "RANK": str(k)}, stdout=subprocess.PIPE, text=True
            )
            for k in range(processes)
        ]
        told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("bench.scaling: a process failed")
    return [json.loads(text.splitlines()[-1]) for text in told]


def sums(options: argparse.Namespace) -> dict[str, Any]:
    """The tables of efficiency and of the ring's prefetch."""
    rows = []
    for d, n, m in ((16, 1024, 60_000), (3072, 64, 20_000)):
        for size in (2, 4):
            base: dict[str, Any] = {"work": "sums", "D": d, "N": n, "M": m}
            alone = run({**base, "mode": "reduce", "threads": size}, 1)[0]["seconds"]
            for mode in ("reduce", "ring", "gather"):
                told = run({**base, "mode": mode, "threads": 1}, size)
                row_bytes, part = 16 + 4 * d, n // size
                formula = {
                    "reduce": 2 * (n - part) * row_bytes,
                    "ring": (size - 1) * (m // size) * d,
                    "gather": (size - 1) * part * (4 * d + 8) + (n - part) * row_bytes,
                }[mode]
                seconds = told[0]["seconds"]
                sent = int(told[0]["sent"])
                row = [d, n, m, size, mode, 1e3 * alone, 1e3 * seconds, f"{alone / seconds:.0%}"]
                rows.append([*row, sent, formula, "yes" if sent == formula else "no"])
    columns = ["D", "N", "M", "processes", "mode", "threads, ms", "processes, ms", "efficiency"]
    return {"efficiency": {"columns": [*columns, "bytes sent", "formula", "equal"], "rows": rows}}


def prefetch(options: argparse.Namespace) -> dict[str, Any]:
    """The table of the ring's prefetch, over links that are slowed down to the rates it names."""
    rows = []
    # the first half of the sum takes about as long as the messages over the slower links
    d, n, m = 3072, 384, 8_000
    links = (None, 40e6, 20e6)
    job = {"work": "prefetch", "D": d, "N": n, "M": m, "mode": "ring", "threads": 1}
    told = run({**job, "links": links, "turns": 6}, 2)[0]
    for link in links:
        moved, after, ahead = (told[f"{what} {link}"] for what in ("messages", "after", "ahead"))
        # messages that are a hundredth of the sum are less than its times scatter
        hidden = f"{(after - ahead) / moved:.0%}" if moved > 0.1 * ahead else None
        rows.append([d, n, m, link and link / 1e6, moved, after, ahead, hidden])
    columns = ["D", "N", "M", "link, MB/s", "messages alone, s", "without prefetch, s", "with prefetch, s"]
    return {"prefetch": {"columns": [*columns, "hidden"], "rows": rows}}


def streaming(options: argparse.Namespace) -> dict[str, Any]:
    """The table of sums over charges on the disk."""
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for charges in (options.charges // 10, options.charges):
            path = Path(folder) / "charges.npy"
            file = np.lib.format.open_memmap(path, "w+", np.uint8, (charges, 16))
            generator = np.random.default_rng(0)
            for start in range(0, charges, _CHUNK):
                part = file[start : start + _CHUNK]
                part[:] = generator.integers(0, 256, part.shape, np.uint8)
            del file
            for size, threads in ((1, 2), (2, 1)):
                job = {"work": "streaming", "path": str(path), "N": options.points, "threads": threads}
                told = run(job, size)
                seconds, memory = (max(one[key] for one in told) for key in ("seconds", "mib"))
                rate = options.points * charges / seconds / 1e9
                rows.append(
                    [charges, options.points, size, threads, seconds, rate, 16e-6 * charges / seconds, memory]
                )
    columns = [
        "charges",
        "points",
        "processes",
        "threads of each",
        "s",
        "Gpair/s",
        "MB/s",
        "MiB of a process",
    ]
    return {"streaming": {"columns": columns, "rows": rows}}


def training(options: argparse.Namespace) -> dict[str, Any]:
    """The table of a step by one process, by two with whole networks and by two with parts, and of checkpoints."""
    width = {"net.width": 512, "net.depth": 4, "method.points.charges": 64, "train.batch": 256}
    ways = {
        "one process": (1, {}),
        "two, whole networks (DDP)": (2, {}),
        "two, parts (FSDP2)": (2, {"train.sharding": "fsdp"}),
    }
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, (size, more) in ways.items():
            for background in (False, True):
                settings = {**width, **more, "train.async_checkpoint": background, "name": f"run{len(rows)}"}
                job = {"work": "training", "folder": folder, "settings": settings, "threads": 1}
                told = run({**job, "every": 10, "steps": 40}, size)[0]
                step, lost, weights = (told[key] for key in ("step", "lost", "weights"))
                how = "in the background" if background else "at once"
                rows.append([name, weights, how, 1e3 * step, 1e3 * lost, lost / step])
    columns = ["processes", "weights", "checkpoints", "a step, ms", "lost to a checkpoint, ms", "in steps"]
    return {"training": {"columns": columns, "rows": rows}}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["sums", "prefetch", "streaming", "training", "plan"])
    parser.add_argument("--charges", type=int, default=10**8, help="streaming: how many lie on the disk")
    parser.add_argument("--points", type=int, default=16, help="streaming: at which they are summed")
    parser.add_argument("--folder", default=None, help="streaming, training: where files are written")
    options = parser.parse_args(arguments)
    measures: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "sums": sums,
        "prefetch": prefetch,
        "streaming": streaming,
        "training": training,
        "plan": lambda _: plan.tables(),
    }
    tables = measures[options.what](options)
    for name, table in tables.items():
        print(f"\n{name}")
        print_table(table["rows"], table["columns"])
    print("wrote", write_result(f"scaling_{options.what}", {"tables": tables}).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.field.regimes [--before DIRECTORY]``: the sums on a CPU from D = 2 to 1024, and at few points.

One thread. Times are CPU times, the best of several calls: a busy machine changes them little. Each size is judged
before it is timed. DIRECTORY holds another built version of the package; its calls alternate with those of this one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import torch

from bench.common import ceilings
from bench.common.record import ROOT, print_table, write_result
from efm_fast.field.backends import cpp
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import SumRequest
from efm_fast.files import write_atomically

DIMENSIONS = (2, 4, 6, 8, 9, 12, 16, 20, 23, 24, 32, 48, 64, 65, 96, 128, 192, 256, 384, 512, 513, 784, 1024)
FEW_DIMENSIONS, FEW_POINTS = (16, 64, 256, 784, 3072), (1, 2, 4, 8, 16, 128)
ROUNDS = 2
_PAIRS = {16: 1 << 22, 128: 1 << 21, 1024: 1 << 19, 3072: 1 << 17}  # of a plate, up to so many features
_POINTS = 256


class Package:
    """A built version of the package in a process of its own."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("served.py")), str(root)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, d: int, n: int, m: int) -> dict[str, Any]:
        """Least CPU seconds of a call and the largest direction error at four points."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([d, n, m]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measured(packages: dict[str, Package], d: int, n: int, m: int) -> dict[str, Any]:
    """The best of several alternating measurements of each package."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in packages}
    for _ in range(ROUNDS):
        for name, package in packages.items():
            answers[name].append(package.ask(d, n, m))
    row: dict[str, Any] = {"d": d, "n": n, "m": m}
    for name, some in answers.items():
        row[name] = {"seconds": min(a["seconds"] for a in some), "error": some[0]["error"]}
    return row


def charges_of(d: int, n: int) -> int:
    """As many charges as make a call last some ten milliseconds."""
    pairs = next(pairs for most, pairs in _PAIRS.items() if d <= most)
    return min(16384, pairs // n)


def regime(d: int) -> str:
    """What the extension does in ``d`` features on this machine."""
    if d <= cpp.WHOLE_DIMENSION:
        return "differences in registers"
    example = torch.zeros(1, d)
    return (
        "fused products"
        if cpp.is_fused(SumRequest(example, example, kernel=Riesz(d + 1.0)))
        else "matrix products"
    )


def rate(row: dict[str, Any], name: str) -> float:
    """Pairs of both plates per second; nan where the answer is wrong."""
    found = row[name]
    return 2.0 * row["n"] * row["m"] / found["seconds"] if found["error"] <= 1e-4 else float("nan")


def dimension_table(rows: list[dict[str, Any]], rates: ceilings.Ceilings) -> dict[str, Any]:
    """Rate, share of the bound and ratio to the package before, for every D."""
    columns = ["D", "way", "N", "M", "Gpair/s", "of bound", "error", "before, Gpair/s", "ratio"]
    cells = []
    for row in rows:
        now, limit = rate(row, "now"), ceilings.limit(row["d"], row["n"], row["m"], rates, "cpu")
        line = [
            row["d"],
            row["way"],
            row["n"],
            row["m"],
            f"{now / 1e9:.3g}",
            f"{now / limit.pairs_per_second:.2f}",
        ]
        line.append(f"{row['now']['error']:.0e}")
        if "before" in row:
            line += [f"{rate(row, 'before') / 1e9:.3g}", f"{now / rate(row, 'before'):.2f}"]
        cells.append(line)
    return {"columns": columns[: len(cells[0])], "rows": cells}


def few_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Time per pair at few points, and how many times that at many."""
    columns = ["D", "M", "N", "ms", "ns per pair", "over many points", "before, ns per pair", "ratio"]
    many = {row["d"]: rate(row, "now") for row in rows if row["n"] == max(FEW_POINTS)}
    cells = []
    for row in rows:
        now = rate(row, "now")
        line = [row["d"], row["m"], row["n"], f"{row['now']['seconds'] * 1e3:.3g}", f"{1e9 / now:.3g}"]
        line.append(f"{many[row['d']] / now:.1f}")
        if "before" in row:
            line += [f"{1e9 / rate(row, 'before'):.3g}", f"{now / rate(row, 'before'):.2f}"]
        cells.append(line)
    return {"columns": columns[: len(cells[0])], "rows": cells}


def draw(rows: list[dict[str, Any]], few: list[dict[str, Any]], rates: ceilings.Ceilings, path: Path) -> None:
    """Time per pair against D, with the borders of the regimes, and against the number of points."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)
    d = [row["d"] for row in rows]
    bounds = [1e9 / ceilings.limit(r["d"], r["n"], r["m"], rates, "cpu").pairs_per_second for r in rows]
    left.plot(d, bounds, "--", color="0.6", label="bound of this machine")
    for name in ("before", "now"):
        if name in rows[0]:
            left.plot(d, [1e9 / rate(row, name) for row in rows], "o-", markersize=3, label=name)
    for low, high in itertools.pairwise(rows):
        if low["way"] != high["way"]:
            left.axvline((low["d"] * high["d"]) ** 0.5, color="0.8")
            left.text(low["d"], max(bounds) * 2, low["way"], fontsize="small", ha="right")
    left.set(xscale="log", yscale="log", xlabel="features D", ylabel="ns per pair, one thread")
    left.legend(fontsize="small", loc="lower right")
    for k, dim in enumerate(FEW_DIMENSIONS):
        some = [row for row in few if row["d"] == dim]
        for name, style in (("before", ":"), ("now", "-")):
            if name in some[0]:
                times = [1e9 / rate(row, name) for row in some]
                label = f"D = {dim}" if name == "now" else None
                right.plot([row["n"] for row in some], times, style, color=f"C{k}", label=label)
    right.set(
        xscale="log", yscale="log", xlabel="points N (dotted: before)", ylabel="ns per pair, one thread"
    )
    right.legend(fontsize="small")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))
    plt.close(figure)


def main() -> None:
    """Measure, print and write bench/results/field_regimes-cpu."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="directory of another built version of the package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    rates = ceilings.measure("cpu")
    packages = {} if options.before is None else {"before": Package(options.before)}
    packages["now"] = Package(ROOT)
    rows = [measured(packages, d, _POINTS, charges_of(d, _POINTS)) | {"way": regime(d)} for d in DIMENSIONS]
    few = [measured(packages, d, n, charges_of(d, 128)) for d in FEW_DIMENSIONS for n in FEW_POINTS]
    for package in packages.values():
        package.close()
    tables = {"dimensions": dimension_table(rows, rates), "few": few_table(few), "ceilings": rates.table()}
    for table in tables.values():
        print_table(table["rows"], table["columns"])
    payload = {
        "threads": 1,
        "clock": "CPU time",
        "ceilings": vars(rates),
        "rows": rows,
        "few": few,
        "tables": tables,
    }
    path = write_result("field_regimes-cpu", payload)
    draw(rows, few, rates, path.with_suffix(".png"))
    print(f"wrote {path.name} and its picture in bench/results/")


if __name__ == "__main__":
    main()

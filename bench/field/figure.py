"""The picture of ``field_kernel.py``: time per pair against D, M and N, and the rate over the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from bench.common.ceilings import Limit
from bench.field.measure import Measurement
from bench.field.sweep import CALL_SECONDS, SweepPoint
from efm_fast.files import write_atomically


def draw(rows: list[Measurement], limits: dict[int, Limit], swept: list[SweepPoint], path: Path) -> Path:
    """Write the picture of all rows that passed, whole or not at all, and return ``path``."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    times, shares, charges, points = axes.flat
    names = list(dict.fromkeys(row.form for row in rows))
    styles = {name: _style(k, name) for k, name in enumerate(names)}
    dimensions = sorted(limits)
    bounds = [1e9 / limits[d].pairs_per_second for d in dimensions]
    times.plot(dimensions, bounds, color="0.6", linestyle="--", label="bound of this machine")
    for name in names:
        green = sorted((row.d, row.speed.pairs_per_second) for row in rows if row.form == name and row.speed)
        if not green:
            continue
        d = [d for d, _ in green]
        times.plot(d, [1e9 / speed for _, speed in green], **styles[name])
        shares.plot(d, [speed / limits[k].pairs_per_second for k, speed in green], **styles[name])
    for panel, label in ((times, "ns per pair"), (shares, "rate over the bound")):
        _finish(panel, "features D", label, dimensions)
    for panel, over, label in ((charges, "M", "charges per plate M"), (points, "N", "points N")):
        _sizes(panel, [p for p in swept if p.over == over], limits, styles)
        _finish(panel, label, "ns per pair", sorted({_size(p) for p in swept if p.over == over}))
    times.legend(fontsize="small")
    figure.suptitle("rows that passed the gate, both plates")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))
    plt.close(figure)
    return path


def _style(k: int, name: str) -> dict[str, Any]:
    return {"label": name, "color": f"C{k}", "marker": "o", "linewidth": 2.0 if _ours(name) else 1.0}


def _ours(name: str) -> bool:
    return name.startswith("ours")


def _size(point: SweepPoint) -> int:
    return point.m if point.over == "M" else point.n


def _sizes(
    axes: Any, swept: list[SweepPoint], limits: dict[int, Limit], styles: dict[str, dict[str, Any]]
) -> None:
    """Time per pair against M or N; what is not varied stands in the title."""
    for name in dict.fromkeys(p.form for p in swept):
        some = sorted((_size(p), 1e9 / p.pairs_per_second) for p in swept if p.form == name)
        axes.plot(*zip(*some, strict=True), **styles[name])
    if swept:
        first = swept[0]
        axes.axhline(1e9 / limits[first.d].pairs_per_second, color="0.6", linestyle="--")
        fixed = (
            f"as many points as take {CALL_SECONDS * 1e3:.0f} ms" if first.over == "M" else f"M = {first.m}"
        )
        axes.set_title(f"D = {first.d}, {fixed}", fontsize="medium")


def _finish(axes: Any, x: str, y: str, ticks: list[int]) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)

"""The picture of ``field_kernel.py``: time per pair against D, and the share of what the machine allows."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from ceilings import Limit
from measure import Measurement

from efm_fast.training.files import write_atomically


def draw(rows: list[Measurement], limits: dict[int, Limit], path: Path) -> Path:
    """Write the picture of all rows that passed, whole or not at all, and return ``path``."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (times, shares) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    dimensions = sorted(limits)
    bounds = [1e9 / limits[d].pairs_per_second for d in dimensions]
    times.plot(dimensions, bounds, color="0.6", linestyle="--", label="limit of this machine")
    for name in dict.fromkeys(row.form for row in rows):
        green = sorted((row.d, row.speed.pairs_per_second) for row in rows if row.form == name and row.speed)
        if not green:
            continue
        d = [d for d, _ in green]
        style = {"marker": "o", "linewidth": 2.0 if name.startswith("ours") else 1.0}
        times.plot(d, [1e9 / speed for _, speed in green], label=name, **style)
        shares.plot(d, [speed / limits[k].pairs_per_second for k, speed in green], label=name, **style)
    for axes, label in ((times, "ns per pair"), (shares, "share of the limit")):
        axes.set(xscale="log", yscale="log", xlabel="features D", ylabel=label)
        axes.set_xticks(dimensions, [str(d) for d in dimensions])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    times.legend(fontsize="small")
    times.set_title("rows that passed the gate, both plates")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))
    plt.close(figure)
    return path

"""The short answer of ``field_kernel.py``: at every size, how many times each competitor the best of efm_fast is."""

from __future__ import annotations

from bench.common import ceilings
from bench.field.forms import Form
from bench.field.measure import Measurement


def summary(
    rows: list[Form], found: list[Measurement], limits: dict[int, ceilings.Limit]
) -> dict[str, list[object]]:
    """A table with one line per size; a competitor that is wrong there is red, one that did not run is left open."""
    others = [row.name for row in rows if not row.ours]
    mine = {row.name for row in rows if row.ours}
    lines: list[object] = []
    for d, limit in limits.items():
        here = {row.form: row for row in found if row.d == d}
        rates = {name: row.speed.pairs_per_second for name, row in here.items() if row.speed is not None}
        best = max(mine & rates.keys(), key=rates.__getitem__, default=None)
        if best is None:
            continue
        cells = [_times(here.get(name), rates[best] / rates.get(name, float("inf"))) for name in others]
        bound = f"{rates[best] / limit.pairs_per_second:.3g} x"
        lines.append([d, here[best].m, best, f"{rates[best] / 1e9:.3g}", bound, *cells])
    columns: list[object] = ["D", "M", "fastest", "Gpair/s", "of bound", *(f"x {name}" for name in others)]
    return {"columns": columns, "rows": lines}


def _times(row: Measurement | None, ratio: float) -> str | None:
    if row is None or row.passed is None:
        return None
    return f"{ratio:.3g}" if row.passed else "red"

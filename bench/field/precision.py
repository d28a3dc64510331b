"""Measure the errors that the three precisions leave: ``python -m bench.field.precision --device cpu``.

Writes bench/results/precision-<device type>.json and, from all such files, docs/measurements/precision.md.
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any, get_args

import torch

from bench.common.record import RESULTS, ROOT, write_result
from bench.pages.render import source
from efm_fast.field import backends, capacitor_field
from efm_fast.field.kernel import Riesz
from efm_fast.field.queries import KINDS, QuerySet, query_set
from efm_fast.field.request import Precision, SumRequest
from efm_fast.types import CapacitorField

PAGE = ROOT / "docs" / "measurements" / "precision.md"
SIZES = {
    2: (256, 2048),
    64: (128, 1024),
    784: (48, 256),
    3072: (24, 96),
    12288: (8, 32),
    196608: (2, 4),
}  # D: (points, charges)

INTRODUCTION = """# Precision

Every function that sums a field takes `precision`, with the same meaning on every backend.

| `precision` | what it does | what it promises |
|---|---|---|
| `"fast"` | squared distances from a float32 GEMM above the direct regime, nothing rescored | nothing at ties \
and near-duplicates; for pictures and first looks |
| `"default"` | the nearest charges of each plate rescored by direct difference, logits relative to the nearest \
charge, far from all charges about a centre that both plates share | direction within 1e-4 up to D = 3072, 2e-4 \
at 12288, 1e-3 at 196608 and at *far* points; log norm within 1e-3 up to 12288 |
| `"exact"` | every pair by direct difference, squares and sums in float64 | the rounding of the result's own \
dtype |

The power D + 1 multiplies the relative error of a squared distance by about (D + 1) / 2. So a distance that is
exact to seven digits may give a field that is wrong in the third. The error is visible where two charges balance,
and where the fields of whole plates nearly cancel, but not at points that one charge dominates. The tables
therefore have six kinds of points (`efm_fast.field.queries`):

- *interpolated*: anywhere on the segment between a positive and a negative charge;
- *tie*: midway between two positive charges;
- *plate_tie*: equally far from the nearest positive and the nearest negative charge; every field line has such a
  point;
- *twin*: a thousandth of the distance between charges away from two almost equal charges;
- *flux*: where the flux of a charge crosses a height h, at y + h g / |g0| with Gaussian g and |g0| >= 0.05, for h
  from 0.001 L to L: the points that a network learns from;
- *far*: the same for h from L to 10 L. There the sum of both fields is as small as a ten-thousandth of either.

An entry is the median and the largest length of the error of the unit direction, then the largest error of
log |E|, both against float64 direct differences on the same float32 inputs. Charges are standard normal, and L is
the root mean square distance between charges. The gradients of `"exact"` are computed in float64, those of the
others in the dtype of the points. float32 matmul settings and autocast of the caller do not reach the sums.
"""


def _errors(q: QuerySet, got: CapacitorField, want: CapacitorField) -> dict[str, float]:
    error = torch.linalg.vector_norm(got.direction.double() - want.direction.double(), dim=1)
    return {
        "direction_median": error.median().item(),
        "direction_max": error.max().item(),
        "log_norm_max": (got.log_norm - want.log_norm).abs().max().item(),
    }


def _serves(row: backends.Backend, device: str, d: int, precision: Precision) -> bool:
    x = torch.zeros(1, d, device=device)
    return (
        row.name != "reference"
        and row.why_not(SumRequest(x, x, kernel=Riesz(d + 1.0), precision=precision)) is None
    )


def measure(device: str) -> list[dict[str, Any]]:
    """One row of errors for each dimension, kind of points, backend and precision."""
    rows = []
    for d, (n, m) in SIZES.items():
        for kind in KINDS:
            q = query_set(kind, n, m, d, seed=d)
            x, z, plus, minus = (t.to(device) for t in (q.x, q.z, q.plus, q.minus))
            want = capacitor_field(x, z, plus, minus, q.L, backend="reference")
            for row in backends.TABLE:
                for precision in get_args(Precision):
                    if _serves(row, device, d, precision):
                        got = capacitor_field(x, z, plus, minus, q.L, backend=row.name, precision=precision)
                        where = {"d": d, "kind": kind, "backend": row.name, "precision": precision}
                        rows.append({**where, "points": n, "charges": m, **_errors(q, got, want)})
    return rows


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()} CPU"


def document(reports: list[dict[str, Any]]) -> str:
    """The text of docs/measurements/precision.md for these measurements."""
    parts = [INTRODUCTION]
    for report in reports:
        rows = report["rows"]
        for backend in dict.fromkeys(row["backend"] for row in rows):
            parts.append(f"## {backend}, {report['device']}\n")
            parts.append(_table([row for row in rows if row["backend"] == backend]))
        parts.append(source(report))
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    precisions = [p for p in get_args(Precision) if any(row["precision"] == p for row in rows)]
    lines = ["| D | points | " + " | ".join(precisions) + " |", "|" + "---|" * (2 + len(precisions))]
    cells = {(row["d"], row["kind"], row["precision"]): row for row in rows}
    for d, kind in dict.fromkeys((row["d"], row["kind"]) for row in rows):
        entries = []
        for precision in precisions:
            row = cells.get((d, kind, precision))
            entries.append(
                f"{row['direction_median']:.0e} / {row['direction_max']:.0e}, {row['log_norm_max']:.0e}"
                if row
                else "not served"
            )
        lines.append(f"| {d} | {kind} | " + " | ".join(entries) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure on one device and renew the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="torch device, as cpu or cuda")
    device = parser.parse_args().device
    name = f"precision-{torch.device(device).type}"
    path = write_result(name, {"device": _device_name(device), "rows": measure(device)})
    reports = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("precision-*.json"))]
    PAGE.write_text(document(reports))
    print(f"wrote {path.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

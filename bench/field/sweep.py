"""How the time per pair depends on the numbers of points and of charges, for the picture of ``field_kernel.py``.

Only rows that passed the gate at that D, and do not compile anew, take part; each is judged again at the points that
are timed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.field.forms import Form
from bench.field.measure import Case, Measurement, timed

OF_M = (1 / 64, 1 / 16, 1 / 4, 1, 4)
OF_N = (1 / 1024, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1)  # few points are where a call's own cost shows
CALL_SECONDS, RUN_SECONDS = 0.02, 0.02


@dataclass(frozen=True)
class SweepPoint:
    """One size of one row.

    Attributes:
        form: name of the row.
        over: "M" or "N", what is varied.
        d: features.
        n: points.
        m: charges per plate.
        seconds: median time of a call.
        pairs_per_second: pairs of a point and a charge, of both plates.
    """

    form: str
    over: str
    d: int
    n: int
    m: int
    seconds: float
    pairs_per_second: float


def middle(shapes: list[Case]) -> Case:
    """The case to vary: the middle one of the sizes in order of D."""
    return sorted(shapes, key=lambda case: case.d)[len(shapes) // 2]


def sweep(rows: list[Form], case: Case, found: list[Measurement]) -> list[SweepPoint]:
    """Vary M, then N, around ``case``, for every row that passed there.

    While M varies, a row has as many points as it can serve in :data:`CALL_SECONDS`; while N varies, it stops there.
    """
    speeds = {row.form: row.speed.pairs_per_second for row in found if row.d == case.d and row.speed}
    some = [row for row in rows if row.name in speeds and not row.compiles]
    case = replace(case, call_seconds=CALL_SECONDS, min_run_time=RUN_SECONDS)
    points = []
    for over, varied in (
        *(("M", replace(case, m=m)) for m in _around(case.m, OF_M, least=2)),
        *(("N", replace(case, n=n)) for n in _around(case.n, OF_N, least=1)),
    ):
        for row in some:
            most = affordable(row, varied.m, case.d, speeds[row.name])
            if over == "N" and varied.n > most:
                continue
            n = min(varied.n, most)
            speed = timed(row, varied, n).speed
            if speed is not None:
                sizes = (case.d, n, varied.m)
                points.append(SweepPoint(row.name, over, *sizes, speed.seconds, speed.pairs_per_second))
    return points


def _around(size: int, factors: tuple[float, ...], least: int) -> list[int]:
    return list(dict.fromkeys(max(least, int(size * factor)) for factor in factors))


def affordable(row: Form, m: int, d: int, pairs_per_second: float) -> int:
    """Points whose call takes about :data:`CALL_SECONDS`, and whose block the form may hold; at least 1."""
    most = int(CALL_SECONDS * pairs_per_second / (2 * m))
    return max(1, most if row.elements is None else min(most, row.elements // (m * d)))

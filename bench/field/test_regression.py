"""Speed over time: ``pytest bench --benchmark-only --benchmark-autosave``, later with ``--benchmark-compare``.

Not part of ``make test``. One entry per backend that serves here, number of features and precision; each first has to
be right at the hard points, so that a kernel cannot become faster by becoming wrong.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.field.forms import Form, forms
from bench.field.measure import gate_set, gate_truth, tolerance
from efm_fast.field.queries import query_set

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
#: D: points and charges per plate; small, so that a run of all takes a minute.
SHAPES = {2: (1024, 16384), 8: (1024, 8192), 64: (512, 4096), 784: (256, 2048), 3072: (128, 2048)}


def _served() -> list[Any]:
    """Every backend with every size that it serves here; the reference only where it is quick."""
    found = []
    for form in forms().values():
        for d in SHAPES:
            if not form.ours or form.why_not(d, torch.device(DEVICE)) is not None:
                continue
            if form.name != "ours: reference" or d == 2:
                found.append(pytest.param(form, d, id=f"{form.name.removeprefix('ours: ')}-{DEVICE}-D{d}"))
    return found


@pytest.mark.parametrize(("form", "d"), _served())
def test_field(benchmark: Any, form: Form, d: int) -> None:
    """Time of the field of both plates."""
    for kind in ("tie", "twin"):
        points = gate_set(kind, d, "float32")
        x, z, plus, minus = (t.to(DEVICE) for t in (points.x, points.z, points.plus, points.minus))
        got = form.field(x, z, plus, minus, points.L).direction.double().cpu()
        assert (got - gate_truth(kind, d, "float32").direction).norm(dim=1).max() <= tolerance(d)
    n, m = SHAPES[d]
    q = query_set("interpolated", n, m, d)
    x, z, plus, minus = (t.to(DEVICE) for t in (q.x, q.z, q.plus, q.minus))

    def call() -> None:
        form.field(x, z, plus, minus, q.L)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.extra_info["pairs"] = 2 * n * m
    benchmark(call)

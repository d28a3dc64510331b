"""What field lines cost: against the published solver's loop, against the sums they are made of, and in training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from bench.common.timing import synchronise
from efm_fast import riesz_sum, train
from efm_fast.data import make_source, step_generator
from efm_fast.lines import ExactField, Lines, forward_map, launch, trace_lines
from efm_fast.methods.line_bank import LineBank
from efm_fast.types import Plates

Row = dict[str, float | int | str | bool]
Result = TypeVar("Result")
L, LINES, CHARGES, STEPS = 6.0, 1024, 2048, 662  # the published toy solver's work
_BROADCAST_STEPS = 20
_REPEATED = 32


def timed(call: Callable[[], Result], repeats: int = 3) -> tuple[float, Result]:
    """Least seconds of some calls, and what the last one returned."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        result = call()
        if torch.cuda.is_available():
            synchronise("cuda")
        best = min(best, time.perf_counter() - begin)
    return best, result


def _toy(device: str) -> Plates:
    plus, minus = (
        make_source(name).draw(CHARGES, step_generator(0, k, 800)).to(device)
        for k, name in enumerate(("gaussian", "swiss_roll"))
    )
    return Plates(plus, minus, L)


def broadcast_algorithm_2(plates: Plates, x: Tensor, steps: int) -> Tensor:
    """The first ``steps`` of Algorithm 2's STEPS as published codes write them: all differences, step by step."""
    dz = plates.L / STEPS
    z = torch.zeros(len(x), 1, device=x.device)
    charges = [
        torch.cat([y, torch.full_like(y[:, :1], height)], 1)
        for y, height in ((plates.plus, 0.0), (plates.minus, plates.L))
    ]
    for _ in range(steps):
        point = torch.cat([x, z], 1)
        parts = []
        for side in charges:
            difference = point[:, None] - side[None]
            weight = difference.norm(dim=-1, keepdim=True) ** -point.shape[1]
            parts.append((difference * weight).mean(1))
        field = parts[0] - parts[1]
        x, z = x + field[:, :-1] / field[:, -1:] * dz, z + dz
    return x


def algorithm_2_rows(device: str) -> list[Row]:
    """LINES lines of Algorithm 2; to beat: 30 times the broadcast loop on two cores, 300 times on a GPU."""
    plates = _toy(device)
    x = make_source("gaussian").draw(LINES, step_generator(0, 2, 800)).to(device)
    field = ExactField(plates)
    part, _ = timed(lambda: broadcast_algorithm_2(plates, x, _BROADCAST_STEPS), 1 if device == "cpu" else 3)
    seconds = {"broadcast torch loop": part * STEPS / _BROADCAST_STEPS}
    for backend in ("torch", "cpp"):
        repeats = 1 if backend == "torch" else 3
        seconds[f"efm_fast, {backend}"] = timed(
            lambda backend=backend: forward_map(field, x, steps=STEPS, backend=backend),  # type: ignore[misc]
            repeats,
        )[0]
    pairs = LINES * 2 * CHARGES * STEPS
    return [
        {
            "solver": name,
            "seconds": found,
            "Gpair/s": pairs / found / 1e9,
            "times broadcast": seconds["broadcast torch loop"] / found,
        }
        for name, found in seconds.items()
    ]


def pair_rate_rows(device: str) -> list[Row]:
    """Pairs per second of whole lines over those of the sums alone; to beat: 80 %."""
    plates = _toy(device)
    x, z = (part.to(device) for part in launch(plates.plus.cpu(), torch.arange(LINES), seed=1))

    # many points: at a bundle's own number a call's fixed cost would flatter the lines
    many, heights = x.repeat(_REPEATED, 1), z.repeat(_REPEATED)

    def sums() -> None:
        riesz_sum(many, plates.plus, power=3.0, height=heights)
        riesz_sum(many, plates.minus, power=3.0, height=heights - L)

    alone = len(many) * 2 * CHARGES / timed(sums, 10)[0]
    kinds: dict[str, Callable[[], Lines]] = {
        "Algorithm 2, equal lengths": lambda: forward_map(ExactField(plates), x, steps=STEPS),
        "charge to charge, RK4": lambda: trace_lines(x, z, plates.plus, plates.minus, L),
        "charge to charge, Dormand-Prince": lambda: trace_lines(
            x, z, plates.plus, plates.minus, L, method="dopri5"
        ),
    }
    rows: list[Row] = [{"what": "riesz_sum alone", "Gpair/s": alone / 1e9, "share": 1.0, "evaluations": 1.0}]
    for name, call in kinds.items():
        seconds, lines = timed(call)
        rate = float(lines.evaluations.sum()) * 2 * CHARGES / seconds
        mean, most = float(lines.evaluations.double().mean()), int(lines.evaluations.max())
        row: Row = {"what": name, "Gpair/s": rate / 1e9, "share": rate / alone}
        rows.append(row | {"evaluations": mean, "longest": most, "lines/s": LINES / seconds})
    return rows


@contextmanager
def _bank_clock() -> Iterator[list[float]]:
    """Seconds of every renewal of a line bank while the context lasts."""
    seconds: list[float] = []
    renew = LineBank._renew

    def clocked(self: LineBank, edition: int, like: Tensor) -> None:
        begin = time.perf_counter()
        renew(self, edition, like)
        seconds.append(time.perf_counter() - begin)

    LineBank._renew = clocked  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        LineBank._renew = renew  # type: ignore[method-assign]


def bank_rows(steps: int) -> list[Row]:
    """Share of training that a line bank takes on the toy problem; to beat: 10 %."""
    with tempfile.TemporaryDirectory() as folder, _bank_clock() as renewals:
        settings = {"method.points.strategy": "lines", "train.steps": steps, "runs": folder, "name": "bank"}
        begin = time.perf_counter()
        train("gaussian_to_swissroll", settings | {"train.picture_every": 10**9}, progress=False)
        total = time.perf_counter() - begin
    row: Row = {"problem": "gaussian_to_swissroll", "D": 2, "bank": 2048, "steps": steps}
    spent = sum(renewals)
    return [row | {"renewals": len(renewals), "seconds each": spent / len(renewals), "share": spent / total}]


def image_bank_rows(features: int = 3072, bank: int = 1024, refresh: int = 1000) -> list[Row]:
    """What a bank of image-sized charges costs per training step, were it renewed every ``refresh`` steps."""
    plus = make_source({"name": "gaussian", "shape": [3, 32, 32]})
    assert plus.dimension == features
    minus = make_source({"name": "gaussian", "shape": [3, 32, 32], "std": 0.5})
    strategy = LineBank(
        plus, minus, 1.0 * features**0.5, charges=bank, refresh=refresh, seed=0, clearance=0.1
    )
    seconds, _ = timed(lambda: strategy._renew(0, torch.zeros(1)), 1)
    row: Row = {"problem": "Gaussian images, 3 x 32 x 32", "D": features, "bank": bank}
    return [row | {"seconds each": seconds, "refresh": refresh, "ms per step": 1e3 * seconds / refresh}]

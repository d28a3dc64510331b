"""Where a training step's time goes, and what a sampling step costs beside its network.

    python -m bench.training            this machine; a few minutes on two cores
    python -m bench.training --quick    fewer repetitions and smaller batches: about a minute

Steps of two presets, timed part by part with the training loop's own parts: the MLP of gaussian_to_swissroll and the
U-Net of cifar10_generation on 3 x 32 x 32, with 256, 4096 and 50,000 charges per plate in the target. The images are
50,000 of random bytes: all times but a sampler's adaptive ones depend on shapes, not on what is in them. On a CPU the
U-Net gets a small batch, which the table names; a second table times the target alone at the preset's own batch. Run
it on an idle machine, or with OMP_NUM_THREADS=1 beside other work: threads that wait for each other measure nothing.

A sampling step is one call of the network and one update, x += f_x / f_z dz. Both are timed alone at batch 256 of
3 x 32 x 32 with a U-Net of 64 channels, and so is the forward map with the network's output stored: all of a step but
the network.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.common.record import print_table, write_result
from bench.common.timing import synchronise
from efm_fast.config import Config
from efm_fast.data import Source, charge_loader, make_source, step_generator
from efm_fast.errors import EfmError
from efm_fast.lines import forward_map
from efm_fast.lines.integrate.slope_step import means_step, slope_step
from efm_fast.methods import LearnedField, Method, make_method
from efm_fast.methods import Problem as MethodProblem
from efm_fast.runs.measure import measure
from efm_fast.runs.run import resolve_device, untrained
from efm_fast.training.state import TrainingState
from efm_fast.types import Plates

CHARGES = (256, 4096, 50_000)
PARTS = ("data", "points", "target", "network", "optimiser")
_IMAGES, _SHAPE = 50_000, (3, 32, 32)
_UPDATE = {
    "net.width": 64,
    "net.depth": 2,
    "net.levels": [1, 2, 2],
    "train.bf16": False,
    "method.sample.solver": "midpoint",
    "method.sample.spacing": "uniform",
}
_UPDATE_LIMIT = 0.02  # of the network's own time
_STEPS = 4  # of the map that is timed without its network


@dataclass(frozen=True)
class Subject:
    """A preset whose steps are timed; ``batch`` and ``steps`` on a CPU, and with --quick."""

    name: str
    preset: str
    images: bool
    batch: int
    steps: int
    quick_batch: int
    quick_steps: int


SUBJECTS = (
    Subject("mlp", "gaussian_to_swissroll", False, 256, 40, 256, 10),
    Subject("unet", "cifar10_generation", True, 8, 2, 2, 1),
)


@dataclass
class Clock:
    """Seconds of every part, measured with the device idle at both ends."""

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done inside as ``name``."""
        synchronise(self.device)
        begin = time.perf_counter()
        yield
        synchronise(self.device)
        self.seconds.setdefault(name, []).append(time.perf_counter() - begin)

    def median(self, name: str) -> float:
        """Median seconds of a part, its first run left out: that one warms up."""
        return statistics.median(self.seconds[name][1:])


def sources(config: Config, images: bool) -> tuple[Source, Source]:
    """The preset's own data; random bytes where it asks for images that may not be here."""
    plus = make_source(config.plus, seed=config.seed)
    if not images:
        return plus, make_source(config.minus, seed=config.seed)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(256, (_IMAGES, *_SHAPE), generator=generator, dtype=torch.uint8)
    return plus, make_source({"name": "tensor", "data": rows, "held_out": 0.0})


def method_of(config: Config, plus: Source, minus: Source) -> Method:
    """The method of ``config`` for these data."""
    return make_method(config.method, MethodProblem(measure(config, plus, minus), plus, minus, config.seed))


@dataclass(frozen=True)
class Problem:
    """What a subject's steps need: its settings, data and lengths."""

    subject: Subject
    config: Config
    method: Method

    @classmethod
    def of(cls, subject: Subject, device: torch.device, quick: bool) -> Problem:
        """Read the preset and make its data; on a CPU with the subject's own batch."""
        overrides: dict[str, Any] = {"device": str(device)}
        if device.type == "cpu":
            overrides["train.batch"] = subject.quick_batch if quick else subject.batch
        config = Config.load(subject.preset, overrides)
        plus, minus = sources(config, subject.images)
        return cls(subject, config, method_of(config, plus, minus))


def timed_steps(problem: Problem, charges: int, steps: int, device: torch.device) -> Clock:
    """Time ``steps`` optimiser steps, and one before them that warms up, as ``efm_fast.train`` takes them."""
    config, settings, method = problem.config, problem.config.train, problem.method
    state = TrainingState(untrained(config, method).to(device), settings)
    parametrisation, L = method.parametrisation, method.problem.geometry.L
    loaders = [
        iter(charge_loader(source, charges, seed=config.seed, stream=stream))
        for stream, source in enumerate((method.problem.plus, method.problem.minus))
    ]
    generator = torch.Generator(device).manual_seed(config.seed)
    clock = Clock(device)
    for step in range(steps + 1):
        with clock.part("data"):
            plus, minus = (next(loader).to(device) for loader in loaders)
        with clock.part("points"):
            points = method.points(Plates(plus, minus, L), settings.batch, generator, step)
        with clock.part("target"):
            target = parametrisation.target(points)
        with clock.part("network"):
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                features, scalar = state.field(points.x, points.z)
            loss = parametrisation.loss(features.float(), scalar.float(), points, target)
            state.optimizer.zero_grad()
            loss.backward()
        with clock.part("optimiser"):
            state.update()
    return clock


def step_rows(problem: Problem, device: torch.device, quick: bool) -> list[dict[str, Any]]:
    """One row per number of charges: milliseconds of every part, their sum, and the target's share of it."""
    subject = problem.subject
    steps = subject.quick_steps if quick else subject.steps
    rows = []
    for charges in CHARGES:
        clock = timed_steps(problem, charges, steps, device)
        parts = {name: 1e3 * clock.median(name) for name in PARTS}
        total = sum(parts.values())
        row = {"charges": charges, "batch": problem.config.train.batch, "steps": steps, **parts}
        rows.append(row | {"step": total, "share of target": parts["target"] / total})
    return rows


def target_rows(problem: Problem, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """The target alone at the preset's own batch."""
    method, data = problem.method, problem.method.problem
    batch = Config.load(problem.subject.preset).train.batch
    rows = []
    for charges in CHARGES:
        drawn = [s.draw(charges, step_generator(0, 0, k)) for k, s in enumerate((data.plus, data.minus))]
        plates = Plates(drawn[0].to(device), drawn[1].to(device), data.geometry.L)
        points = method.points(plates, batch, torch.Generator(device).manual_seed(0), 0)
        seconds = _median_seconds(functools.partial(method.parametrisation.target, points), device, repeats)
        pairs = 2 * batch * charges / seconds
        row = {"D": points.x.shape[1], "batch": batch, "charges": charges, "ms": 1e3 * seconds}
        rows.append(row | {"Gpair/s": pairs / 1e9, "GFLOP/s": 4e-9 * points.x.shape[1] * pairs})
    return rows


def _median_seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    clock = Clock(device)
    for _ in range(repeats + 1):
        with clock.part("call"):
            call()
    return clock.median("call")


class Replayed(nn.Module):
    """A backbone that gives what another one gave, at no cost."""

    def __init__(self, output: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The stored output, whatever the input."""
        return self.output


def update(learned: LearnedField, x: Tensor, z: float, dz: float) -> Callable[[], Tensor]:
    """One Euler step of Algorithm 2 from what the network has given at ``x`` and ``z``, as the forward map takes it."""
    height, steepest = torch.full_like(x[:, 0], z), 10.0 * math.sqrt(x.shape[1] + 1)
    posterior = learned.posterior(x, height)
    if posterior is not None:
        return functools.partial(means_step, x, x, z, posterior, learned.L, dz, steepest)
    return functools.partial(slope_step, x, learned.direction(x, height), dz, steepest)


def update_rows(device: torch.device, batch: int, repeats: int) -> list[dict[str, Any]]:
    """What a sampling step adds to one call of the network, for both parametrisations."""
    rows = []
    for name in ("plate_means", "direct"):
        overrides = {**_UPDATE, "method.parametrisation": name, "device": str(device)}
        config = Config.load("cifar10_generation", overrides)
        plus, minus = sources(config, True)
        learned = untrained(config, method_of(config, plus, minus)).to(device).eval()
        x = plus.draw(batch, step_generator(0, 0)).to(device)
        z = learned.L / 2
        with torch.no_grad():
            call = functools.partial(learned, x, torch.full_like(x[:, 0], z))
            network = _median_seconds(call, device, repeats)
            learned.backbone = Replayed(call())
            fused = _median_seconds(update(learned, x, z, 1e-3 * z), device, 50)
            map_of = functools.partial(forward_map, learned, x, steps=_STEPS)
            beside = _median_seconds(map_of, device, 10) / _STEPS
        row = {
            "parametrisation": name,
            "batch": batch,
            "network, ms": 1e3 * network,
            "update, ms": 1e3 * fused,
        }
        row |= {"all but the network, ms": 1e3 * beside, "share of update": fused / network}
        rows.append(row | {"share of all": beside / network, "under 2 %": beside / network < _UPDATE_LIMIT})
    return rows


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as a table to print and to render; times to three digits, shares in per cent."""

    def text(key: str, value: Any) -> Any:
        if key.startswith("share"):
            return f"{value:.2%}"
        return float(f"{value:.3g}") if isinstance(value, float) else value

    columns = [f"{key}, ms" if key in (*PARTS, "step") else key for key in rows[0]]
    return {"columns": columns, "rows": [[text(key, value) for key, value in row.items()] for row in rows]}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 2 for a mistake in the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller batches")
    options = parser.parse_args(arguments)
    try:
        device = resolve_device(options.device)
    except EfmError as mistake:
        print(f"bench.training: {mistake}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    measured: dict[str, list[dict[str, Any]]] = {}
    for subject in SUBJECTS:
        problem = Problem.of(subject, device, options.quick)
        measured[subject.name] = step_rows(problem, device, options.quick)
        measured[f"{subject.name}-target"] = target_rows(problem, device, 1 if options.quick else 3)
    measured["update"] = update_rows(device, 16 if options.quick else 256, 1)
    tables = {name: table(rows) for name, rows in measured.items()}
    for name, shown in tables.items():
        print(f"\n{name}")
        print_table(shown["rows"], shown["columns"])
    name = f"training_step-{device.type}" + ("_quick" if options.quick else "")
    path = write_result(name, {"measured": measured, "tables": tables})
    print(f"wrote {path.name} in bench/results/ after {time.monotonic() - begin:.0f} s")
    return 0

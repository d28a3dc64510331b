"""How the rows of bench.transport are measured: train what learns, follow it, compare with held-out data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from efm_fast import couple
from efm_fast.config import Config
from efm_fast.data import GlyphShapes, Source, make_source, step_generator
from efm_fast.lines import ExactField, Lines, Support, forward_map, full_map
from efm_fast.methods.interplate import FluxPoints, InterplatePoints, InterplateStrategy
from efm_fast.metrics import Outcome, measure, true_glyphs
from efm_fast.runs.measure import measure as measure_lengths
from efm_fast.runs.sources import make_sources
from efm_fast.sampling import sample
from efm_fast.training import Run, resume, train
from efm_fast.types import Plates

Overrides = Mapping[str, Any]
#: Numbers of every map, from a preset, settings that differ and the number of held-out samples.
Measure = Callable[[str, Overrides, int], list[dict[str, Any]]]
#: Names of maps, {} for their evaluations, and how they are asked for.
Ways = Sequence[tuple[str, Mapping[str, Any]]]
_STREAM = 600  # apart from the streams of training
_CHARGES = 2048  # per plate of the exact field
_FAR_CHARGES = (4096, 32768)  # of the minus plate, for exact lines of images


def _numbers(
    kind: str, lines: Lines, held_out: tuple[Tensor, Tensor, Tensor], plates: tuple[Source, Source]
) -> dict[str, Any]:
    x0, target, other = held_out
    evaluations = lines.evaluations.double()
    return {
        "map": kind.format(int(evaluations.max())),
        "evaluations": float(evaluations.mean()),
        "most_evaluations": int(evaluations.max()),
        "unfinished": float((~lines.arrived).double().mean()),
        **measure(plates[1], Outcome(x0, torch.nan_to_num(lines.end), target, other, plates[0])),
    }


def _held_out(plus: Source, minus: Source, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = step_generator(seed, 0, _STREAM)
    x0, target, other = (source.draw(n, generator, "test") for source in (plus, minus, minus))
    return x0, target, other


def travel(run: Run, n: int, options: Ways) -> list[dict[str, Any]]:
    """Numbers of a trained run for every way to sample in ``options``, from the method's prior where it has one."""
    x0, target, other = _held_out(run.plus, run.minus, n, run.config.seed)
    if run.method.has_prior:
        x0 = run.method.start(n, step_generator(run.config.seed, 0, _STREAM + 1))
    held_out = (x0, target, other)
    return [
        _numbers(kind, sample(run, x0, **chosen), held_out, (run.plus, run.minus)) for kind, chosen in options
    ]


@dataclass(frozen=True)
class Trained:
    """Train, then measure; a record rather than a closure, for it goes to worker processes.

    Attributes:
        ways: how the trained run is sampled.
        method: settings of the method, which a row's own may change.
    """

    ways: Ways
    method: Overrides = field(default_factory=dict)

    def __call__(self, preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
        """Numbers of every way to sample."""
        return travel(learned(preset, {**self.method, **overrides}), n, self.ways)


def learned(preset: str, overrides: Overrides, strategy: InterplateStrategy | None = None) -> Run:
    """Train, or go on with the run of these settings that a bench left in the folder ``runs``, under its ``name``."""
    if "name" in overrides and (left := Path(overrides["runs"]) / overrides["name"]).is_dir():
        return resume(left, strategy=strategy, progress=False)
    return train(preset, overrides, strategy=strategy, progress=False)


def exact_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """The exact field of 2048 charges per plate: full map, and algorithm 2 with 100 Euler steps from 0.05 L."""
    config = Config.load(preset, overrides)
    plus, minus = make_sources(config)
    generator = step_generator(config.seed, 1, _STREAM)
    L = measure_lengths(config, plus, minus).L
    plates = Plates(plus.draw(_CHARGES, generator), minus.draw(_CHARGES, generator), L)
    held_out = _held_out(plus, minus, n, config.seed)
    exact, support = ExactField(plates), Support.of(plates.plus, plates.minus)
    maps = {
        "exact, full": full_map(exact, held_out[0], support=support, seed=config.seed),
        "exact, algorithm 2": forward_map(exact, held_out[0], steps=100, start=0.05 * L),
    }
    return [_numbers(kind, lines, held_out, (plus, minus)) for kind, lines in maps.items()]


def exact_lines(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Training data on which exact perpendicular lines from held-out data end, for fewer and more charges."""
    config = Config.load(preset, overrides)
    plus, minus = make_sources(config)
    L = measure_lengths(config, plus, minus).L
    x0, target, other = _held_out(plus, minus, n, config.seed)
    rows = []
    for charges in _FAR_CHARGES:
        far = minus.draw(charges, step_generator(config.seed, 1, _STREAM))
        pairs = couple(x0, far, kind="lines", L=L, both_ways=False)
        end = torch.zeros_like(x0)  # of lines that did not arrive
        end[pairs.plus] = far[pairs.minus]
        outcome = Outcome(x0, end, target, other, plus)
        rows.append(
            {
                "map": f"{charges} charges",
                "evaluations": float(pairs.evaluations.double().mean()),
                "unfinished": 1 - len(pairs.plus) / n,
                **measure(minus, outcome),
            }
        )
    return rows


def true_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """What a perfect map would get: nothing is learned, and the outputs are the same fonts' real characters."""
    config = Config.load(preset, overrides)
    plus, minus = make_sources(config)
    assert isinstance(plus, GlyphShapes)
    assert isinstance(minus, GlyphShapes)
    x0, target, other = _held_out(plus, minus, n, config.seed)
    truth = Outcome(x0, true_glyphs(x0, plus, minus), target, other, plus)
    return [{"map": "real", **measure(minus, truth)}]


def real_samples(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """What a perfect generator would get: nothing is learned, and the outputs are other held-out data."""
    config = Config.load(preset, overrides)
    plus, minus = make_sources(config)
    x0, target, other = _held_out(plus, minus, n, config.seed)
    return [{"map": "real", **measure(minus, Outcome(x0, other, target, other, plus))}]


class ForeignTarget:
    """Flux points whose target is another minibatch's field: the unbiased target taken away."""

    def __init__(self, plus: Source, minus: Source, inner: FluxPoints) -> None:
        self.sources, self.inner = (plus, minus), inner

    def __call__(self, plates: Plates, n: int, generator: Generator, step: int = 0) -> InterplatePoints:
        """Points of charges that the step's target does not hold."""
        rows = [
            s.draw(len(plates.plus), step_generator(0, step, 700 + k)) for k, s in enumerate(self.sources)
        ]
        points = self.inner(Plates(rows[0], rows[1], plates.L), n, generator, step)
        return InterplatePoints(points.x, points.z, plates, generated=True)


def biased_digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """The forward map at several numbers of steps, of a run that learned from targets of foreign charges."""
    config = Config.load(preset, overrides)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    inner = FluxPoints(nearest=measure_lengths(config, plus, minus).nearest)
    return travel(learned(preset, overrides, ForeignTarget(plus, minus, inner)), n, _STEPS)


_STEPS = [("{} evaluations", {"map": "forward", "steps": steps}) for steps in (2, 4, 6, 14)]
_FLOW, _PFGM = {"method.name": "flow_matching"}, {"method.name": "pfgm"}

#: The full map and the forward map at their own settings.
learned_maps = Trained([("learned, full", {"map": "full"}), ("learned, forward", {"map": "forward"})])
#: Flow matching with the same network and budget, 100 and 10 Euler steps.
flow_maps = Trained([("{} Euler steps", {"steps": steps}) for steps in (100, 10)], _FLOW)
#: PFGM with the same network and budget, from its own prior: adaptive Runge-Kutta, and 100 Euler steps.
pfgm_maps = Trained([("Runge-Kutta", {}), ("{} Euler steps", {"steps": 100})], _PFGM)
#: The forward map at several numbers of steps.
digit_maps = Trained(_STEPS)
#: The full map at its own settings and the forward map of 13 evaluations.
generated_digit_maps = Trained(
    [("full map", {"map": "full"}), ("forward map", {"map": "forward", "steps": 6})]
)
#: Flow matching on digits.
flow_digit_maps = Trained([("{} evaluations", {"steps": steps}) for steps in (5, 20, 160)], _FLOW)
#: PFGM on digits. An adaptive solver's count differs between seeds, so the name of the map does not hold it.
pfgm_digit_maps = Trained([("Runge-Kutta", {}), ("{} evaluations", {"steps": 20})], _PFGM)

"""How the rows of bench.transport are measured: train what learns, follow it, compare with held-out data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from bench.transport.flow_matching import follow_flow, train_flow
from bench.transport.pfgm import train_pfgm
from efm_fast.config import Config
from efm_fast.data import ColouredShapes, Source, make_source, step_generator
from efm_fast.methods.interplate import FluxPoints, InterplatePoints
from efm_fast.lines import ExactField, Lines, Support, forward_map, full_map
from efm_fast.metrics import DigitReader, generation_report, translation_report, transport_report
from efm_fast.sampling import sample
from efm_fast.training import Run, train
from efm_fast.types import Plates

Overrides = Mapping[str, Any]
#: Numbers of every map, from a preset, settings that differ and the number of held-out samples.
Measure = Callable[[str, Overrides, int], list[dict[str, Any]]]
_STREAM = 600  # apart from the streams of training
_CHARGES = 2048  # per plate of the exact field


def _transport(kind: str, lines: Lines, x0: Tensor, target: Tensor, other: Tensor) -> dict[str, Any]:
    ends = torch.nan_to_num(lines.end)
    numbers = transport_report(ends, target, other, x0).as_dict()
    evaluations = lines.evaluations.double()
    return {
        "map": kind,
        "evaluations": float(evaluations.mean()),
        "most_evaluations": int(evaluations.max()),
        "unfinished": float((~lines.arrived).double().mean()),
        **numbers,
    }


def _held_out(plus: Source, minus: Source, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = step_generator(seed, 0, _STREAM)
    x0, target, other = (source.draw(n, generator, "test") for source in (plus, minus, minus))
    return x0, target, other


def learned_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Train, then measure the full map and the forward map at their own settings."""
    run = train(preset, overrides, progress=False)
    x0, target, other = _held_out(run.plus, run.minus, n, run.config.seed)
    return [
        _transport(f"learned, {kind}", sample(run, x0, map=kind), x0, target, other)
        for kind in ("full", "forward")
    ]


def exact_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """The exact field of 2048 charges per plate: full map, and algorithm 2 with 100 Euler steps from 0.05 L."""
    config = Config.load(preset, overrides)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    generator = step_generator(config.seed, 1, _STREAM)
    plates = Plates(plus.draw(_CHARGES, generator), minus.draw(_CHARGES, generator), float(config.L))
    x0, target, other = _held_out(plus, minus, n, config.seed)
    exact, support = ExactField(plates), Support.of(plates.plus, plates.minus)
    maps = {
        "exact, full": full_map(exact, x0, support=support, seed=config.seed),
        "exact, algorithm 2": forward_map(exact, x0, steps=100, start=0.05 * plates.L),
    }
    return [_transport(kind, lines, x0, target, other) for kind, lines in maps.items()]


def flow_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Flow matching with the same net and budget, 100 and 10 Euler steps."""
    config = Config.load(preset, overrides)
    net = train_flow(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    x0, target, other = _held_out(plus, minus, n, config.seed)
    return [
        {
            "map": f"{steps} Euler steps",
            "evaluations": steps,
            "most_evaluations": steps,
            "unfinished": 0.0,
            **transport_report(follow_flow(net, x0, steps), target, other, x0).as_dict(),
        }
        for steps in (100, 10)
    ]


def pfgm_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """PFGM with the same net and budget, from its own prior: adaptive Runge-Kutta, and 100 Euler steps."""
    config = Config.load(preset, overrides)
    model = train_pfgm(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    _, target, other = _held_out(plus, minus, n, config.seed)
    x0 = model.prior(n, config.seed)
    found = []
    for steps in (None, 100):
        ends, evaluations = model.follow(x0, steps)
        found.append(
            {
                "map": "Runge-Kutta" if steps is None else f"{steps} Euler steps",
                "evaluations": evaluations,
                "most_evaluations": evaluations,
                "unfinished": float((~torch.isfinite(ends).all(1)).double().mean()),
                **transport_report(torch.nan_to_num(ends), target, other, x0).as_dict(),
            }
        )
    return found


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


def _train_biased(preset: str, overrides: Overrides) -> Run:
    from efm_fast.runs.measure import measure
    from efm_fast.training.strategies import make_strategy

    config = Config.load(preset, overrides)
    sources = [make_source(spec, seed=config.seed) for spec in (config.plus, config.minus)]
    inner = make_strategy(config, measure(config, *sources), *sources)
    assert isinstance(inner, FluxPoints)
    return train(config, strategy=ForeignTarget(sources[0], sources[1], inner), progress=False)


def _digit_numbers(x0: Tensor, ends: Tensor, source: Source, target: Source) -> dict[str, Any]:
    assert isinstance(target, ColouredShapes)
    ends = torch.nan_to_num(ends)
    if isinstance(source, ColouredShapes) and target.label is not None:
        return translation_report(x0, ends, target, target.label, reader=DigitReader(target)).as_dict()
    return generation_report(ends, target, reader=DigitReader(target)).as_dict()


def digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Train, then measure the forward map at several numbers of steps on held-out digits."""
    return _measure_digits(train(preset, overrides, progress=False), n)


def generated_digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Train, then measure the full map at its own settings and the forward map of 13 evaluations."""
    run = train(preset, overrides, progress=False)
    x0, *_ = _held_out(run.plus, run.minus, n, run.config.seed)
    found = []
    for kind, steps in (("full", None), ("forward", 6)):
        lines = sample(run, x0, map=kind, steps=steps)  # type: ignore[arg-type]
        found.append(
            {
                "map": f"{kind} map",
                "evaluations": float(lines.evaluations.double().mean()),
                "most_evaluations": int(lines.evaluations.max()),
                "unfinished": float((~lines.arrived).double().mean()),
                **_digit_numbers(x0, lines.end, run.plus, run.minus),
            }
        )
    return found


def biased_digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """The same with the target of foreign charges."""
    return _measure_digits(_train_biased(preset, overrides), n)


def _measure_digits(run: Run, n: int) -> list[dict[str, Any]]:
    x0, *_ = _held_out(run.plus, run.minus, n, run.config.seed)
    found = []
    for steps in (2, 4, 6, 14):
        lines = sample(run, x0, map="forward", steps=steps)
        evaluations = int(lines.evaluations.max())
        numbers = _digit_numbers(x0, lines.end, run.plus, run.minus)
        found.append({"map": f"{evaluations} evaluations", "evaluations": evaluations, **numbers})
    return found


def flow_digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """Flow matching on digits, 20 and 160 Euler steps."""
    config = Config.load(preset, overrides)
    net = train_flow(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    x0, *_ = _held_out(plus, minus, n, config.seed)
    return [
        {
            "map": f"{steps} evaluations",
            "evaluations": steps,
            **_digit_numbers(x0, follow_flow(net, x0, steps), plus, minus),
        }
        for steps in (20, 160)
    ]


def pfgm_digit_maps(preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
    """PFGM on digits from its own prior: adaptive Runge-Kutta, and 20 Euler steps."""
    config = Config.load(preset, overrides)
    model = train_pfgm(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    x0 = model.prior(n, config.seed)
    found = []
    for steps in (None, 20):
        ends, evaluations = model.follow(x0, steps)
        numbers = _digit_numbers(x0, ends, plus, minus)
        # an adaptive solver's count differs between seeds, so the name of the map does not hold it
        kind = "Runge-Kutta" if steps is None else f"{steps} evaluations"
        found.append({"map": kind, "evaluations": evaluations, **numbers})
    return found

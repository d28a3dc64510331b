"""The studies of bench/transport.py: which rows they compare and what they measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flow_matching import follow_flow, train_flow
from matplotlib.figure import Figure
from torch import Generator, Tensor

from efm_fast.config import Config
from efm_fast.data import ColouredShapes, Source, make_source, step_generator
from efm_fast.interplate import FluxPoints, InterplatePoints
from efm_fast.lines import ExactField, Lines, Support, forward_map, full_map
from efm_fast.metrics import DigitReader, generation_report, translation_report, transport_report
from efm_fast.sampling import sample
from efm_fast.training import Run, train
from efm_fast.types import Plates

Overrides = Mapping[str, Any]
Measure = Callable[[str, Overrides], list[dict[str, Any]]]
_STREAM = 600  # apart from the streams of training
_POINTS, _IMAGES, _CHARGES = 2000, 512, 2048


@dataclass(frozen=True)
class Row:
    """One thing to compare: a preset, settings that differ, and how it is measured; ``once``: seed 0 only."""

    name: str
    preset: str
    measure: Measure
    overrides: Overrides = field(default_factory=dict)
    once: bool = False


@dataclass(frozen=True)
class Study:
    """Rows, the numbers to show with their decimals, and a picture of the table where one helps."""

    name: str
    title: str
    rows: tuple[Row, ...]
    columns: Mapping[str, int]
    images: bool = False
    picture: Callable[[list[dict[str, Any]], Path], Path] | None = None


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


def learned_maps(preset: str, overrides: Overrides) -> list[dict[str, Any]]:
    """Train, then measure the full map and the forward map at their own settings."""
    run = train(preset, overrides, progress=False)
    x0, target, other = _held_out(run.plus, run.minus, _POINTS, run.config.seed)
    return [
        _transport(f"learned, {kind}", sample(run, x0, map=kind), x0, target, other)
        for kind in ("full", "forward")
    ]


def exact_maps(preset: str, overrides: Overrides) -> list[dict[str, Any]]:
    """The exact field of 2048 charges per plate: full map, and algorithm 2 with 100 Euler steps from 0.05 L."""
    config = Config.load(preset, overrides)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    generator = step_generator(config.seed, 1, _STREAM)
    plates = Plates(plus.draw(_CHARGES, generator), minus.draw(_CHARGES, generator), float(config.L))
    x0, target, other = _held_out(plus, minus, _POINTS, config.seed)
    exact, support = ExactField(plates), Support.of(plates.plus, plates.minus)
    maps = {
        "exact, full": full_map(exact, x0, support=support, seed=config.seed),
        "exact, algorithm 2": forward_map(exact, x0, steps=100, start=0.05 * plates.L),
    }
    return [_transport(kind, lines, x0, target, other) for kind, lines in maps.items()]


def flow_maps(preset: str, overrides: Overrides) -> list[dict[str, Any]]:
    """Flow matching with the same net and budget, 100 and 10 Euler steps."""
    config = Config.load(preset, overrides)
    net = train_flow(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    x0, target, other = _held_out(plus, minus, _POINTS, config.seed)
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
    from efm_fast.training.geometry import measure
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


def digit_maps(
    preset: str, overrides: Overrides, steps: tuple[int, ...] = (2, 6, 14)
) -> list[dict[str, Any]]:
    """Train, then measure the forward map at several numbers of steps on held-out digits."""
    return _measure_digits(train(preset, overrides, progress=False), steps)


def biased_digit_maps(preset: str, overrides: Overrides) -> list[dict[str, Any]]:
    """The same with the target of foreign charges."""
    return _measure_digits(_train_biased(preset, overrides), (2, 6, 14))


def _measure_digits(run: Run, steps: tuple[int, ...]) -> list[dict[str, Any]]:
    x0, *_ = _held_out(run.plus, run.minus, _IMAGES, run.config.seed)
    found = []
    for count in steps:
        lines = sample(run, x0, map="forward", steps=count)
        evaluations = int(lines.evaluations.max())
        numbers = _digit_numbers(x0, lines.end, run.plus, run.minus)
        found.append({"map": f"{evaluations} evaluations", "evaluations": evaluations, **numbers})
    return found


def flow_digit_maps(preset: str, overrides: Overrides) -> list[dict[str, Any]]:
    """Flow matching on digits, 20 and 160 Euler steps."""
    config = Config.load(preset, overrides)
    net = train_flow(config)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    x0, *_ = _held_out(plus, minus, _IMAGES, config.seed)
    return [
        {
            "map": f"{steps} evaluations",
            "evaluations": steps,
            **_digit_numbers(x0, follow_flow(net, x0, steps), plus, minus),
        }
        for steps in (20, 160)
    ]


def draw_plate_distance(table: list[dict[str, Any]], path: Path) -> Path:
    """W2 against L, one curve per map, with the floor."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    kinds = sorted({line["map"] for line in table})
    for kind in kinds:
        lines = sorted((float(x["row"].removeprefix("L = ")), x["w2"]) for x in table if x["map"] == kind)
        axes.plot(*zip(*lines, strict=True), marker="o", label=kind)
    axes.axhline(sum(line["floor"] for line in table) / len(table), color="0.6", linestyle=":", label="floor")
    axes.set(xscale="log", xlabel="distance L between the plates", ylabel="W2 to the target", ylim=(0, None))
    axes.set_xticks([1, 3, 6, 10, 30], ["1", "3", "6", "10", "30"])
    axes.legend(frameon=False)
    figure.savefig(path, dpi=140)
    return path


_TOY, _DIGITS = "gaussian_to_swissroll", "digits_3_to_2"
_PAPER = {"points.strategy": "linear", "net.parametrisation": "direct"}
_MAP_COLUMNS = {"w2": 3, "floor": 3, "outliers": 4, "unfinished": 4, "evaluations": 1, "most_evaluations": 0}
_DIGIT_COLUMNS = {
    "read_as_wanted": 3,
    "hue_error_mean": 1,
    "hue_error_median": 1,
    "colour_error": 3,
    "like_real_ratio": 3,
    "coverage": 3,
}
_GENERATION_COLUMNS = {
    "recognised": 3,
    "class_gap": 3,
    "like_real_ratio": 3,
    "saturation": 3,
    "hue_gap": 3,
    "coverage": 3,
    "ideal_coverage": 3,
}

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "toy",
            "Gaussian to Swiss roll, L = 6: W2 on held-out data",
            (
                Row("efm_fast", _TOY, learned_maps),
                Row("exact field", _TOY, exact_maps),
                Row("flow matching", _TOY, flow_maps),
            ),
            _MAP_COLUMNS,
        ),
        Study(
            "normalization",
            "True superposition against the authors' per-plate form, same budget (direct field)",
            tuple(
                Row(f"linear points, {form}", _TOY, learned_maps, _PAPER | more)
                for form, more in (
                    ("superposition", {}),
                    ("per plate", {"target.normalization": "per_plate"}),
                )
            ),
            _MAP_COLUMNS,
        ),
        Study(
            "plate_distance",
            "What L does: Gaussian to Swiss roll at plate distances 1 to 30",
            tuple(
                Row(f"L = {L}", _TOY, measure, {"L": float(L)}, once=True)
                for L in (1, 3, 6, 10, 30)
                for measure in (learned_maps, exact_maps)
            ),
            _MAP_COLUMNS,
            picture=draw_plate_distance,
        ),
        Study(
            "digits",
            "Coloured handwritten 3s to 2s, held out, D = 192: each part of the recipe taken away in turn",
            (
                Row("efm_fast", _DIGITS, digit_maps),
                Row("without flux points", _DIGITS, digit_maps, {"points.strategy": "linear"}),
                Row("without the unbiased target", _DIGITS, biased_digit_maps),
                Row("without plate means", _DIGITS, digit_maps, {"net.parametrisation": "direct"}),
                Row("the paper's recipe", _DIGITS, digit_maps, _PAPER),
                Row("flow matching", _DIGITS, flow_digit_maps),
            ),
            _DIGIT_COLUMNS,
            images=True,
        ),
        Study(
            "generation",
            "Noise to coloured digits of all ten classes, D = 192",
            (
                Row("efm_fast", "digits_generation", digit_maps),
                Row("flow matching", "digits_generation", flow_digit_maps),
            ),
            _GENERATION_COLUMNS,
            images=True,
        ),
    )
}

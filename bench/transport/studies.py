"""The studies of bench.transport: which rows they compare, and which targets the numbers must reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.transport.maps import (
    Measure,
    Overrides,
    biased_digit_maps,
    digit_maps,
    exact_maps,
    flow_digit_maps,
    flow_maps,
    generated_digit_maps,
    learned_maps,
    pfgm_digit_maps,
    pfgm_maps,
)
from bench.transport.verdict import Better, Question, questions

Picture = Callable[[list[dict[str, Any]], Path], Path]
PLATE_DISTANCES = (1, 3, 6, 10, 30)
#: Charges per plate in a target; all points of a step share them, also a single one.
CHARGES = (1, 16, 256, 1024, 4096, 16384)
STRATEGIES = ("flux", "linear", "box", "lines")
PARAMETRISATIONS = {"plate means": "plate_means", "direct": "direct"}


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
    """Rows, the numbers to show with their decimals, what to ask of them, and a picture where one helps.

    ``measured_on`` is the number of held-out samples of vectors that every map is measured on.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    columns: Mapping[str, int]
    asks: tuple[Question, ...]
    images: bool = False
    picture: Picture | None = None
    measured_on: int = 2000

    def samples(self, quick: bool) -> int:
        """Held-out samples that every map is measured on: exact W2 takes most of a short run's time."""
        return (256 if quick else 512) if self.images else (500 if quick else self.measured_on)


def curve(prefix: str, suffix: str, ticks: tuple[int, ...], label: str) -> Picture:
    """A picture of W2 against the number in a row's name, one curve per map, with the floor."""

    def draw(table: list[dict[str, Any]], path: Path) -> Path:
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for kind in sorted({line["map"] for line in table}):
            lines = [line for line in table if line["map"] == kind]
            points = sorted(
                (float(x["row"].removeprefix(prefix).removesuffix(suffix)), x["w2"]) for x in lines
            )
            axes.plot(*zip(*points, strict=True), marker="o", label=kind)
        floor = sum(line["floor"] for line in table) / len(table)
        axes.axhline(floor, color="0.6", linestyle=":", label="floor")
        axes.set(xscale="log", xlabel=label, ylabel="W2 to the target", ylim=(0, None))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False)
        figure.savefig(path, dpi=140)
        return path

    return draw


def recipes(preset: str, measure: Measure, more: dict[str, Overrides]) -> tuple[Row, ...]:
    """Every strategy of inter-plate points, with ``more`` settings of its own, with both parametrisations."""
    return tuple(
        Row(
            f"{strategy}, {name}",
            preset,
            measure,
            {"method.points.strategy": strategy, "method.parametrisation": value, **more.get(strategy, {})},
            once=True,
        )
        for strategy in STRATEGIES
        for name, value in PARAMETRISATIONS.items()
    )


def charge_rows(preset: str, measure: Measure) -> tuple[Row, ...]:
    """The preset's own recipe with 1 to 16384 charges per plate in the target."""
    return tuple(
        Row(f"{count} charges", preset, measure, {"method.points.charges": count}, once=True)
        for count in CHARGES
    )


_TOY, _DIGITS, _GENERATION = "gaussian_to_swissroll", "digits_3_to_2", "digits_generation"
_PAPER = {"method.points.strategy": "linear", "method.parametrisation": "direct"}
_FLUX = "flux, plate means"
_OPTIMAL = {"method.name": "flow_matching", "method.pairs": "optimal_transport"}
MAP_COLUMNS = {"w2": 3, "floor": 3, "outliers": 4, "unfinished": 4, "evaluations": 1, "most_evaluations": 0}
_DIGIT_COLUMNS = {
    "read_as_wanted": 3,
    "hue_error_mean": 1,
    "hue_error_median": 1,
    "colour_error": 3,
    "like_real_ratio": 3,
    "coverage": 3,
}
GENERATION_COLUMNS = {
    "evaluations": 1,
    "recognised": 3,
    "class_gap": 3,
    "like_real_ratio": 3,
    "saturation": 3,
    "hue_gap": 3,
    "coverage": 3,
    "ideal_coverage": 3,
}
_DIGITS_ASK: dict[str, Better] = {
    "read_as_wanted": "high",
    "hue_error_mean": "low",
    "colour_error": "low",
    "like_real_ratio": "near 1",
    "coverage": "high",
}
GENERATION_ASK: dict[str, Better] = {
    "recognised": "high",
    "class_gap": "low",
    "like_real_ratio": "near 1",
    "saturation": "high",
    "hue_gap": "low",
    "coverage": "high",
}

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "toy",
            "Gaussian to Swiss roll, L = 6: W2 on held-out data (PFGM starts from its own prior)",
            (
                Row("efm_fast", _TOY, learned_maps),
                Row("exact field", _TOY, exact_maps),
                Row("flow matching", _TOY, flow_maps),
                Row("OT-CFM", _TOY, flow_maps, _OPTIMAL),
                Row("PFGM", _TOY, pfgm_maps),
            ),
            MAP_COLUMNS,
            (
                *questions(
                    ("efm_fast", 0), ("flow matching", 0), w2="low", outliers="low", evaluations="low"
                ),
                *questions(("efm_fast", 0), ("flow matching", 1), w2="low", evaluations="low"),
                *questions(("efm_fast", 0), ("OT-CFM", 1), w2="low", outliers="low", evaluations="low"),
                *questions(("efm_fast", 0), ("PFGM", 0), w2="low", outliers="low", evaluations="low"),
                *questions(("efm_fast", 0), ("exact field", 1), w2="low", evaluations="low"),
            ),
        ),
        Study(
            "normalization",
            "True superposition against the authors' per-plate form, same budget (direct field)",
            tuple(
                Row(f"linear points, {form}", _TOY, learned_maps, _PAPER | more)
                for form, more in (
                    ("superposition", {}),
                    ("per plate", {"method.normalization": "per_plate"}),
                )
            ),
            MAP_COLUMNS,
            questions(
                ("linear points, superposition", 1), ("linear points, per plate", 1), w2="low", outliers="low"
            ),
        ),
        Study(
            "plate_distance",
            "What L does: Gaussian to Swiss roll at plate distances 1 to 30",
            tuple(
                Row(f"L = {L}", _TOY, measure, {"method.L": float(L)}, once=True)
                for L in PLATE_DISTANCES
                for measure in (learned_maps, exact_maps)
            ),
            MAP_COLUMNS,
            tuple(q for L in PLATE_DISTANCES for q in questions((f"L = {L}", 0), (f"L = {L}", 3), w2="low")),
            picture=curve("L = ", "", PLATE_DISTANCES, "distance L between the plates"),
        ),
        Study(
            "points",
            "Where the field is learned, and as what: Gaussian to Swiss roll (box: 3 beyond the charges)",
            recipes(_TOY, learned_maps, {"box": {"method.points.margin": 3.0}}),
            MAP_COLUMNS,
            tuple(
                q
                for row in recipes(_TOY, learned_maps, {})[1:]
                for q in questions((_FLUX, 0), (row.name, 0), w2="low", outliers="low")
            ),
        ),
        Study(
            "charges",
            "Charges per plate in one target: Gaussian to Swiss roll",
            charge_rows(_TOY, learned_maps),
            MAP_COLUMNS,
            tuple(
                q
                for count in CHARGES
                if count != 1024
                for q in questions(("1024 charges", 0), (f"{count} charges", 0), w2="low")
            ),
            picture=curve("", " charges", CHARGES, "charges per plate in the target of one step"),
        ),
        Study(
            "digits",
            "Coloured handwritten 3s to 2s, held out, D = 192: one network and budget",
            (
                Row("efm_fast", _DIGITS, digit_maps),
                Row("the paper's recipe", _DIGITS, digit_maps, _PAPER),
                Row("flow matching", _DIGITS, flow_digit_maps),
                Row("OT-CFM", _DIGITS, flow_digit_maps, _OPTIMAL),
            ),
            _DIGIT_COLUMNS,
            (
                *questions(("efm_fast", 0), ("flow matching", 1), **_DIGITS_ASK),
                *questions(("efm_fast", 0), ("OT-CFM", 0), **_DIGITS_ASK),
                *questions(("efm_fast", 0), ("OT-CFM", 1), **_DIGITS_ASK),
                *questions(("efm_fast", 0), ("the paper's recipe", 3), **_DIGITS_ASK),
            ),
            images=True,
        ),
        Study(
            "digits_parts",
            "Coloured handwritten 3s to 2s, held out, D = 192: each part of the recipe taken away in turn",
            (
                Row("efm_fast", _DIGITS, digit_maps),
                Row("without flux points", _DIGITS, digit_maps, {"method.points.strategy": "linear"}),
                Row("without the unbiased target", _DIGITS, biased_digit_maps),
                Row("without plate means", _DIGITS, digit_maps, {"method.parametrisation": "direct"}),
            ),
            _DIGIT_COLUMNS,
            tuple(
                q
                for part in ("flux points", "the unbiased target", "plate means")
                for q in questions(("efm_fast", 0), (f"without {part}", 0), **_DIGITS_ASK)
            ),
            images=True,
        ),
        Study(
            "digits_points",
            "Where the field is learned, and as what: coloured 3s to 2s, D = 192",
            recipes(_DIGITS, digit_maps, {}),
            _DIGIT_COLUMNS,
            tuple(
                q
                for row in recipes(_DIGITS, digit_maps, {})[1:]
                for q in questions(
                    (_FLUX, 2), (row.name, 2), read_as_wanted="high", hue_error_mean="low", coverage="high"
                )
            ),
            images=True,
        ),
        Study(
            "digits_charges",
            "Charges per plate in one target: coloured 3s to 2s, D = 192",
            charge_rows(_DIGITS, digit_maps),
            _DIGIT_COLUMNS,
            tuple(
                q
                for count in CHARGES
                if count != 1024
                for q in questions(
                    ("1024 charges", 2), (f"{count} charges", 2), hue_error_mean="low", coverage="high"
                )
            ),
            images=True,
        ),
        Study(
            "generation",
            "Noise to coloured digits of all ten classes, D = 192 (PFGM starts from its own prior)",
            (
                Row("efm_fast", _GENERATION, generated_digit_maps),
                Row("flow matching", _GENERATION, flow_digit_maps),
                Row("OT-CFM", _GENERATION, flow_digit_maps, _OPTIMAL),
                Row("PFGM", _GENERATION, pfgm_digit_maps),
            ),
            GENERATION_COLUMNS,
            (
                *questions(("efm_fast", 0), ("flow matching", 2), **GENERATION_ASK),
                *questions(("efm_fast", 0), ("OT-CFM", 2), **GENERATION_ASK),
                *questions(("efm_fast", 0), ("PFGM", 0), **GENERATION_ASK),
            ),
            images=True,
        ),
    )
}

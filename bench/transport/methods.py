"""The studies of all methods: the same network, data and budget, and quality against evaluations for each sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.transport.maps import Overrides, learned, travel
from bench.transport.studies import GENERATION_ASK, GENERATION_COLUMNS, MAP_COLUMNS, Row, Study
from bench.transport.verdict import questions
from efm_fast.config import Config
from efm_fast.methods import make_method
from efm_fast.training import Run

Solvers = tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...]


@dataclass(frozen=True)
class EverySolver:
    """Train once, then measure by several solvers; a record rather than a closure, for it goes to worker processes.

    Attributes:
        solvers: names of the maps, settings of ``method.sample`` that differ, and arguments of ``sample``.
        method: settings of the method.
    """

    solvers: Solvers
    method: Overrides = field(default_factory=dict)

    def __call__(self, preset: str, overrides: Overrides, n: int) -> list[dict[str, Any]]:
        """Numbers of every way to sample."""
        run = learned(preset, {**self.method, **overrides})
        return [
            numbers
            for name, sample, arguments in self.solvers
            for numbers in travel(solved_by(run, sample), n, [(name, arguments)])
        ]


def solved_by(run: Run, sample: Mapping[str, Any]) -> Run:
    """``run`` with other settings of ``method.sample``."""
    config = Config.load(run.config, {f"method.sample.{key}": value for key, value in sample.items()})
    return dataclasses.replace(run, config=config, method=make_method(config.method, run.method.problem))


def _by(solver: str, *steps: int, spacing: str | None = None, **arguments: Any) -> Solvers:
    settings = {"solver": solver} | ({} if spacing is None else {"spacing": spacing})
    name = solver if spacing is None else f"{solver}, {spacing}"
    return tuple((f"{name} {{}}", settings, {"steps": count, **arguments}) for count in steps)


def _rows(preset: str, budget: Overrides, *, published: bool) -> tuple[Row, ...]:
    """Every method on the data of ``preset``."""
    plates = (
        ("full map", {}, {"map": "full"}),
        *_by("midpoint", 5, 10, map="forward"),
        *_by("exponential", 10, 20, map="forward"),
        *_by("multistep", 5, 10, 20, map="forward"),
        *_by("multistep", 10, spacing="rho", map="forward"),
    )
    chain = (*_by("multistep", 5, 10, 20), *_by("midpoint", 10, 40), *_by("heun", 10))
    noise = (*_by("heun", 18, 6), *_by("exponential", 20), *_by("multistep", 10, 20))
    paths = (*_by("euler", 100, 20, 10), *_by("heun", 10), *_by("multistep", 5, 10, 20))
    tubes = (*_by("euler", 20), *_by("heun", 10), *_by("exponential", 20), *_by("multistep", 5, 10, 20))
    single = (("Runge-Kutta", {}, {}), *_by("euler", 100), *_by("exponential", 20), *_by("multistep", 10, 20))
    flow, noisy, tube = ({"method.name": name} for name in ("flow_matching", "pfgm++", "interaction_field"))
    optimal = {"method.pairs": "optimal_transport"}
    rows: list[tuple[str, Solvers, Overrides]] = [
        ("field matching", plates, {}),
        ("capacitor chain", chain, {"method.name": "capacitor_chain"}),
        ("PFGM", single, {"method.name": "pfgm"}),
        *((f"PFGM++, d = {d}", noise, {**noisy, "method.d": d}) for d in (1.0, 128.0)),
        ("diffusion (d = inf)", noise, {**noisy, "method.d": "inf"}),
        ("d = 128, stable target", noise, {**noisy, "method.d": 128.0, "method.charges": 1024}),
        ("flow matching", paths, flow),
        ("OT-CFM", paths, {**flow, **optimal}),
        ("interaction field", tubes, tube),
        ("interaction field, OT", tubes, {**tube, **optimal}),
    ]
    if published:
        form = {**tube, "method.form": "published", "method.sample.solver": "heun"}
        rows.append(("interaction field, published", (*_by("heun", 10, 50), *_by("euler", 100)), form))
    return tuple(Row(name, preset, EverySolver(ways, method), budget) for name, ways, method in rows)


_OTHERS = (
    ("PFGM", 0),
    ("diffusion (d = inf)", 0),
    ("flow matching", 0),
    ("OT-CFM", 2),
    ("interaction field, OT", 4),
)

METHODS: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "methods",
            "All methods, Gaussian to Swiss roll: one network, 1000 steps of 256; solver and evaluations",
            _rows("gaussian_to_swissroll", {"train.steps": 1000, "train.ema": 0.99}, published=True),
            MAP_COLUMNS,
            tuple(
                q
                for other in _OTHERS
                for q in questions(("field matching", 0), other, w2="low", outliers="low", evaluations="low")
            ),
            measured_on=1000,
        ),
        Study(
            "digit_methods",
            "All methods, noise to coloured digits, D = 192: one network, 1000 steps of 256; solver, evaluations",
            _rows("digits_generation", {"train.steps": 1000, "train.ema": 0.99}, published=False),
            GENERATION_COLUMNS,
            tuple(q for other in _OTHERS for q in questions(("field matching", 0), other, **GENERATION_ASK)),
            images=True,
        ),
    )
}

"""Measure a run on held-out data: its maps, beside the exact field and the floor, and the files that say so."""

from __future__ import annotations

import functools
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checks
from .data.latent import images_of
from .errors import NothingArrivedWarning
from .files import write_text
from .lines import Lines, Support, follow_from, full_map
from .metrics import Outcome, measure
from .pictures import has_picture, plot_lines, plot_samples
from .runs import Run
from .sampling import ends_of, none_arrived, sample, to_ends
from .streams import Stream, step_generator
from .types import Plates

_PLANE = 2


@dataclass(frozen=True)
class MapReport:
    """One map, measured.

    Attributes:
        name: what was followed and how.
        evaluations: mean evaluations of the field per sample.
        most_evaluations: the most any sample took.
        unfinished: share of samples that reached no plate, in [0, 1].
        numbers: the measures that fit the data, from :mod:`efm_fast.metrics`; each is None where no line arrived.
        problem: what happened to the lines where none arrived, else None.
    """

    name: str
    evaluations: float
    most_evaluations: int
    unfinished: float
    numbers: dict[str, Any]
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything in one flat mapping, ready for JSON."""
        return {
            "map": self.name,
            "evaluations": self.evaluations,
            "most_evaluations": self.most_evaluations,
            "unfinished": self.unfinished,
            **self.numbers,
        }


@dataclass(frozen=True)
class Evaluation:
    """All that ``evaluate`` measured.

    Attributes:
        maps: one report per map, the run's own first.
        inputs: the starts, [N, D].
        lines: the run's own map from them.
        reverse: whether the maps go from Q to P.
    """

    maps: tuple[MapReport, ...]
    inputs: Tensor
    lines: Lines
    reverse: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return {"reverse": self.reverse, "maps": [report.as_dict() for report in self.maps]}

    def table(self) -> str:
        """The numbers as a table that fits a terminal, one column per map; what went wrong stands below it."""
        columns = [report.as_dict() for report in self.maps]
        rows = []
        for key in columns[0]:
            cells = [_cell(column[key]) for column in columns]
            rows.append(f"{key.replace('_', ' '):<18}" + "".join(f"{cell:>22}" for cell in cells))
        return "\n".join([*rows, *self.problems])

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each map of which no line arrived."""
        return tuple(f"{report.name}: {report.problem}" for report in self.maps if report.problem)


def evaluate(run: Run, *, n: int = 2000, seed: int = 0, reverse: bool = False) -> Evaluation:
    """Measure a run's learned maps on held-out data.

    The data that a map arrives at choose the measures, see :func:`efm_fast.metrics.measure`. For vectors all maps of
    the method are measured, and the full map of the exact field where the method has one; for images the run's own
    map alone. A map of which no line arrived has no numbers; a NothingArrivedWarning says so.

    Args:
        run: a trained run.
        n: samples per plate, at least 2.
        seed: of the starts, the targets and the maps, at least 0.
        reverse: measure the maps from Q to P, against held-out data of P.

    Raises:
        InputError: n is below 2, a wrong type, or the data have no held-out split.
        RunError: the data were in memory and are not here.
    """
    checks.instance("run", run, Run, "a run, from efm_fast.train(...) or efm_fast.load(folder)")
    checks.whole("n", checks.count("n", n), least=2)
    checks.whole("seed", seed, least=0)
    checks.flag("reverse", reverse)
    with warnings.catch_warnings():
        # the evaluation says itself what arrived nowhere
        warnings.simplefilter("ignore", NothingArrivedWarning)
        result = _evaluation(run, n, seed, reverse)
    for problem in result.problems:
        warnings.warn(problem, NothingArrivedWarning, stacklevel=2)
    return result


def _evaluation(run: Run, n: int, seed: int, reverse: bool) -> Evaluation:
    source, goal = map(images_of, ends_of(run, reverse))
    generator = step_generator(seed, 0, Stream.EVALUATION)
    has_prior = run.method.has_prior and not reverse
    x0 = run.method.start(n, generator) if has_prior else source.draw(n, generator, "test")
    target, other = goal.draw(n, generator, "test"), goal.draw(n, generator, "test")
    own = sample(run, x0, seed=seed, reverse=reverse)
    maps = {f"learned, {run.method.map}": own}
    if len(run.geometry.shape) == 1:
        for kind in run.method.maps:
            if kind != run.method.map:
                maps[f"learned, {kind}"] = sample(run, x0, map=kind, seed=seed, reverse=reverse)
        exact = exact_map(run, x0, seed=seed, reverse=reverse)
        if exact is not None:
            maps["exact field, full"] = exact
    inputs = to_ends(run, x0, reverse=reverse)
    reports = tuple(
        _report(name, lines, measure(goal, Outcome(inputs, _ends(lines), target, other, source)))
        for name, lines in maps.items()
    )
    return Evaluation(reports, x0, own, reverse)


def exact_map(
    run: Run,
    x0: Tensor,
    *,
    charges: int = 2048,
    seed: int = 0,
    reverse: bool = False,
    return_paths: bool = False,
) -> Lines | None:
    """The full map of the exact field of ``charges`` training samples per plate; None if the method has no field."""
    generator = step_generator(seed, 1, Stream.EVALUATION)
    plus, minus = run.plus.draw(charges, generator), run.minus.draw(charges, generator)
    exact = run.method.exact(Plates(plus, minus, run.geometry.L))
    if exact is None:
        return None
    support = Support.of(minus, plus) if reverse else Support.of(plus, minus)
    follow = functools.partial(full_map, x0=x0, support=support, seed=seed, return_paths=return_paths)
    return follow_from(exact, follow, reverse=reverse)


def write_evaluation(run: Run, result: Evaluation) -> list[Path]:
    """Write evaluation.json and the pictures of a run into its folder; returns their paths.

    Those of the maps from Q to P have names of their own. There is no picture of lines of which none arrived.
    """
    way = "_reverse" if result.reverse else ""
    table, samples = run.folder / f"evaluation{way}.json", run.folder / "samples"
    write_text(table, json.dumps(result.as_dict(), indent=1))
    paths = [table]
    if result.maps[0].problem:
        return paths
    if has_picture(run, reverse=result.reverse):
        picture = samples / f"evaluation{way}.png"
        paths.append(plot_samples(run, result.inputs, result.lines, picture, reverse=result.reverse))
    if run.geometry.shape == (_PLANE,):
        paths.append(plot_lines(run, samples / f"field_lines{way}.png", reverse=result.reverse))
    return paths


def _ends(lines: Lines) -> Tensor:
    """Ends of all lines on the CPU; a failed line counts as one at the origin, not as one left out."""
    return torch.nan_to_num(lines.end.cpu(), nan=0.0, posinf=0.0, neginf=0.0)


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{v:.2f}".removeprefix("0") for v in value)
    if value is None:
        return "none arrived"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _report(name: str, lines: Lines, numbers: dict[str, Any]) -> MapReport:
    problem = none_arrived(lines)
    return MapReport(
        name,
        float(lines.evaluations.double().mean()),
        int(lines.evaluations.max()),
        float((~lines.arrived).double().mean()),
        numbers if problem is None else dict.fromkeys(numbers),
        problem,
    )

"""What a run is worth: its maps measured on held-out data, beside the exact field and the floor."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import checks
from .data import ColouredShapes, Source, step_generator
from .errors import NothingArrivedWarning
from .lines import ExactField, Lines, Support, full_map, mirrored
from .metrics import DigitReader, generation_report, translation_report, transport_report
from .sampling import ends_of, none_arrived, sample
from .training.run import Run
from .types import Plates

_STREAM = 300  # apart from the streams of training and sampling


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

    For coloured digits: reading, hue, realism and coverage of the run's own map. For other data: W2 of the
    learned full map, the learned forward map and the exact field's full map, with the floor beside them. A map of
    which no line arrived has no numbers; a NothingArrivedWarning says so.

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
    source, goal = ends_of(run, reverse)
    generator = step_generator(seed, 0, _STREAM)
    x0 = source.draw(n, generator, "test")
    own = sample(run, x0, seed=seed, reverse=reverse)
    kind = f"learned, {run.config.sample.map}"
    if isinstance(goal, ColouredShapes):
        report = _report(kind, own, _digits_numbers(goal, source, x0, _ends(own)))
        return Evaluation((report,), x0, own, reverse)
    target, other = goal.draw(n, generator, "test"), goal.draw(n, generator, "test")
    other_kind = "forward" if run.config.sample.map == "full" else "full"
    maps = {
        kind: own,
        f"learned, {other_kind}": sample(run, x0, map=other_kind, seed=seed, reverse=reverse),  # type: ignore[arg-type]
        "exact field, full": exact_map(run, x0, seed=seed, reverse=reverse),
    }
    reports = tuple(
        _report(name, lines, transport_report(_ends(lines), target, other, x0).as_dict())
        for name, lines in maps.items()
    )
    return Evaluation(reports, x0, own, reverse)


def exact_map(run: Run, x0: Tensor, *, charges: int = 2048, seed: int = 0, reverse: bool = False) -> Lines:
    """The full map of the exact field of ``charges`` training samples per plate, for comparison."""
    generator = step_generator(seed, 1, _STREAM)
    plus, minus = run.plus.draw(charges, generator), run.minus.draw(charges, generator)
    plates = Plates(minus, plus, run.geometry.L) if reverse else Plates(plus, minus, run.geometry.L)
    lines = full_map(ExactField(plates), x0, support=Support.of(plates.plus, plates.minus), seed=seed)
    return mirrored(lines, plates.L) if reverse else lines


def _digits_numbers(target: ColouredShapes, source: Source, x0: Tensor, ends: Tensor) -> dict[str, Any]:
    reader = DigitReader(target)
    if isinstance(source, ColouredShapes) and target.label is not None:
        return translation_report(x0, ends, target, target.label, reader=reader).as_dict()
    return generation_report(ends, target, reader=reader).as_dict()


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

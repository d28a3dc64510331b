"""The numbers that measure a map. They depend on the class of the data at which the map arrives.

For your own data, register a function next to their class:

    @efm_fast.metrics.measure.register
    def _(goal: MySource, outcome: Outcome) -> dict[str, Any]: ...
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..data import ColouredShapes, GlyphShapes, Source
from .distance import transport_report
from .reader import DigitReader
from .report import generation_report, translation_report
from .shape_reader import ShapeReader, frechet_distance
from .style import style_report


@dataclass(frozen=True)
class Outcome:
    """The result of a map of held-out data.

    Attributes:
        inputs: starts of the map, [N, D], data units.
        ends: ends of the map, [N, D]; lines that failed end at the origin.
        target: held-out data of the kind at which the map should arrive, [N, D].
        other: more such data, independent of ``target``, [N, D].
        source: the data from which the map starts.
    """

    inputs: Tensor
    ends: Tensor
    target: Tensor
    other: Tensor
    source: Source


@functools.singledispatch
def measure(goal: Source, outcome: Outcome) -> dict[str, Any]:
    """The numbers of a map that arrives at ``goal``, by name, ready for JSON. By default they are W2 and its floor.

    A function that is registered for a class of sources replaces them, see :func:`functools.singledispatch`.

    Args:
        goal: the data at which the map arrives.
        outcome: the result of the map.
    """
    report = transport_report(outcome.ends, outcome.target, outcome.other, outcome.inputs)
    return report.as_dict()


@measure.register
def _(goal: ColouredShapes, outcome: Outcome) -> dict[str, Any]:
    """Numbers of coloured digits: how they are read, their hue, realism and coverage, for one class or for all."""
    reader = DigitReader(goal)
    if isinstance(outcome.source, ColouredShapes) and goal.label is not None:
        report = translation_report(outcome.inputs, outcome.ends, goal, goal.label, reader=reader)
        return report.as_dict()
    return generation_report(outcome.ends, goal, reader=reader).as_dict()


@measure.register
def _(goal: GlyphShapes, outcome: Outcome) -> dict[str, Any]:
    """Numbers of glyphs: those of coloured digits, the kept style, and the Frechet distance of a reader's features."""
    reader, source = ShapeReader.of(goal), outcome.source
    seen, real, other = (reader.features(x) for x in (outcome.ends, outcome.target, outcome.other))
    distances = {"frechet": frechet_distance(seen, real), "real_frechet": frechet_distance(other, real)}
    if goal.label is None or not isinstance(source, GlyphShapes):
        return generation_report(outcome.ends, goal, reader=reader).as_dict() | distances
    report = translation_report(outcome.inputs, outcome.ends, goal, goal.label, reader=reader)
    style = style_report(outcome.inputs, outcome.ends, source, goal)
    return report.as_dict() | style.as_dict() | distances

"""Which numbers fit which data: the data that a map arrives at choose them.

A data set of one's own has its own numbers by one function beside it:

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
    """What a map did with held-out data.

    Attributes:
        inputs: starts of the map, [N, D], data units.
        ends: where it took them, [N, D]; lines that failed end at the origin.
        target: held-out data that the map is to arrive at, [N, D].
        other: more such data, independent of ``target``, [N, D].
        source: the data that the map starts from.
    """

    inputs: Tensor
    ends: Tensor
    target: Tensor
    other: Tensor
    source: Source


@functools.singledispatch
def measure(goal: Source, outcome: Outcome) -> dict[str, Any]:
    """The numbers of a map that arrives at ``goal``, by name, ready for JSON; for most data W2 and its floor.

    A function that is registered for a class of sources, see :func:`functools.singledispatch`, serves these instead.

    Args:
        goal: the data that the map arrives at.
        outcome: what it did.
    """
    report = transport_report(outcome.ends, outcome.target, outcome.other, outcome.inputs)
    return report.as_dict()


@measure.register
def _(goal: ColouredShapes, outcome: Outcome) -> dict[str, Any]:
    """Reading, hue, realism and coverage of coloured digits, of one class or of all."""
    reader = DigitReader(goal)
    if isinstance(outcome.source, ColouredShapes) and goal.label is not None:
        report = translation_report(outcome.inputs, outcome.ends, goal, goal.label, reader=reader)
        return report.as_dict()
    return generation_report(outcome.ends, goal, reader=reader).as_dict()


@measure.register
def _(goal: GlyphShapes, outcome: Outcome) -> dict[str, Any]:
    """Those of coloured digits, the style kept of each font, and the Frechet distance in a reader's features."""
    reader, source = ShapeReader.of(goal), outcome.source
    seen, real, other = (reader.features(x) for x in (outcome.ends, outcome.target, outcome.other))
    distances = {"frechet": frechet_distance(seen, real), "real_frechet": frechet_distance(other, real)}
    if goal.label is None or not isinstance(source, GlyphShapes):
        return generation_report(outcome.ends, goal, reader=reader).as_dict() | distances
    report = translation_report(outcome.inputs, outcome.ends, goal, goal.label, reader=reader)
    style = style_report(outcome.inputs, outcome.ends, source, goal)
    return report.as_dict() | style.as_dict() | distances

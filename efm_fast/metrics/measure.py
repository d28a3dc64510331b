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

from ..data import ColouredShapes, Source
from .distance import transport_report
from .reader import DigitReader
from .report import generation_report, translation_report


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

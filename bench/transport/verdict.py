"""What a study says, in words: where ours is ahead, level or behind, computed from its table.

Rows are compared seed by seed, over the seeds that both have: a seed has its own data and its own reader of images,
which move both rows alike. A difference counts where its mean is beyond half the range over these seeds, and beyond 5 %
of the larger number; one seed has no range, and leaves the 5 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["low", "high", "near 1"]
Place = tuple[str, int]
"""Name of a row, and which of its maps, counted from 0."""

_SLACK = 0.05
COLUMNS = ["measure", "ours", "theirs", "of", "verdict"]


@dataclass(frozen=True)
class Question:
    """Is ``ours`` better than ``theirs`` in ``key``, and which way is better?"""

    key: str
    better: Better
    ours: Place
    theirs: Place


@dataclass(frozen=True)
class Answer:
    """A question with its numbers.

    Attributes:
        question: what was asked.
        ours: our line of the study's table, over the seeds that both lines have.
        theirs: the line that it is held against, over the same seeds.
        verdict: "ahead", "level" or "behind", for ours.
    """

    question: Question
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    verdict: str

    def sentence(self) -> str:
        """Both numbers, what they cost, and the verdict."""
        name = self.question.key.replace("_", " ")
        ours, theirs = (self._cell(line) for line in (self.ours, self.theirs))
        return f"{name} {ours} against {theirs} ({_title(self.theirs)}): {self.verdict}"

    def cells(self) -> list[str]:
        """The same as a row of :data:`COLUMNS`."""
        parts = (self._cell(self.ours), self._cell(self.theirs), _title(self.theirs))
        return [self.question.key.replace("_", " "), *parts, self.verdict]

    def _cell(self, line: Mapping[str, Any]) -> str:
        value = line[self.question.key]
        evaluations = line.get("evaluations")
        cost = evaluations is not None and self.question.key != "evaluations"
        return f"{value:.3g}" + (f" in {evaluations:.0f} evaluations" if cost else "")


def questions(ours: Place, theirs: Place, **keys: Better) -> tuple[Question, ...]:
    """One question per measure, between the same two lines."""
    return tuple(Question(key, better, ours, theirs) for key, better in keys.items())


def answer(question: Question, table: Sequence[Mapping[str, Any]]) -> Answer:
    """Look up both lines and compare them.

    Raises:
        KeyError: the table has no such row, map or measure.
    """
    ours, theirs = (_line(place, table) for place in (question.ours, question.theirs))
    seeds = zip(*(line[f"{question.key}_seeds"] for line in (ours, theirs)), strict=False)
    pairs = [pair for pair in seeds if None not in pair]
    differences = [_loss(a, question.better) - _loss(b, question.better) for a, b in pairs]
    means = [statistics.fmean(values) for values in zip(*pairs, strict=True)]
    difference = statistics.fmean(differences)
    margin = max((max(differences) - min(differences)) / 2, _SLACK * max(map(abs, means)))
    verdict = "level" if abs(difference) <= margin else "ahead" if difference < 0 else "behind"
    ours, theirs = ({**line, question.key: mean} for line, mean in zip((ours, theirs), means, strict=True))
    return Answer(question, ours, theirs, verdict)


def _line(place: Place, table: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    name, k = place
    lines = [line for line in table if line["row"] == name]
    if k >= len(lines):
        raise KeyError(f"the table has no map {k} of row {name!r}")
    return lines[k]


def _loss(value: float, better: Better) -> float:
    return {"low": value, "high": -value, "near 1": abs(value - 1.0)}[better]


def _title(line: Mapping[str, Any]) -> str:
    return line["row"] if line["map"].endswith("evaluations") else f"{line['row']}, {line['map']}"


def summary(answers: Sequence[Answer]) -> str:
    """One sentence on where ours wins and where it does not."""
    parts = []
    for verdict in ("ahead", "level", "behind"):
        some = [a for a in answers if a.verdict == verdict]
        of = ", ".join(f"{a.question.key.replace('_', ' ')} ({_title(a.theirs)})" for a in some)
        parts.append(f"{verdict} in {len(some)} of {len(answers)}" + (f": {of}" if some else ""))
    return "; ".join(parts)

"""What a study says, in words: where ours is ahead, level or behind, computed from its table.

A difference counts where it is beyond both rows' spreads over seeds together, and beyond 5 % of the larger number; one
seed has no spread, and leaves the 5 %.
"""

from __future__ import annotations

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
        ours: our line of the study's table.
        theirs: the line that it is held against.
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
    a, b = (_loss(line[question.key], question.better) for line in (ours, theirs))
    spread = sum(line.get(f"{question.key}_spread", 0.0) for line in (ours, theirs))
    largest = max(abs(line[question.key]) for line in (ours, theirs))
    margin = max(spread, _SLACK * largest)
    verdict = "level" if abs(a - b) <= margin else "ahead" if a < b else "behind"
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

"""The plan on which processes agree for one sum, and the number of bytes that each mode sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ...processes import Processes

Points = Literal["replicated", "sharded"]


@dataclass(frozen=True)
class Plan:
    """The plan on which the processes agree for one sum.

    Attributes:
        mode: "reduce", "ring" or "gather".
        processes: the processes.
        points: number of points of each process.
        charges: number of charges of each process; None if they are streamed, so that their number is unknown.
        sent: for each mode, the bytes that each process sends for the sum itself; short messages are not counted.
        replicated: whether all processes have the same points.
        prefetch: whether a ring receives the next charges while it sums.
    """

    mode: str
    processes: Processes
    points: list[int]
    charges: list[int | None]
    sent: Mapping[str, list[int]]
    replicated: bool
    prefetch: bool = True

    def rows(self) -> list[int]:
        """The number of summed rows that belong to each process: its own points, or its part of replicated points."""
        if not self.replicated:
            return self.points
        size = self.processes.size
        return [self.points[0] * (k + 1) // size - self.points[0] * k // size for k in range(size)]

    def before(self, counts: Sequence[int | None], rank: int) -> int:
        """The total of ``counts``, of points or charges, over the processes below ``rank``.

        Raises:
            InputError: the number of charges of a process is unknown.
        """
        if None in counts:
            raise InputError("first_self: expected charges whose number is known, got an iterator of chunks")
        return sum(count or 0 for count in counts[:rank])


def bytes_sent(
    points: Sequence[int], charges: Sequence[int | None], facts: Mapping[str, Any], kind: Points
) -> dict[str, list[int]]:
    """Bytes that each process sends, by mode.

    With P processes, rows of a sum of R bytes, points of X bytes and charges of Y bytes:
    reduce 2 (P - 1) / P N R; gather (P - 1) N_own X + (N - N_own) R; ring Y for each charge except those of the process
    before this one, which arrive last and are not sent on.

    Args:
        points: number of points of each process.
        charges: number of charges of each process; None if unknown.
        facts: facts of any process: the sizes of a row in bytes.
        kind: "replicated" or "sharded" points.
    """
    size = len(points)
    if kind == "replicated":
        own = [points[0] * (k + 1) // size - points[0] * k // size for k in range(size)]
        return {
            "reduce": [
                (points[0] - mine) * facts["row"] + (size - 1) * max(own) * facts["row"] for mine in own
            ]
        }
    every, longest = sum(points), max(points)
    sent = {
        "gather": [(size - 1) * longest * facts["point"] + (every - mine) * facts["row"] for mine in points]
    }
    if None not in charges:
        known = [count or 0 for count in charges]
        # the block that arrives last is not sent on
        sent = {"ring": [(sum(known) - known[k - 1]) * facts["charge"] for k in range(size)], **sent}
    return sent

"""Pairs by exact field lines: the charge on which a line ends is the partner of the charge it leaves (EFM)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..field.request import working_dtype
from ..lines import LineStatus, trace_lines
from ..lines.seeds import sphere
from .job import Job
from .record import Coupling, paired
from .starts import gaps, straight
from .strips import Strips

Direction = Literal["perpendicular", "flux"]
_SHARE = 0.01  # default L over the root mean square distance of the sets
_CHUNK = 1024  # lines that are traced between two writes of the state


@dataclass(frozen=True)
class FieldLines:
    """Lines of the exact field between the sets, as positive and negative charges on plates ``L`` apart.

    Perpendicular lines keep what two data have in common, but many of them end on the same few charges. Lines in flux
    directions are the true map: each charge receives as many as it should, and little is kept.

    Attributes:
        L: distance of the plates, data units; None for 0.01 of the root mean square distance of the sets.
        direction: how lines leave a charge: "perpendicular" to the plate, or "flux" in uniform directions.
        both_ways: whether lines also leave the minus charges; either way then has half of the weight.
        each: lines that leave a charge; 1 for perpendicular lines, which are all the same.
        balanced: whether each charge is taken once only: of the lines that end on one charge the shortest counts, its
            two charges vanish, and the others are traced again, until one set is used up. Needs both_ways=False.
        max_steps: lines that take more are left out.
    """

    L: float | None = None
    direction: Direction = "perpendicular"
    both_ways: bool = True
    each: int = 1
    balanced: bool = False
    max_steps: int = 2000

    def __post_init__(self) -> None:
        if self.L is not None:
            object.__setattr__(self, "L", checks.length("L", self.L))
        checks.choice("direction", self.direction, get_args(Direction))
        for name in ("both_ways", "balanced"):
            checks.flag(name, getattr(self, name))
        for name in ("each", "max_steps"):
            checks.count(name, getattr(self, name))
        if self.each > 1 and self.direction == "perpendicular":
            raise InputError(
                f"each: expected 1 for perpendicular lines, which are all the same, got {self.each}"
            )
        if self.balanced and (self.both_ways or self.each > 1):
            raise InputError("balanced: expected both_ways=False and each=1 beside it")

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]."""
        L = self.L
        if L is None:
            L = _SHARE * math.sqrt(Strips(plus, minus, working_dtype(plus, minus)).mean()) or 1.0
        tracer = _Tracer(replace(self, L=L), job)
        make = self._balanced if self.balanced else self._free
        made = make(plus, minus, tracer)
        return replace(made, counts=tracer.told(), numbers={"L": L})

    def _free(self, plus: Tensor, minus: Tensor, tracer: _Tracer) -> Coupling:
        count = (len(plus) + (len(minus) if self.both_ways else 0)) * self.each
        with tracer.job.bar(count, "lines") as bar:
            there = tracer.trace(plus, minus, bar)
            if not self.both_ways:
                return paired("lines", plus, minus, (there.start, there.end), None, there.evaluations)
            back = tracer.trace(minus, plus, bar)
        weight = torch.cat(
            [torch.full((len(way.start),), 1.0 / max(1, len(way.start))) for way in (there, back)]
        )
        pairs = (torch.cat([there.start, back.end]), torch.cat([there.end, back.start]))
        return paired("lines", plus, minus, pairs, weight, torch.cat([there.evaluations, back.evaluations]))

    def _balanced(self, plus: Tensor, minus: Tensor, tracer: _Tracer) -> Coupling:
        left, right = torch.arange(len(plus)), torch.arange(len(minus))
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        with tracer.job.bar(min(len(plus), len(minus)), "pairs") as bar:
            while len(left) and len(right):
                found = tracer.trace(plus[left.to(plus.device)], minus[right.to(minus.device)], None)
                if len(found.start) == 0:
                    break  # no line arrived, which the counts tell
                row = _shortest(found.end, found.length)
                start, end = found.start[row], found.end[row]
                parts.append((left[start], right[end], found.evaluations[row]))
                left, right = _without(left, start), _without(right, end)
                bar.update(len(row))
        first, second, evaluations = (torch.cat(column) for column in zip(*parts, strict=True))
        return paired("lines", plus, minus, (first, second), None, evaluations)


def _shortest(end: Tensor, length: Tensor) -> Tensor:
    """The row of the shortest line that ends on each charge that any line ends on."""
    order = length.argsort(stable=True)
    order = order[end[order].argsort(stable=True)]
    ends = end[order]
    first = torch.ones_like(ends, dtype=torch.bool)
    first[1:] = ends[1:] != ends[:-1]
    return order[first]


def _without(index: Tensor, places: Tensor) -> Tensor:
    kept = torch.ones(len(index), dtype=torch.bool)
    kept[places] = False
    return index[kept]


@dataclass(frozen=True)
class _Ends:
    """Lines that arrived: the charges they left and those they ended on, their lengths and evaluations, [K] each."""

    start: Tensor
    end: Tensor
    length: Tensor
    evaluations: Tensor


class _Tracer:
    """Traces lines chunk by chunk, and goes on after the chunks that a killed call had finished."""

    def __init__(self, settings: FieldLines, job: Job) -> None:
        self.settings, self.job = settings, job
        self.parts: list[
            Tensor
        ] = []  # of all calls so far: charge, status, evaluations and length of each line
        saved = job.state()
        self.saved = torch.zeros(0, 4, dtype=torch.float64) if saved is None else saved["lines"]
        self.begun = 0  # lines of all calls

    def trace(self, starts: Tensor, ends: Tensor, bar: Any | None) -> _Ends:
        """Trace the lines that leave the charges ``starts`` for the charges ``ends``, [N, D] and [M, D]."""
        each = self.settings.each
        index = torch.arange(len(starts)).repeat_interleave(each)
        reach = None
        found = []
        size = self.job.processes.size
        for rows in torch.arange(len(index)).split(_CHUNK * size):
            done = self.saved[self.begun : self.begun + len(rows)]
            if len(done) < len(rows):
                reach = self._reach(starts, ends) if reach is None else reach
                done = self._round(starts, ends, index[rows], reach[index[rows].to(reach.device)])
            self.begun += len(rows)
            self.parts.append(done)
            found.append(done)
            self.job.keep({"lines": torch.cat(self.parts)})
            if bar is not None:
                bar.update(len(rows))
        charge, status, evaluations, length = torch.cat(found).unbind(1)
        arrived = (status == LineStatus.FRONT) | (status == LineStatus.BEHIND)
        return _Ends(index[arrived], charge[arrived].long(), length[arrived], evaluations[arrived].long())

    def told(self) -> dict[str, int]:
        """How many lines ended in which way; warns where some did not arrive."""
        status = torch.cat(self.parts)[:, 1]
        ways = {way.name.lower().replace("_", " "): int((status == way).sum()) for way in LineStatus}
        counts = {name: count for name, count in ways.items() if count}
        missing = len(status) - counts.get("front", 0) - counts.get("behind", 0)
        if missing:
            warnings.warn(
                f"kind='lines': {missing} of {len(status)} lines reached no charge and are left out: {counts}",
                RuntimeWarning,
                stacklevel=6,
            )
        return counts

    def _reach(self, starts: Tensor, ends: Tensor) -> Tensor:
        """The distance to which lines run straight from their charges ``starts``, float64 [N], data units."""
        own, other = gaps(starts, ends, self.job.processes)
        perpendicular = self.settings.direction == "perpendicular"
        L = float(self.settings.L or 0.0)
        return straight(own, other, L, starts.shape[1], len(starts), perpendicular=perpendicular)

    def _round(self, starts: Tensor, ends: Tensor, index: Tensor, reach: Tensor) -> Tensor:
        """Trace a chunk of lines on each process; what all found, [lines, 4]."""
        processes = self.job.processes
        chunks = [len(part) for part in index.split(_CHUNK)] + [0] * processes.size
        before = sum(chunks[: processes.rank])
        mine = slice(before, before + chunks[processes.rank])
        traced = torch.zeros(0, 4, dtype=torch.float64)
        if mine.stop > mine.start:
            traced = self._chunk(starts, ends, index[mine], reach[mine], self.begun + mine.start)
        if processes.size == 1:
            return traced
        every = processes.gather_rows(traced.to(processes.device), chunks[: processes.size])
        return torch.cat(every).cpu()

    def _chunk(self, starts: Tensor, ends: Tensor, index: Tensor, reach: Tensor, first: int) -> Tensor:
        settings, at = self.settings, index.to(starts.device)
        x = starts[at].to(working_dtype(starts, ends))
        radius = reach.to(x.dtype)
        z = radius
        if settings.direction == "flux":
            sample = first + torch.arange(len(index), device=x.device)
            u = sphere(self.job.seed, sample, 0, x.shape[1] + 1).to(x.dtype) * radius[:, None]
            x, z = x + u[:, :-1], u[:, -1]
        lines = trace_lines(
            x,
            z,
            starts,
            ends,
            float(settings.L or 0.0),
            max_steps=settings.max_steps,
            backend=self.job.backend,
        )
        assert lines.charge is not None
        length = (lines.length + radius).nan_to_num(0.0)
        columns = (lines.charge, lines.status, lines.evaluations, length)
        return torch.stack([column.double().cpu() for column in columns], 1)

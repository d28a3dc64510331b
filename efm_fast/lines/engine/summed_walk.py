"""Lines from charge to charge with many features, for which a search for near charges would cost more than the sums.

A step has the same operations at the same shapes whatever the lines do, and asks nothing of the host, so a CUDA device
replays it as a graph. Lines that end give their places to waiting lines on the device. The host looks at the lines
between steps. It then finds the charges on which lines end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from ...field.torch_op import watched
from ..geometry.discs import DiscGeometry
from ..geometry.nearest import nearest_of_candidates
from ..integrate.embedded import PAIRS
from ..integrate.steps import StepRule
from ..record import Lines, LineStatus
from .charge_sums import ChargeSums, View
from .choice import LineProblem
from .pace import CPU, CUDA, Pace, Replayed
from .walk import Walk

#: A place takes a line where the charges elsewhere weigh less than this, and less than 1 / D, beside those at it. The
#: line then runs straight to that place: while others have a share s of the field, the ratio of their distances to the
#: owner's grows if 2 s < log(1 / s) / D, and with it their share falls.
_OTHERS = 1e-4

#: Lines slow down where the field is weaker than this share of that at the start of the step. Where the plates cancel
#: the unit direction jumps, and steps at constant speed are less exact there.
_EASE = 0.5

#: Status of a line that waits until the host finds the place that takes it, or finds that none does.
_ASKS = -1


class SummedWalk(Walk):
    """Lines by an embedded pair. Sums give the distance to the nearest charge and tell which charge takes a line.

    The last row of the state is no line. Its steps have length 0, so it stays where it is, and a group of rows that is
    larger than the number of lines is filled up with it.

    Attributes:
        first: the field where a line is, as :class:`View` gives it, [N, D+1].
        nearest: distance to the nearest charge, float64 [N], data units.
        others: weight of all other charges relative to that of the nearest minus charge, float64 [N].
        taken: steps tried so far, int64 [N].
        moved: whether a line is at a mirror image where the field is unknown, bool [N]; its next step has length 0 and
            evaluates the field there.
    """

    def __init__(self, problem: LineProblem, rule: StepRule, discs: DiscGeometry, backend: str) -> None:
        self.sums = ChargeSums(problem, backend)
        between = torch.cat([self.sums.centre, self.sums.centre.new_tensor([0.5 * problem.plates.L])])
        super().__init__(problem, rule, discs, spare=between[None])
        self.pair = PAIRS[rule.method]
        self.most = int(self.places.count.max())
        self.ds[-1] = 0.0
        self.nearest = self.points.new_zeros(len(self.points), dtype=torch.float64)
        self.others = torch.zeros_like(self.nearest)
        self.taken, self.moved = torch.zeros_like(self.status), torch.zeros_like(self.rejected)
        self.pace = CUDA if self.points.is_cuda else CPU
        self.count = torch.arange(1, max(self.n, self.pace.window) + 1, device=self.points.device)

    def run(self, max_steps: int, every: int) -> Lines:
        """Take steps until every line has ended. Paths keep every ``every``-th step; 0 keeps none."""
        self.max_steps = max_steps
        # a path has one row per step of all lines, so with paths all lines must step together
        pace = Pace(max(1, self.n)) if every else self.pace
        self._begin(self.running(), pace.window)
        paths = [self.snapshot()] if every else []
        step = self._stepper(pace)
        for number in itertools.count(1):
            running, asking = self._look()
            if not (running or asking):
                break
            if asking and (every or not running or asking >= pace.window // 8):
                running += self._answer(pace.window)
            if running:
                for _ in range(pace.steps):
                    step(pace.width(running))
            if every and number % every == 0:
                paths.append(self.snapshot())
        if every > 1:
            paths.append(self.snapshot())
        return self.ended(paths)

    def _stepper(self, pace: Pace) -> Callable[[int], None]:
        """The step of so many rows, replayed as a graph where every shape comes again and no gradient is asked for."""

        def step(width: int) -> None:
            self.advance(self._rows(width))

        plates = self.sums.plates
        if self.points.is_cuda and pace.tile and not watched(self.points, plates.plus, plates.minus):
            return Replayed(step, self.points.device)
        return step

    def _rows(self, width: int) -> Tensor:
        """The first ``width`` lines under way, int64 [width]; then the row that is no line."""
        under_way = (self.status[:-1] == LineStatus.RUNNING).cumsum(dim=0)
        return torch.searchsorted(under_way, self.count[:width])

    def _look(self) -> tuple[int, int]:
        """How many lines are under way, and how many ask for their ends; the host waits for the device."""
        status = self.status[:-1]
        return int((status == LineStatus.RUNNING).sum()), int((status == _ASKS).sum())

    def _begin(self, rows: Tensor, together: int) -> None:
        """Evaluate the field at the starts."""
        for part in rows.split(together):
            view = self.sums(self.points[part])
            self._see(part, view)
            asks = self._is_owned(view.others, self.most)
            self.status[part] = torch.where(asks, _ASKS, self.status[part])
        self.evaluations[rows] += 1

    def _see(self, rows: Tensor, view: View) -> None:
        self.first[rows] = view.rate
        self.nearest[rows], self.others[rows] = view.nearest, view.others

    def advance(self, rows: Tensor) -> None:
        """Try one step of lines ``rows``, which may hold the row that is no line several times."""
        points, first, before = self.points[rows], self.first[rows], self.ds[rows]
        nearest, rejected, moved = self.nearest[rows], self.rejected[rows], self.moved[rows]
        distance = nearest.to(before.dtype)
        view: View | None = None

        slow = _EASE * torch.linalg.vector_norm(first, dim=1, dtype=torch.float64)

        def velocity(at: Tensor) -> Tensor:
            nonlocal view
            view = self.sums(at)
            return _velocity(view.rate, slow)

        ds = torch.where(moved, 0.0, torch.minimum(before, distance))
        tried = self.pair.attempt(
            velocity, points, _velocity(first, slow), ds, self.rule.tolerance * distance, rejected
        )
        assert view is not None  # the view at the last stage, which is the end of the step
        accepted = tried.accepted | moved
        advances = accepted & ~moved
        seen = View(
            torch.where(accepted[:, None], view.rate, first),
            torch.where(accepted, view.nearest, nearest),
            torch.where(accepted, view.others, self.others[rows]),
        )
        self._see(rows, seen)
        self.ds[rows] = torch.where(moved, before, tried.following)
        self.rejected[rows] = torch.where(moved, rejected, ~accepted)
        self.length[rows] += torch.where(advances, tried.length, 0.0)
        new = torch.where(advances[:, None], tried.new, points)
        self._settle(rows, new, seen, accepted, moved)

    def _settle(self, rows: Tensor, new: Tensor, seen: View, accepted: Tensor, moved: Tensor) -> None:
        """Move lines to their new points, those beyond the far radius to their mirror image, and judge how they go on.

        Args:
            rows: the lines, [W].
            new: their new points, [W, D+1].
            seen: the field and the charges there.
            accepted: whether the field there is newly known, bool [W].
            moved: whether this was a step of length 0 at a mirror image, bool [W].
        """
        x, z, mirrored = self.discs.mirror(new[:, :-1], new[:, -1])
        mirrored = mirrored & ~moved
        self.points[rows] = torch.cat([x, z[:, None]], dim=1)
        self.moved[rows] = mirrored
        self.evaluations[rows] += torch.where(moved, 0, self.pair.evaluations) + mirrored
        taken = self.taken[rows] + ~moved
        self.taken[rows] = taken
        lost = ~torch.isfinite(new).all(dim=1) | (seen.rate == 0).all(dim=1)
        asks = accepted & ~mirrored & self._is_owned(seen.others, self.most)
        status = torch.where(asks, _ASKS, int(LineStatus.RUNNING))
        status = torch.where(taken > self.max_steps, int(LineStatus.STEP_LIMIT), status)
        self.status[rows] = torch.where(lost & ~moved, int(LineStatus.FAILED), status)

    def _is_owned(self, others: Tensor, count: Tensor | int) -> Tensor:
        """Whether a place with ``count`` charges takes each line if it is the nearest, bool [N]."""
        return others - (count - 1) <= min(_OTHERS, 1.0 / self.plus.shape[1]) * count

    def _answer(self, together: int) -> int:
        """End the lines that ask, where the nearest place has so many charges that it takes them.

        Returns:
            How many lines go on.
        """
        rows = (self.status[:-1] == _ASKS).nonzero()[:, 0]
        on = 0
        for part in rows.split(together):
            distance, place = nearest_of_candidates(
                self.points[part], self.places.at, self.L, self.sums.centre
            )
            lands = self._is_owned(self.others[part], self.places.count[place])
            self.land(part[lands], distance[lands], place[lands])
            others = part[~lands]
            self.status[others] = int(LineStatus.RUNNING)
            on += len(others)
        return on


def _velocity(rate: Tensor, slow: Tensor) -> Tensor:
    """``rate`` [N, D+1] over its size, or over about ``slow`` [N], float64, where that is larger: at most 1, smooth."""
    # in float64, because the squares of a field that nearly vanishes are none in float32
    square = torch.linalg.vector_norm(rate, dim=1, dtype=torch.float64).square() + slow.square()
    return rate / square.sqrt().to(rate.dtype).clamp_min(torch.finfo(rate.dtype).tiny)[:, None]

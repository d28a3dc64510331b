"""Lines from charge to charge with many features, for which a search for near charges would cost more than the sums."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.discs import DiscGeometry
from ..geometry.nearest import nearest_of_candidates
from ..integrate.steps import StepRule
from .charge_sums import ChargeSums, View
from .charge_walk import ChargeWalk
from .choice import LineProblem

#: A place takes a line where the charges elsewhere weigh less than this, and less than 1 / D, beside those at it. The
#: line then runs straight to that place: while others have a share s of the field, the ratio of their distances to the
#: owner's grows if 2 s < log(1 / s) / D, and with it their share falls.
_OTHERS = 1e-4


class SummedWalk(ChargeWalk):
    """Lines by an embedded pair. Sums give the distance to the nearest charge and tell which charge takes a line."""

    # sums are fastest with some hundred points; waiting lines take the places of lines that end
    window = 512

    def __init__(
        self, problem: LineProblem, rule: StepRule, discs: DiscGeometry, capture: float, backend: str
    ) -> None:
        self.sums = ChargeSums(problem, backend)
        self.most = int(problem.places.count.max())
        n = len(problem.x)
        nothing = problem.x.new_full((n,), torch.nan, dtype=torch.float64)
        self.seen_nearest, self.seen_others = nothing, nothing.clone()
        super().__init__(problem, rule, discs, capture, backend)

    def advance(self, rows: Tensor) -> None:
        """End the lines that a place of minus charges takes, and try one step of the others."""
        owned = torch.zeros_like(rows, dtype=torch.bool)
        close = self._is_owned(rows, self.most).nonzero()[:, 0]
        if len(close):
            ends = rows[close]
            distance, place = nearest_of_candidates(
                self.points[ends], self.places.at, self.L, self.sums.centre
            )
            lands = self._is_owned(ends, self.places.count[place])
            self._land(ends[lands], distance[lands], place[lands])
            owned[close[lands]] = True
        rows = rows[~owned]
        if len(rows):
            new, ds = self._summed_step(rows)
            self.length[rows] += ds
            self._settle(rows, new)

    def _is_owned(self, rows: Tensor, count: Tensor | int) -> Tensor:
        """Whether a place with ``count`` charges takes each line if it is the nearest, bool [N]."""
        elsewhere = self.seen_others[rows] - (count - 1)
        return elsewhere <= min(_OTHERS, 1.0 / self.plus.shape[1]) * count

    def _summed_step(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """New points and the arc length to them; a rejected step gives the old points and 0."""
        view = None

        def direction(points: Tensor) -> Tensor:
            nonlocal view
            view = self.sums(points)
            return view.direction

        accepted, new, ds, _ = self._attempt(rows, self.seen_nearest[rows].to(self.ds.dtype), direction)
        assert view is not None  # the view at the last stage, which is the end of the step
        self._keep(rows[accepted], view[accepted])
        return torch.where(accepted[:, None], new, self.points[rows]), torch.where(accepted, ds, 0.0)

    def _keep(self, rows: Tensor, view: View) -> None:
        self.first[rows] = view.direction
        self.seen_nearest[rows], self.seen_others[rows] = view.nearest, view.others

    def _evaluate_first(self, rows: Tensor) -> None:
        for part in rows.split(self.window):
            self._keep(part, self.sums(self.points[part]))
        self.evaluations[rows] += 1

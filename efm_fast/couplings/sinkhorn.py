"""Entropic optimal transport of whole sets in log scale, a strip of rows at a time (Cuturi 2013).

The plan is P_ij = a_i b_j exp((f_i + g_j - |x_i - y_j|^2) / epsilon). One pass over the strips does both of Sinkhorn's
updates: a strip holds whole rows, so f is known as soon as the strip is there, and the sums of the same strip's
columns, added up over the strips, give g. So only g is kept from one pass to the next.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..field.request import working_dtype
from ..streams import Stream, step_generator
from .anderson import Anderson
from .job import Job
from .plan import Draw, Plan
from .record import Coupling, paired
from .strips import Strips

_SHARE = 0.005  # default epsilon over the mean squared distance
_COARSEST = 1024  # data of the first subset
_GROWTH = 4  # of the subsets
_SCALING = 0.5  # of epsilon from one schedule's step to the next
_ROUGH = 0.1  # marginal error to which a subset is solved
_LEAST_CARRIED = 1e-9  # share of the mass; what is left out by unbalanced transport is not accurate to less


@dataclass(frozen=True)
class Sinkhorn:
    """Entropic optimal transport: as near to the optimal transport of squared distances as ``epsilon`` is small.

    Attributes:
        epsilon: weight of the entropy, data units squared; None for 0.005 of the mean squared distance.
        tolerance: mass that the plan's columns may miss or have too much in all, of a total of 1.
        max_passes: passes over all pairs of data, at the most.
        draw: "sample" draws each plus datum's partner from its row of the plan, "hardest" takes the row's largest.
        each: pairs drawn for each plus datum.
        reach: unbalanced transport (Chizat et al. 2018): mass is left rather than carried beyond about this distance,
            data units; None for balanced transport.
    """

    epsilon: float | None = None
    tolerance: float = 1e-2
    max_passes: int = 1000
    draw: Draw = "sample"
    each: int = 1
    reach: float | None = None

    def __post_init__(self) -> None:
        for name in ("epsilon", "tolerance", "reach"):
            value = getattr(self, name)
            if name == "tolerance" or value is not None:
                object.__setattr__(self, name, checks.positive(name, value))
        checks.count("max_passes", self.max_passes)
        checks.choice("draw", self.draw, get_args(Draw))
        checks.count("each", self.each)

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]."""
        strips = Strips(plus, minus, working_dtype(plus, minus), job.processes)
        epsilon = (_SHARE * strips.mean() or 1.0) if self.epsilon is None else self.epsilon
        damping = 1.0 if self.reach is None else self.reach**2 / (self.reach**2 + epsilon)
        plan = Plan(strips, epsilon, damping)
        solver = _Solver(self, plan, job)
        columns = solver.run()
        if not solver.error <= self.tolerance:
            warnings.warn(
                f"kind='sinkhorn' used up max_passes={self.max_passes} at a marginal error of {solver.error:.2g}, "
                f"above tolerance={self.tolerance:g}",
                RuntimeWarning,
                stacklevel=4,
            )
        level = torch.rand(len(plus), self.each, generator=_generator(job, 1), dtype=torch.float64)
        partner, mass, rows = plan.draw(columns, self.draw, level.to(plus.device))
        carried = float(mass.sum())
        self.check_carried(carried)
        first = torch.arange(len(plus)).repeat_interleave(self.each)
        made = paired(
            "sinkhorn",
            plus,
            minus,
            (first, partner.flatten()),
            mass.repeat_interleave(self.each),
            round(solver.passes),
        )
        return replace(
            made,
            potential_plus=rows.cpu(),
            potential_minus=columns.cpu(),
            numbers={
                "epsilon": epsilon,
                "marginal error": solver.error,
                "passes": solver.passes,
                "carried": carried,
            },
        )

    def check_carried(self, share: float) -> None:
        """Raise InputError if next to nothing is carried, a ``share`` of the mass."""
        if not share > _LEAST_CARRIED:
            raise InputError(
                f"reach: expected a distance within which some data of the two sets lie, got {self.reach:g}, within "
                f"which a share of {share:.1g} is carried"
            )


def _generator(job: Job, step: int) -> torch.Generator:
    return step_generator(job.seed, step, Stream.COUPLING)


class _Solver:
    """The potential of the columns, on growing subsets of the data and, on the first of them, falling epsilon.

    A pass over a subset costs little, and its potentials, carried over to all data by one more update, are a start from
    which few passes over all pairs are left.
    """

    def __init__(self, settings: Sinkhorn, plan: Plan, job: Job) -> None:
        self.settings, self.plan, self.job = settings, plan, job
        self.all = plan.strips
        generator = _generator(job, 0)
        self.orders = [
            torch.randperm(len(part), generator=generator).to(part.device)
            for part in (self.all.rows, self.all.columns)
        ]
        self.stages = self._stages()
        self.stage, self.passes, self.error = 0, 0.0, float("inf")
        self.columns = torch.zeros(0, dtype=torch.float64, device=self.all.rows.device)
        self.mixer = Anderson()

    def _stages(self) -> list[tuple[float, float]]:
        """Share of the data and epsilon of each stage."""
        largest = max(len(self.all.rows), len(self.all.columns))
        share, shares = _COARSEST / largest, []
        while share * _GROWTH**0.5 < 1.0:
            shares.append(share)
            share *= _GROWTH
        shares.append(1.0)
        epsilon, falling = self.plan.epsilon, []
        wide = self.all.mean()
        while epsilon < wide:
            falling.append(epsilon)
            epsilon /= _SCALING
        first = [(shares[0], value) for value in reversed(falling[1:])]
        return first + [(share, self.plan.epsilon) for share in shares]

    def run(self) -> Tensor:
        """The potential of the columns, float64 [M]."""
        self._restore()
        with self.job.bar(self.settings.max_passes, "passes") as bar:
            while self.stage < len(self.stages):
                self._solve(self._subset(self.stage), bar)
                self.stage += 1
                self.mixer = Anderson()
        return self.columns

    def _subset(self, stage: int) -> Plan:
        """The plan of a stage's data; its columns' potential is carried over from the stage before."""
        share, epsilon = self.stages[stage]
        damping = (
            1.0
            if self.settings.reach is None
            else self.settings.reach**2 / (self.settings.reach**2 + epsilon)
        )
        if share == 1.0:
            return Plan(self.all, epsilon, damping)
        rows, columns = (
            part[order[: max(1, round(share * len(part)))]]
            for part, order in zip((self.all.rows, self.all.columns), self.orders, strict=True)
        )
        return Plan(Strips(rows, columns, self.all.dtype, self.job.processes), epsilon, damping)

    def _solve(self, plan: Plan, bar: Any) -> None:
        """Iterate on one stage until its marginal error is small enough."""
        self.error = float("inf")
        if len(self.columns) != len(plan.strips.columns):
            self._carry(plan)
        last = self.stage == len(self.stages) - 1
        rough = 1.0 if self.stages[self.stage][1] != self.plan.epsilon else _ROUGH
        tolerance = self.settings.tolerance if last else max(rough, self.settings.tolerance)
        share = (
            len(plan.strips.rows) * len(plan.strips.columns) / (len(self.all.rows) * len(self.all.columns))
        )
        while self.passes < self.settings.max_passes:
            _, sums = plan.both(self.columns)
            if not (sums > 0).all():  # no float64 holds them
                self.settings.check_carried(0.0)
            updated = plan.damping * (self.columns - plan.epsilon * torch.log(sums * len(sums)))
            self.error = float(torch.expm1((self.columns - updated) / plan.epsilon).abs().mean())
            self.passes += share
            bar.update(share)
            bar.set_postfix_str(f"marginal error {self.error:.1e}")
            if self.error <= tolerance:
                self.columns = updated
                return
            self.columns = self.mixer.next(self.columns, updated, self.error)
            self._keep()

    def _carry(self, plan: Plan) -> None:
        """Extend the potential of the stage before to the columns of ``plan``; 0 before the first."""
        if self.stage == 0:
            self.columns = self.columns.new_zeros(len(plan.strips.columns))
            return
        before = self._subset(self.stage - 1)
        rows = before.rows(self.columns)
        across = Strips(plan.strips.columns, before.strips.rows, self.all.dtype, self.job.processes)
        self.columns = Plan(across, plan.epsilon, plan.damping).rows(rows)

    def _keep(self) -> None:
        mixer = {f"mixer.{name}": value for name, value in self.mixer.state().items()}
        numbers = torch.tensor([self.stage, self.passes], dtype=torch.float64)
        self.job.keep({"columns": self.columns, "numbers": numbers} | mixer)

    def _restore(self) -> None:
        state = self.job.state()
        if state is None:
            return
        self.stage, self.passes = int(state["numbers"][0]), float(state["numbers"][1])
        self.columns = state["columns"].to(self.columns.device)
        mixer = {
            name.removeprefix("mixer."): v.to(self.columns.device)
            for name, v in state.items()
            if "mixer." in name
        }
        self.mixer = Anderson.of(mixer)

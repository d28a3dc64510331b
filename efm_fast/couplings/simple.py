"""Couplings without a schedule: at random, by distance, and the exact optimal transport of small sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError, RunError
from ..extras import extra
from ..field.request import working_dtype
from ..streams import Stream, step_generator
from .job import Job
from .record import Coupling, paired
from .strips import Strips

_LARGEST_PLAN = 1 << 27  # pairs of data: a float64 matrix of 1 GiB


@dataclass(frozen=True)
class Independent:
    """Pairs at random: each datum as often as the others of its set, or once more.

    Attributes:
        pairs: how many; None for as many as the larger set has data.
    """

    pairs: int | None = None

    def __post_init__(self) -> None:
        if self.pairs is not None:
            checks.count("pairs", self.pairs)

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]."""
        count = max(len(plus), len(minus)) if self.pairs is None else self.pairs
        generator = step_generator(job.seed, 0, Stream.COUPLING)
        pairs = (_in_turn(len(plus), count, generator), _in_turn(len(minus), count, generator))
        return paired("independent", plus, minus, pairs)


def _in_turn(size: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of ``size`` indices: whole random orders, one after the other."""
    rounds = -(-count // size)
    return torch.cat([torch.randperm(size, generator=generator) for _ in range(rounds)])[:count]


@dataclass(frozen=True)
class Nearest:
    """Each plus datum with its nearest minus datum.

    Attributes:
        both_ways: whether each minus datum is paired with its nearest plus datum too.
    """

    both_ways: bool = False

    def __post_init__(self) -> None:
        checks.flag("both_ways", self.both_ways)

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]."""
        strips = Strips(plus, minus, working_dtype(plus, minus), job.processes)
        pairs = (torch.arange(len(plus)), strips.nearest().cpu())
        if not self.both_ways:
            return paired("nearest", plus, minus, pairs)
        back = (strips.swapped().nearest().cpu(), torch.arange(len(minus)))
        # either way carries half of the weight
        weight = torch.cat([torch.full((len(part[0]),), 1.0 / len(part[0])) for part in (pairs, back)])
        both = (torch.cat([pairs[0], back[0]]), torch.cat([pairs[1], back[1]]))
        return paired("nearest", plus, minus, both, weight)


@dataclass(frozen=True)
class OptimalTransport:
    """The exact optimal transport plan of squared distances, by POT's network simplex; for small sets.

    Attributes:
        max_iterations: of the network simplex.
    """

    max_iterations: int = 10_000_000

    def __post_init__(self) -> None:
        checks.count("max_iterations", self.max_iterations)

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]: the pairs that have a weight in the plan.

        Raises:
            InputError: the sets have more than 2^27 pairs of data.
            MissingPackageError: POT is not installed.
            RunError: the network simplex did not finish.
        """
        with extra("train"):
            import ot
        if len(plus) * len(minus) > _LARGEST_PLAN:
            raise InputError(
                f"kind='ot': expected at most 2^27 pairs of data, got {len(plus)} x {len(minus)}: use 'sinkhorn'"
            )
        cost = torch.cdist(plus.double().cpu(), minus.double().cpu()).square_().numpy()
        plan, log = ot.emd([], [], cost, numItermax=self.max_iterations, log=True)
        if log["warning"] is not None:
            raise RunError(
                f"kind='ot' did not finish in max_iterations={self.max_iterations}: {log['warning']}"
            )
        plan = torch.from_numpy(plan)
        first, second = plan.nonzero(as_tuple=True)
        return paired("ot", plus, minus, (first, second), plan[first, second])

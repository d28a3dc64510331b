"""The result of coupling two data sets."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError

#: Rows of pairs whose distances are taken at a time.
_ROWS = 4096


@dataclass(frozen=True, repr=False)
class Coupling:
    """K weighted pairs of a plus datum and a minus datum.

    Attributes:
        kind: how the pairs were made, see :func:`efm_fast.couple`.
        plus: index of each pair's plus datum, int64 [K].
        minus: index of its minus datum, int64 [K].
        weight: of each pair, float64 [K], sum 1.
        distance: squared distance of each pair, float64 [K], data units squared.
        evaluations: evaluations of the field for each pair, int64 [K]; passes over all pairs of data for "sinkhorn",
            the same number in every row; 0 for the other kinds.
        counts: how many field lines ended in which way, by name; empty for kinds without lines.
        potential_plus: dual potential of each plus datum, float64 [N], data units squared; None but for "sinkhorn".
        potential_minus: the same of each minus datum, float64 [M].
        numbers: what else the kind has to say, by name, such as the marginal error of "sinkhorn".
    """

    kind: str
    plus: Tensor
    minus: Tensor
    weight: Tensor
    distance: Tensor
    evaluations: Tensor
    counts: dict[str, int] = field(default_factory=dict)
    potential_plus: Tensor | None = None
    potential_minus: Tensor | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Mean squared distance of the pairs under their weights, data units squared."""
        return float((self.weight * self.distance).sum())

    def __len__(self) -> int:
        return len(self.plus)

    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Indices of ``n`` pairs drawn by their weights, with replacement: plus and minus, int64 [n] on the CPU.

        Args:
            n: how many.
            generator: of the draws, on the CPU.

        Raises:
            InputError: ``n`` is no integer of at least 1.
        """
        at = torch.rand(checks.count("n", n), generator=generator, dtype=torch.float64)
        total = self.weight.cumsum(0)
        row = torch.searchsorted(total, at * total[-1], right=True).clamp_max(len(self) - 1)
        return self.plus[row], self.minus[row]

    def __repr__(self) -> str:
        targets = len(self.minus.unique())
        return f"Coupling({self.kind}: {len(self)} pairs, {targets} distinct targets, cost {self.cost:.4g})"


def paired(
    kind: str,
    plus: Tensor,
    minus: Tensor,
    pairs: tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    evaluations: Tensor | int = 0,
) -> Coupling:
    """A coupling of the sets ``plus`` [N, D] and ``minus`` [M, D] by the indices ``pairs``, with its distances.

    Args:
        kind: how the pairs were made.
        plus: data on the plus plate.
        minus: data on the minus plate.
        pairs: plus and minus index of each pair, [K] each.
        weight: of the pairs, [K], any scale; None for equal ones.
        evaluations: of each pair, or of all.

    Raises:
        InputError: there is no pair.
    """
    first, second = (index.cpu().long() for index in pairs)
    if len(first) == 0:
        raise InputError(f"kind={kind!r}: expected at least one pair, got none")
    weight = torch.ones(len(first)) if weight is None else weight
    weight = weight.double().cpu()
    if not isinstance(evaluations, Tensor):
        evaluations = torch.full((len(first),), evaluations, dtype=torch.int64)
    return Coupling(
        kind=kind,
        plus=first,
        minus=second,
        weight=weight / weight.sum(),
        distance=_distances(plus, minus, first, second),
        evaluations=evaluations.cpu(),
    )


def _distances(plus: Tensor, minus: Tensor, first: Tensor, second: Tensor) -> Tensor:
    found = []
    for rows in zip(first.split(_ROWS), second.split(_ROWS), strict=True):
        one, other = (
            part[row.to(part.device)].double() for part, row in zip((plus, minus), rows, strict=True)
        )
        found.append((one - other).square().sum(1).cpu())
    return torch.cat(found)

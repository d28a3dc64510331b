"""Pairs of plus and minus data for flow matching: random ones, of a batch, or of a coupling of large sets."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from ..couplings import couple
from ..couplings.couple import Kind
from ..data import Source
from ..extras import extra
from ..sections import Choice, PositiveInt, Section
from ..streams import Stream, step_generator

with extra("train"):
    from pydantic import BeforeValidator, Field, SerializeAsAny

#: Rows of both plates, the rows of each pair in them, and the weights of the pairs.
_Pairs = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]


class PairSettings(Section):
    """Which pairs the paths join."""

    kind: str


class IndependentSettings(PairSettings):
    """Random pairs."""

    kind: Literal["independent"]


class BatchTransportSettings(PairSettings):
    """Pairs by optimal transport within a batch (OT-CFM)."""

    kind: Literal["optimal_transport"]
    rows: PositiveInt | None = Field(
        default=None,
        description="rows per plate that are paired in a step, of whose pairs the step takes some;"
        " null: as many as it takes",
    )


class WholeSetSettings(PairSettings):
    """Pairs of large sets, which are renewed while training goes on."""

    kind: Literal["whole_set"]
    coupling: Literal["ot", "sinkhorn", "nearest"] = Field(
        default="ot",
        description="optimal transport, exact up to some 10,000 rows or entropic for any number, or the nearest",
    )
    rows: PositiveInt = Field(default=4000, description="rows per plate that are paired at once")
    refresh: PositiveInt = Field(default=1000, description="steps between fresh sets")


OnePairs = Annotated[
    SerializeAsAny[PairSettings],
    BeforeValidator(
        Choice(
            "kind",
            "independent",
            {
                "independent": IndependentSettings,
                "optimal_transport": BatchTransportSettings,
                "whole_set": WholeSetSettings,
            },
        )
    ),
    Field(description="pairs of plus and minus data"),
]


class PairBank:
    """Pairs from a coupling of large sets of both plates' data (:func:`efm_fast.couple`).

    Optimal transport within a batch of 128 pairs a row with the best of 128, and so blurs what a whole set would tell
    apart. A bank is a function of (seed, step // refresh) alone, so a resumed run has the same ones; the next bank is
    solved in a thread while training goes on.

    Args:
        plus: source of the plus data.
        minus: source of the minus data.
        coupling: its kind.
        rows: rows per plate and bank.
        refresh: steps between fresh banks.
        seed: of the rows.
    """

    def __init__(
        self, plus: Source, minus: Source, *, coupling: Kind, rows: int, refresh: int, seed: int
    ) -> None:
        self.plus, self.minus, self.coupling = plus, minus, coupling
        self.rows, self.refresh, self.seed = rows, refresh, seed
        self._edition = -1
        self._pairs: _Pairs | None = None
        self._next: tuple[int, Future[_Pairs]] | None = None

    def draw(self, n: int, generator: Generator, step: int) -> tuple[Tensor, Tensor]:
        """``n`` pairs of the bank of ``step``, with replacement, each [n, D] on the generator's device.

        Args:
            n: number of pairs.
            generator: of the draws.
            step: optimiser step.
        """
        edition = step // self.refresh
        if edition != self._edition:
            ready = self._next is not None and self._next[0] == edition
            self._pairs = self._next[1].result() if ready and self._next else self._solved(edition)
            self._edition, self._next = edition, None
        if self._next is None and 2 * (step % self.refresh) >= self.refresh:
            worker = ThreadPoolExecutor(1)
            self._next = edition + 1, worker.submit(self._solved, edition + 1)
            worker.shutdown(wait=False)
        assert self._pairs is not None
        data, index, weight = self._pairs
        chosen = torch.multinomial(
            weight.to(generator.device), n, replacement=True, generator=generator
        ).cpu()
        plus, minus = (rows[of[chosen]].to(generator.device) for rows, of in zip(data, index, strict=True))
        return plus, minus

    def _solved(self, edition: int) -> _Pairs:
        plus, minus = (
            source.draw(self.rows, step_generator(self.seed, edition, stream))
            for source, stream in ((self.plus, Stream.BANK_PLUS), (self.minus, Stream.BANK_MINUS))
        )
        seed = step_generator(self.seed, edition, Stream.BANK_LAUNCH).initial_seed() % 2**31
        found = couple(plus, minus, kind=self.coupling, seed=seed)
        return (plus, minus), (found.plus, found.minus), found.weight


def transport_pairs(
    plus: Tensor, minus: Tensor, generator: Generator, n: int | None = None
) -> tuple[Tensor, Tensor]:
    """``n`` pairs drawn from the optimal transport plan of squared distances, each [n, D].

    Args:
        plus: data on the plus plate, [N, D].
        minus: data on the minus plate, [N, D].
        generator: of the draws, on the data's device.
        n: number of pairs; as many as rows by default.
    """
    with extra("flow"):
        from torchcfm.optimal_transport import OTPlanSampler

    plan = torch.from_numpy(OTPlanSampler(method="exact").get_map(plus, minus)).to(plus.device)
    # torchcfm's own draws take numpy's global random state; all rows of a plan weigh the same
    row = torch.randint(len(plus), (n or len(plus),), generator=generator, device=plus.device)
    column = torch.multinomial(plan[row], 1, generator=generator)[:, 0]
    return plus[row], minus[column]

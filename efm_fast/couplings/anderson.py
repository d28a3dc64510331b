"""Anderson's mixing of the last steps of a fixed-point iteration, with a way back where it leads astray."""

from __future__ import annotations

import torch
from torch import Tensor

_MEMORY = 8
_RIDGE = 1e-12  # of the normal equations, over their trace
_WORSE = 2.0  # an error so many times the best sends the iteration back


class Anderson:
    """Next points of an iteration x -> map(x), from the last few of both (Walker and Ni 2011).

    Where the map is a contraction that is symmetric in some inner product, as Sinkhorn's is near its end, it needs
    about the root of the steps of the plain iteration.
    """

    def __init__(self) -> None:
        self.at: list[Tensor] = []
        self.mapped: list[Tensor] = []
        self.best = torch.inf
        self.safe: Tensor | None = None

    def next(self, at: Tensor, mapped: Tensor, error: float) -> Tensor:
        """The next point.

        Args:
            at: where the map was taken, [M].
            mapped: what it gave, [M].
            error: how far ``at`` is from a fixed point, in any measure.
        """
        if self.safe is not None and not error <= _WORSE * self.best:
            safe = self.safe
            self.__init__()  # type: ignore[misc]
            return safe
        if error < self.best:
            self.best, self.safe = error, mapped
        self.at, self.mapped = [*self.at, at][-_MEMORY:], [*self.mapped, mapped][-_MEMORY:]
        if len(self.at) == 1:
            return mapped
        points, images = torch.stack(self.at), torch.stack(self.mapped)
        steps = (images - points).diff(dim=0)
        normal = steps @ steps.T
        normal += _RIDGE * normal.trace() * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
        # torch's own choice, gelsy, gives other digits at every call up to torch 2.9; a GPU has gels alone
        driver = "gelsd" if normal.device.type == "cpu" else "gels"
        gamma = torch.linalg.lstsq(normal, steps @ (mapped - at), driver=driver).solution
        mixed = mapped - gamma @ images.diff(dim=0)
        return torch.where(torch.isfinite(mixed).all(), mixed, mapped)

    def state(self) -> dict[str, Tensor]:
        """All of it as named tensors; empty before the first step."""
        if not self.at or self.safe is None:
            return {}
        best = torch.tensor(self.best, dtype=torch.float64)
        return {
            "at": torch.stack(self.at),
            "mapped": torch.stack(self.mapped),
            "best": best,
            "safe": self.safe,
        }

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> Anderson:
        """What :meth:`state` gave."""
        made = cls()
        if state:
            made.at, made.mapped = list(state["at"]), list(state["mapped"])
            made.best, made.safe = float(state["best"]), state["safe"]
        return made

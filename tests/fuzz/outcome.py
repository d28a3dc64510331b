"""What one fuzzed case found."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Outcome:
    """Errors of one case beside what is allowed.

    Attributes:
        backend: that served.
        promise: row of the tolerances.
        shares: largest error over its allowance, by what was compared.
        wrong: what no tolerance excuses, in words.
        case: the arguments in words, for the report.
    """

    backend: str
    promise: str
    case: str
    shares: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def compare(self, what: str, error: Tensor, size: Tensor | float, allowed: float | None) -> None:
        """Note errors beside ``allowed`` times ``size``, where anything is promised; NaN is wrong."""
        if allowed is None or not error.numel():
            return
        if torch.isnan(error).any():
            self.wrong.append(f"{what} is NaN")
        else:
            share = error / (allowed * torch.as_tensor(size, device="cpu").clamp_min(1e-300))
            self.shares[what] = max(self.shares.get(what, 0.0), float(share.amax()))

    def require(self, what: str, holds: bool) -> None:
        """Note what must hold whatever the tolerance."""
        if not holds:
            self.wrong.append(what)

    @property
    def worst(self) -> float:
        """The largest share of an allowance; infinite where something is plainly wrong."""
        return float("inf") if self.wrong else max(self.shares.values(), default=0.0)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.2g}" for name, share in self.shares.items())
        return "; ".join([self.case, *self.wrong, f"errors over allowed: {shares or 'none'}"])

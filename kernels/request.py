"""One checked call, in the form that the launchers of every regime take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .weights import DIFFERENCE, GAUSSIAN, INTEGER, RATIO, STEEP, STEEP_RATE

#: Above this power the hardware logarithm is not exact enough.
RATIO_POWER = 16.0
#: Largest integer power that is multiplied out: Coulomb's in the most features that are summed by direct difference.
INTEGER_POWER = 17


@dataclass(frozen=True)
class Call:
    """Arguments of one sum; ``rate`` and ``kind`` as in :func:`weights.excess_weight`."""

    x: Tensor
    y: Tensor
    q: Tensor | None
    height: Tensor | None
    first_self: int | None
    softening2: float
    rate: float
    kind: int
    power: int
    precision: str
    rounded: bool

    @property
    def n(self) -> int:
        """Points."""
        return self.x.shape[0]

    @property
    def m(self) -> int:
        """Charges."""
        return self.y.shape[0]

    @property
    def d(self) -> int:
        """Features."""
        return self.x.shape[1]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def make_call(
    x: Tensor,
    y: Tensor,
    *,
    power: float,
    kernel: str,
    bandwidth: float | None,
    softening: float,
    weight: Tensor | None,
    height: Tensor | None,
    first_self: int | None,
    precision: str,
    rounded: bool = False,
) -> Call:
    """Check the arguments of :func:`efm_fast.kernels.log_sum` and bring them into one form."""
    _require(
        x.ndim == 2 and y.ndim == 2 and x.shape[1] == y.shape[1],
        f"x, y: expected [N, D] and [M, D], got {tuple(x.shape)} and {tuple(y.shape)}",
    )
    _require(x.dtype == torch.float32, f"x: expected float32, got {x.dtype}")
    _require(
        y.dtype in (torch.float32, torch.bfloat16, torch.float16, torch.uint8),
        f"y: expected float32, bfloat16, float16 or uint8, got {y.dtype}",
    )
    _require(x.device == y.device, f"y: expected device {x.device}, got {y.device}")
    _require(y.shape[0] < 2**31, f"y: expected fewer than 2^31 charges, got {y.shape[0]}")
    _require(kernel in ("riesz", "gaussian"), f"kernel: expected riesz or gaussian, got {kernel!r}")
    _require(
        precision in ("fast", "default", "exact"),
        f"precision: expected fast, default or exact, got {precision!r}",
    )
    for name, value, rows in (("weight", weight, y.shape[0]), ("height", height, x.shape[0])):
        _require(
            value is None or (value.shape == (rows,) and value.device == x.device),
            f"{name}: expected [{rows}] on {x.device}, got {None if value is None else tuple(value.shape)}",
        )
    if kernel == "gaussian":
        _require(bandwidth is not None and bandwidth > 0, f"bandwidth: expected above 0, got {bandwidth}")
        rate, kind, whole = math.log2(math.e) / (2.0 * float(bandwidth or 1.0) ** 2), GAUSSIAN.value, 0
    else:
        _require(power > 0, f"power: expected above 0, got {power}")
        rate, whole = power / 2.0, 0
        kind = DIFFERENCE.value if power > RATIO_POWER else RATIO.value
        if rate >= STEEP_RATE:
            kind = STEEP.value
        if float(power).is_integer() and power <= INTEGER_POWER:
            kind, whole = INTEGER.value, int(power)
    return Call(
        x=x.contiguous(),
        y=y.contiguous(),
        q=None if weight is None else weight.to(torch.float32).contiguous(),
        height=None if height is None else height.contiguous(),
        first_self=first_self,
        softening2=float(softening) ** 2,
        rate=float(rate),
        kind=kind,
        power=whole,
        precision=precision,
        rounded=rounded,
    )

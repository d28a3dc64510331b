"""The request of a sum: checked, and in the form that the launchers of all regimes take."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .kernel import KERNELS, Form

_CHARGES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)


class Sums(NamedTuple):
    """The result of a sum.

    Attributes:
        m: log scale, float64 [N]; -inf without charges, +inf for a point on a charge (nearer than 1e-18).
        w: scaled sum of weights, float32 [N].
        v: scaled sum of displacements, float32 [N, D], data units.
    """

    m: Tensor
    w: Tensor
    v: Tensor

    @classmethod
    def none(cls, n: int, d: int, device: torch.device) -> Sums:
        """The sums over no charges."""
        m = torch.full((n,), -math.inf, dtype=torch.float64, device=device)
        return cls(m, torch.zeros(n, device=device), torch.zeros(n, d, device=device))

    @classmethod
    def room(cls, n: int, d: int, device: torch.device) -> Sums:
        """Uninitialised memory for sums."""
        m = torch.empty(n, dtype=torch.float64, device=device)
        return cls(m, torch.empty(n, device=device), torch.empty(n, d, device=device))

    def of(self, rows: slice) -> Sums:
        """The sums of some points, as views of the same memory."""
        return Sums(self.m[rows], self.w[rows], self.v[rows])


@dataclass(frozen=True)
class Request:
    """A sum over charges. With r2_ij = |x_i - y_j|^2 + height_i^2 + softening^2, the kernel e^l is a function of it.

    Attributes:
        x: points, [N, D] float32, lengths below 1e18.
        y: charges, [M, D] float32, bfloat16, float16 or uint8, in the units of x.
        kernel: a name in :data:`kernel.KERNELS`: "riesz", l = -(power / 2) log r2, or "gaussian",
            l = -r2 / (2 bandwidth^2).
        parameters: of that kernel: (power,) or (bandwidth,); Coulomb's field in D + 1 dimensions has power D + 1.
        softening: Plummer softening length, data units.
        weight: charge weights q_j of either sign, [M]; None for ones.
        height: distance of each point from the plate, [N]; None for zero.
        first_self: pair (i, j) with j + first_self == i is left out; None leaves nothing out.
        precision: "default" keeps the direction of the field within 1e-4 up to D = 3072. "fast" adds only those pairs
            by direct difference above D = 16 that the matrix product cannot tell apart at all. "exact" adds every pair
            by direct difference in float64.
        rounded_points: whether x came from :func:`representable_points`. It then has no low part, which saves matrix
            products.
        form: the form of the kernel with its parameters.

    Raises:
        ValueError: an argument is wrong; the text names it, what was expected and what came.
    """

    x: Tensor
    y: Tensor
    kernel: str
    parameters: tuple[float, ...]
    softening: float = 0.0
    weight: Tensor | None = None
    height: Tensor | None = None
    first_self: int | None = None
    precision: str = "default"
    rounded_points: bool = False
    form: Form = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        prepared = {
            "x": self.x.contiguous(),
            "y": self.y.contiguous(),
            "weight": None if self.weight is None else self.weight.to(torch.float32).contiguous(),
            "height": None if self.height is None else self.height.contiguous(),
            "form": KERNELS[self.kernel](*map(float, self.parameters)),
        }
        for name, value in prepared.items():
            object.__setattr__(self, name, value)

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

    def base(self, rows: slice = slice(None)) -> Tensor:
        """height^2 + softening^2 of some points, float64."""
        x = self.x[rows]
        base = torch.full((len(x),), self.softening**2, dtype=torch.float64, device=x.device)
        if self.height is not None:
            base += self.height[rows].double() ** 2
        return base

    def chunk(self, first: int, size: int) -> tuple[Tensor, Tensor | None]:
        """Some charges and their weights."""
        part = slice(first, first + size)
        return self.y[part], None if self.weight is None else self.weight[part]

    def self_offset(self, first_charge: int, first_point: int) -> int:
        """``first_self`` counted from these first charges and points; 0 if nothing is left out."""
        return 0 if self.first_self is None else first_charge + self.first_self - first_point

    def _check(self) -> None:
        x, y = self.x, self.y
        _require(
            x.ndim == 2 and y.ndim == 2 and x.shape[1] == y.shape[1],
            f"x, y: expected [N, D] and [M, D], got {tuple(x.shape)} and {tuple(y.shape)}",
        )
        _require(x.dtype == torch.float32, f"x: expected float32, got {x.dtype}")
        _require(y.dtype in _CHARGES, f"y: expected float32, bfloat16, float16 or uint8, got {y.dtype}")
        _require(x.device == y.device, f"y: expected device {x.device}, got {y.device}")
        _require(y.shape[0] < 2**31, f"y: expected fewer than 2^31 charges, got {y.shape[0]}")
        _require(self.kernel in KERNELS, f"kernel: expected {' or '.join(KERNELS)}, got {self.kernel!r}")
        _require(
            all(value > 0 for value in self.parameters),
            f"parameters: expected numbers above 0, got {self.parameters}",
        )
        _require(
            self.precision in ("fast", "default", "exact"),
            f"precision: expected fast, default or exact, got {self.precision!r}",
        )
        for name, value, rows in (("weight", self.weight, self.m), ("height", self.height, self.n)):
            _require(
                value is None or (value.shape == (rows,) and value.device == x.device),
                f"{name}: expected [{rows}] on {x.device}, got {None if value is None else tuple(value.shape)}",
            )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)

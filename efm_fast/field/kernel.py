"""The kernel functions: the weight of one charge as a function of its distance.

All of them are defined here for Python, in ``csrc/core/kernel.h`` for C++, and in ``kernels/kernel.py`` for Triton.
r2 is always |x - y|^2 + height^2 + softening^2, data units squared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError

_LEAST_RATIO = -1.0 + 1e-7  # the smallest ratio of an excess to r2, so that log1p stays finite
_STEPS = 100  # bisections of a reach, enough for all digits of float64


class Kernel(ABC):
    """A kernel function e^l of the squared distance, which falls as the distance grows.

    A subclass defines ``name``, ``parameters``, :meth:`log_kernel` and :meth:`slope`, and is registered by
    :func:`register_kernel`. The backends "reference" and "torch" can then use it. The other methods have defaults in
    float64; a subclass overrides them if it has a faster form that is as exact.

    Attributes:
        name: the name under which backends find the kernel.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def parameters(self) -> tuple[float, ...]:
        """The parameters of the kernel: ``type(kernel)(*kernel.parameters)`` equals ``kernel``."""

    @abstractmethod
    def log_kernel(self, r2: Tensor) -> Tensor:
        """l(r2), in the dtype of ``r2``; +inf at 0 if the kernel has a pole, -inf at infinity."""

    @abstractmethod
    def slope(self, r2: Tensor) -> Tensor:
        """dl / dr2, in the dtype of ``r2``; never positive."""

    def relative_log(self, excess: Tensor, r2: Tensor) -> Tensor:
        """l(r2 + excess) - l(r2) in the dtype of ``excess``; 0 where ``excess`` is 0, even on a pole.

        Args:
            excess: the difference of two squared distances; it keeps digits that the squared distances have lost.
            r2: the squared distance of the pivot, of a shape that broadcasts.
        """
        near = r2.double()
        relative = self.log_kernel((near + excess).clamp_min(0.0)) - self.log_kernel(near)
        return torch.where(excess == 0, 0.0, relative).to(excess.dtype)

    def reach(self, log_kernel: Tensor) -> Tensor:
        """The squared distance at which l equals ``log_kernel``, float64."""
        low, high = (torch.full_like(log_kernel, sign * 700.0, dtype=torch.float64) for sign in (-1.0, 1.0))
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            beyond = self.log_kernel(torch.exp(middle)) < log_kernel
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return torch.exp(0.5 * (low + high))

    def log_factor(self, height: Tensor) -> Tensor | None:
        """l(r2 + height^2) - l(r2) in float64 if it is the same for every r2; otherwise None."""
        return None


@dataclass(frozen=True)
class Riesz(Kernel):
    """The Riesz kernel r^-power: l = -(power / 2) log r2. Coulomb's field in D + 1 dimensions has power D + 1.

    Attributes:
        power: exponent of the distance, above 0.

    Raises:
        InputError: ``power`` is not a finite number above 0.
    """

    power: float
    name: ClassVar[str] = "riesz"

    def __post_init__(self) -> None:
        object.__setattr__(self, "power", checks.positive("power", self.power))

    @property
    def parameters(self) -> tuple[float, ...]:
        """``(power,)``."""
        return (self.power,)

    def log_kernel(self, r2: Tensor) -> Tensor:
        """-(power / 2) log r2."""
        return -0.5 * self.power * torch.log(r2)

    def slope(self, r2: Tensor) -> Tensor:
        """-power / (2 r2)."""
        return -0.5 * self.power / r2

    def relative_log(self, excess: Tensor, r2: Tensor) -> Tensor:
        """-(power / 2) log(1 + excess / r2), where the ratio is at least 1e-7 - 1."""
        ratio = torch.where(excess == 0, 0.0, excess / r2.to(excess.dtype))
        return -0.5 * self.power * torch.log1p(ratio.clamp_min(_LEAST_RATIO))

    def reach(self, log_kernel: Tensor) -> Tensor:
        """exp(-2 l / power)."""
        return torch.exp(log_kernel * (-2.0 / self.power))


@dataclass(frozen=True)
class Gaussian(Kernel):
    """The Gaussian kernel: l = -r2 / (2 bandwidth^2).

    Attributes:
        bandwidth: its standard deviation, data units.

    Raises:
        InputError: ``bandwidth`` is not a length above 0.
    """

    bandwidth: float
    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", checks.length("bandwidth", self.bandwidth))

    @property
    def parameters(self) -> tuple[float, ...]:
        """``(bandwidth,)``."""
        return (self.bandwidth,)

    def log_kernel(self, r2: Tensor) -> Tensor:
        """-r2 / (2 bandwidth^2)."""
        return r2 / (-2.0 * self.bandwidth**2)

    def slope(self, r2: Tensor) -> Tensor:
        """-1 / (2 bandwidth^2)."""
        return r2.new_full((), -0.5 / self.bandwidth**2).expand_as(r2)

    def relative_log(self, excess: Tensor, r2: Tensor) -> Tensor:
        """-excess / (2 bandwidth^2) for every r2."""
        return self.log_kernel(excess)

    def reach(self, log_kernel: Tensor) -> Tensor:
        """-2 bandwidth^2 l."""
        return log_kernel * (-2.0 * self.bandwidth**2)

    def log_factor(self, height: Tensor) -> Tensor:
        """-height^2 / (2 bandwidth^2)."""
        return (height.double() / self.bandwidth) ** 2 / -2


_REGISTERED: dict[str, type[Kernel]] = {Riesz.name: Riesz, Gaussian.name: Gaussian}
_AnyKernel = TypeVar("_AnyKernel", bound=type[Kernel])


def register_kernel(kernel: _AnyKernel) -> _AnyKernel:
    """Make a subclass of :class:`Kernel` known by its name; use it as a decorator.

    Args:
        kernel: the class.

    Raises:
        InputError: it is no subclass of :class:`Kernel`, or another one has its name.
    """
    if not (isinstance(kernel, type) and issubclass(kernel, Kernel)):
        raise InputError(f"kernel: expected a subclass of efm_fast.Kernel, got {checks.describe(kernel)}")
    known = _REGISTERED.get(kernel.name, kernel)
    # a cell of a notebook that runs twice defines the class again; the new one replaces the old one
    if (known.__module__, known.__qualname__) != (kernel.__module__, kernel.__qualname__):
        raise InputError(f"kernel: expected a name of its own, got {kernel.name!r}, which is taken")
    _REGISTERED[kernel.name] = kernel
    return kernel


def checked_kernel(kernel: object) -> Kernel:
    """Return ``kernel`` if it is of a registered class, else raise InputError."""
    if not isinstance(kernel, Kernel) or _REGISTERED.get(kernel.name) is not type(kernel):
        raise InputError(
            f"kernel: expected one of {', '.join(_REGISTERED)} or of a class under efm_fast.register_kernel, "
            f"got {checks.describe(kernel)}"
        )
    return kernel


def make_kernel(name: str, parameters: tuple[float, ...]) -> Kernel:
    """The kernel of that name and those parameters.

    Raises:
        InputError: no kernel has that name.
    """
    return _REGISTERED[checks.choice("kernel", name, _REGISTERED)](*parameters)

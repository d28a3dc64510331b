"""Endless distributions: the Gaussian in any dimension, and the usual test cases in the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError
from .registry import register_source
from .source import Source, check_draw, number


@register_source("gaussian")
class Gaussian(Source):
    """The isotropic normal distribution about the origin.

    Args:
        dimension: D; 2 if neither it nor ``shape`` is given.
        shape: (D,) or (C, H, W), for noise in the shape of images.
        std: standard deviation of each feature, data units.

    Raises:
        InputError: sizes below 1, a shape that contradicts ``dimension``, or std not above 0.
    """

    name = "gaussian"

    def __init__(
        self, dimension: int | None = None, shape: Sequence[int] | None = None, std: float = 1.0
    ) -> None:
        if shape is None:
            shape = (2 if dimension is None else dimension,)
        if isinstance(shape, str) or not isinstance(shape, Sequence) or len(shape) not in (1, 3):
            raise InputError(f"gaussian shape: expected (D,) or (C, H, W), got {checks.describe(shape)}")
        self.shape = tuple(checks.whole("gaussian shape", side, least=1) for side in shape)
        if dimension is not None and dimension != self.dimension:
            raise InputError(
                f"gaussian dimension: expected {self.dimension} as in shape, got {checks.describe(dimension)}"
            )
        self.std = _positive("gaussian std", std)

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` fresh rows, [n, D] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        return self.std * torch.randn(n, self.dimension, generator=generator)


@register_source("mixture")
class Mixture(Source):
    """Equal Gaussians evenly placed on a circle in the plane.

    Args:
        components: number of Gaussians.
        radius: of the circle, data units.
        std: of each Gaussian, data units.

    Raises:
        InputError: no component, or a length not above 0.
    """

    name = "mixture"
    shape = (2,)

    def __init__(self, components: int = 8, radius: float = 2.0, std: float = 0.15) -> None:
        self.components = checks.whole("mixture components", components, least=1)
        self.radius = _positive("mixture radius", radius)
        self.std = _positive("mixture std", std)

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` fresh points, [n, 2] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        angle = torch.randint(self.components, (n,), generator=generator) * (2 * math.pi / self.components)
        centre = self.radius * torch.stack([angle.cos(), angle.sin()], 1)
        return centre + self.std * torch.randn(n, 2, generator=generator)


@register_source("swiss_roll")
class SwissRoll(Source):
    """The Swiss roll of scikit-learn, seen from its end, in the plane.

    The angle t is uniform in 1.5 pi .. 4.5 pi, and the point is ``scale * t (cos t, sin t)`` plus noise. At the default
    scale, the exact W2 to the unit Gaussian is about 0.84, and between two sets of 2048 samples about 0.2.

    Args:
        scale: data units per radian.
        noise: standard deviation of the blur, data units.

    Raises:
        InputError: a scale not above 0, or negative noise.
    """

    name = "swiss_roll"
    shape = (2,)

    def __init__(self, scale: float = 0.2, noise: float = 0.1) -> None:
        self.scale = _positive("swiss_roll scale", scale)
        self.noise = number("swiss_roll noise", noise, least=0.0)

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` fresh points, [n, 2] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        t = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
        roll = self.scale * t[:, None] * torch.stack([t.cos(), t.sin()], 1)
        return roll + self.noise * torch.randn(n, 2, generator=generator)


@register_source("moons")
class Moons(Source):
    """The two interleaving half circles of scikit-learn, in its coordinates.

    scikit-learn spaces the points of a call evenly along the arcs. Here each point is drawn independently, because
    charges must be independent of each other.

    Args:
        noise: standard deviation of the blur, data units.

    Raises:
        InputError: negative noise.
    """

    name = "moons"
    shape = (2,)

    def __init__(self, noise: float = 0.05) -> None:
        self.noise = number("moons noise", noise, least=0.0)

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` fresh points, [n, 2] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        t = math.pi * torch.rand(n, generator=generator)
        outer = torch.stack([t.cos(), t.sin()], 1)
        inner = torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)
        which = torch.rand(n, 1, generator=generator) < 0.5
        return torch.where(which, outer, inner) + self.noise * torch.randn(n, 2, generator=generator)


def _positive(name: str, value: object) -> float:
    if number(name, value) <= 0:
        raise InputError(f"{name}: expected a finite number above 0, got {checks.describe(value)}")
    return number(name, value)

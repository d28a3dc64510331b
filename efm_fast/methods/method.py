"""What a method is: where a network learns, what it learns there, and how a sample travels.

The training loop, the run folder, the samplers' door, the metrics and the pages know methods by this protocol only.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Generator, Tensor, nn

from .. import checks
from ..data import Source
from ..errors import InputError
from ..lines import Lines, Support
from ..sections import Section
from ..types import Field, Geometry, Plates
from .learned import LearnedField
from .parametrisation import Parametrisation
from .samplers import Flow


class Points(Protocol):
    """Where a network is evaluated in one training step.

    Attributes:
        x: features, [N, D], data units.
        z: heights, [N], data units.
    """

    @property
    def x(self) -> Tensor: ...  # noqa: D102

    @property
    def z(self) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True)
class Location:
    """Points x [N, D] at heights z [N], data units, and nothing else."""

    x: Tensor
    z: Tensor


class MethodSettings(Section):
    """The settings of a method; every method has a subclass with its own."""

    name: str

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """The distance between the plates and the smallest height that the network tells apart, data units.

        Args:
            s: root mean square distance between a charge of one plate and a charge of the other, data units.
            scale: root mean square of one centred feature, data units.
        """
        return s, 0.1 * s


@dataclass(frozen=True)
class Problem:
    """What a method is made for.

    Attributes:
        geometry: the lengths of the data and of the plates.
        plus: data on the plate z = 0.
        minus: data on the plate z = L.
        seed: of the run.
    """

    geometry: Geometry
    plus: Source
    minus: Source
    seed: int


@dataclass(frozen=True)
class Travel:
    """How samples are to travel: the arguments of :func:`efm_fast.sample`, each checked for itself.

    Attributes:
        map: one of the method's maps, or None for that of its settings.
        steps: number of steps, or None for that of the settings.
        max_steps: steps after which a line ends unfinished, or None for that of the settings.
        seed: of random decisions on the way; those of sample k depend on (seed, k) alone.
        reverse: from the minus plate to the plus plate.
        return_paths: keep the points on the way.
    """

    map: str | None = None
    steps: int | None = None
    max_steps: int | None = None
    seed: int = 0
    reverse: bool = False
    return_paths: bool = False


class Method(ABC):
    """Points drawn by a law, what a network learns there, and a velocity made of it.

    A method is one file with a subclass of this and one of :class:`MethodSettings`, and one row in
    ``efm_fast/methods/__init__.py``; one of one's own needs no row: ``method: {name: my_module:MyMethod}``.

    Attributes:
        Settings: the class of its settings.
        maps: the ways in which its samples can travel.
        has_prior: whether samples start from a distribution of the method's own instead of the data on the plus plate.
            The lengths are then those of the minus data alone.
        shared: names of the tensors in its points that belong to all of them, such as charges.
        settings: its settings.
        problem: what it was made for.
        parametrisation: what the network's raw output means, its targets and its loss.
    """

    Settings: ClassVar[type[MethodSettings]]
    maps: ClassVar[tuple[str, ...]]
    has_prior: ClassVar[bool] = False
    shared: ClassVar[tuple[str, ...]] = ()
    parametrisation: Parametrisation

    def __init__(self, settings: MethodSettings, problem: Problem) -> None:
        self.settings, self.problem = settings, problem

    @property
    def map(self) -> str:
        """The map that its settings choose."""
        return self.maps[0]

    def charges(self, batch: int) -> int:
        """How many rows of each plate's data a training step of ``batch`` points takes."""
        return batch

    @abstractmethod
    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> Points:
        """``n`` points at which to learn, for the charges of this step.

        Args:
            plates: this step's charges.
            n: number of points.
            generator: the only source of randomness, on the charges' device; a function of (seed, step).
            step: optimiser step.
        """

    def sample_location(
        self, x0: Tensor, x1: Tensor, generator: Generator, step: int = 0
    ) -> tuple[Tensor, Tensor, Any]:
        """Where to learn and what, for a training loop of one's own (``efm_fast.method`` makes a method for data).

        Args:
            x0: data on the plus plate, [N, D]; a method with a prior of its own does not look at them.
            x1: data on the minus plate, [N, D].
            generator: the only source of randomness, on the data's device.
            step: of the optimiser, for methods that keep something over steps.

        Returns:
            Heights z [N], points x [N, D], and the target there, which :meth:`loss` takes: a tensor, or the record that
            the ``target`` of the method's parametrisation documents.

        Raises:
            InputError: x0 and x1 are not [N, D] of the same N and of the method's D.
        """
        checks.tensor("x0", x0, ndim=2, columns=len(self.problem.geometry.centre))
        checks.tensor("x1", x1, ndim=2, columns=x0.shape[1], rows=len(x0))
        points = self.points(Plates(x0, x1, self.problem.geometry.L), len(x0), generator, step)
        return points.z, points.x, self.parametrisation.target(points)

    def loss(self, field: nn.Module, z: Tensor, x: Tensor, target: Any) -> Tensor:
        """The mean loss of a learned field, from :meth:`field`, where :meth:`sample_location` said to learn."""
        features, scalar = field(x, z)
        return self.parametrisation.loss(features, scalar, Location(x, z), target)

    def part(self, points: Points, rows: slice) -> Points:
        """Some of ``points``, for one of many processes or of many backward passes of a step.

        Every tensor of the record is cut to ``rows`` but those that :attr:`shared` names.

        Raises:
            InputError: a tensor is neither shared nor has one row for each point.
        """
        if not dataclasses.is_dataclass(points) or isinstance(points, type):
            raise InputError(
                f"method: {self.settings.name} has points that are no dataclass; give it a part()"
            )
        n, parts = len(points.x), {}
        for name in (field.name for field in dataclasses.fields(points)):
            value = getattr(points, name)
            if not isinstance(value, Tensor) or name in self.shared:
                continue
            if len(value) != n:
                raise InputError(
                    f"method: {self.settings.name} has {n} points and {len(value)} rows of {name}, which can only be"
                    " split if its class names it under `shared`"
                )
            parts[name] = value[rows]
        return dataclasses.replace(points, **parts)

    def field(self, backbone: nn.Module) -> LearnedField:
        """``backbone`` with the meaning of its output: what is trained, and what samples follow."""
        return LearnedField(backbone, self.parametrisation, self.problem.geometry)

    def start(self, n: int, generator: Generator) -> Tensor:
        """``n`` draws of the method's own prior, [n, D], data units; only where ``has_prior``."""
        raise InputError(f"method: {self.settings.name} has no prior, samples start from the plus data")

    @abstractmethod
    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Carry ``x0`` [N, D] from one plate to the other along ``field``.

        Heights of the lines are the run's own, also in reverse.

        Args:
            field: the learned field.
            x0: starts on the plus plate (in reverse: on the minus plate), or draws of :meth:`start`.
            support: discs that hold the charges.
            travel: how; ``travel.map`` is one of :attr:`maps` or None.

        Raises:
            InputError: an option that the map does not take.
        """

    def flow(self, field: Any) -> Flow:
        """The equation that samples obey along ``field``, for loops of one's own, such as a scheduler of diffusers.

        Args:
            field: a learned field of this method; anything with ``L`` where ``held`` is not called.

        Raises:
            InputError: the method has none.
        """
        raise InputError(f"method: {self.settings.name} has no equation that other loops can follow")

    def exact(self, plates: Plates) -> Field | None:
        """The field of finite charges that the network approximates; None where the method has none to follow."""
        return None

    def refuse(self, travel: Travel, option: str, *, takes: str) -> None:
        """Raise InputError if ``option`` is given, where the map that was chosen takes another one."""
        value = getattr(travel, option)
        if value is not None:
            raise InputError(
                f"{option}: the {travel.map or self.map} map takes {takes}, got {option}={value}"
            )

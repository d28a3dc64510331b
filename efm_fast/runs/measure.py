"""The lengths of a problem, which are measured on its data once, before training."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .. import checks
from ..config import Config
from ..data import Source, rms_distance
from ..errors import InputError
from ..lines import Support
from ..methods import method_class
from ..streams import Stream, step_generator
from ..types import Geometry

_SAMPLE = 4096


def measure(config: Config, plus: Source, minus: Source) -> Geometry:
    """Measure the data of the plates and determine the lengths of ``config``.

    For a method with a prior of its own, only the minus data are measured.

    Returns:
        The geometry, in data units.

    Raises:
        InputError: the shapes of the plates differ, data hold NaN or infinity or do not vary, or a source draws rows of
            another shape or dtype than float32 rows of its shape.
    """
    if plus.shape != minus.shape:
        raise InputError(f"minus: expected the shape of plus, {plus.shape}, got {minus.shape}")
    alone = method_class(config.method.name).has_prior
    rows = [
        _drawn(name, source, step_generator(config.seed, 0, stream))
        for name, source, stream in (
            ("minus" if alone else "plus", minus if alone else plus, Stream.MEASURE_PLUS),
            ("minus", minus, Stream.MEASURE_MINUS),
        )
    ]
    s = rms_distance(*rows)
    both = torch.cat(rows).double()
    centre = both.mean(0)
    scale = float((both - centre).square().mean().sqrt())
    if not scale > 0:
        raise InputError("plus, minus: expected data that vary, got one and the same row on both plates")
    L, nearest = config.method.lengths(s, scale)
    low, high = float(both.min()), float(both.max())
    return Geometry(
        L=L,
        s=s,
        nearest=nearest,
        shape=plus.shape,
        centre=tuple(centre.tolist()),
        radius=float((both - centre).norm(dim=1).max()),
        scale=scale,
        low=low,
        high=high,
    )


def measure_support(config: Config, plus: Source, minus: Source) -> Support:
    """The discs that hold the run's charges, from 4096 draws of each plate's training data."""
    rows = [
        source.draw(_SAMPLE, step_generator(config.seed, k, Stream.SUPPORT))
        for k, source in enumerate((plus, minus))
    ]
    return Support.of(*rows)


def _drawn(name: str, source: Source, generator: Generator) -> Tensor:
    x = checks.tensor(name, source.draw(_SAMPLE, generator), ndim=2, columns=source.dimension, rows=_SAMPLE)
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise InputError(f"{name}: expected draws in float32 on the CPU, got {x.dtype} on {x.device}")
    return checks.finite(name, x)

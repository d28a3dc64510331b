"""The lengths of a problem, measured on its data once, before training."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .. import checks
from ..config import Config, length_in_data_units
from ..data import Source, rms_distance, step_generator
from ..errors import InputError
from ..lines import Support
from ..nets import Geometry

_SAMPLE = 4096
_STREAM = 1000  # apart from the training batches' streams
_SUPPORT = 201


def measure(config: Config, plus: Source, minus: Source) -> Geometry:
    """Measure the plates' data and resolve the lengths of ``config``.

    Returns:
        The geometry, in data units.

    Raises:
        InputError: the plates differ in shape, hold NaN or infinity, or do not vary, or a source draws something
            else than its shape and float32.
    """
    if plus.shape != minus.shape:
        raise InputError(f"minus: expected the shape of plus, {plus.shape}, got {minus.shape}")
    rows = [
        _drawn(name, source, step_generator(config.seed, 0, _STREAM + k))
        for k, (name, source) in enumerate((("plus", plus), ("minus", minus)))
    ]
    s = rms_distance(*rows)
    both = torch.cat(rows).double()
    centre = both.mean(0)
    scale = float((both - centre).square().mean().sqrt())
    if not scale > 0:
        raise InputError("plus, minus: expected data that vary, got one and the same row on both plates")
    L = length_in_data_units(config.L, s)
    nearest = length_in_data_units(config.points.nearest, s)
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
        source.draw(_SAMPLE, step_generator(config.seed, k, _SUPPORT))
        for k, source in enumerate((plus, minus))
    ]
    return Support.of(*rows)


def _drawn(name: str, source: Source, generator: Generator) -> Tensor:
    x = checks.tensor(name, source.draw(_SAMPLE, generator), ndim=2, columns=source.dimension, rows=_SAMPLE)
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise InputError(f"{name}: expected draws in float32 on the CPU, got {x.dtype} on {x.device}")
    return checks.finite(name, x)

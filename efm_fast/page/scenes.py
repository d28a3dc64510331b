"""What stands on the plates, and the exact lines between them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..data import make_source
from ..errors import InputError
from ..lines import Lines, launch, trace_lines
from ..streams import Stream, step_generator
from .frame import Array, pack, unpack

#: Charges per plate and lines that one request may ask for.
MOST_CHARGES = 2000
MOST_LINES = 300
#: Steps of the lines, over the distance to the nearest charge. A draft takes half the evaluations, and its lines end on
#: the same charges with few exceptions, which is enough for a picture that moves.
_STEP, _DRAFT_STEP = 0.35, 0.7
#: Among few charges lines cost little and bend sharply where the field vanishes.
_FEW, _FEW_STEP = 100, 0.15
_SHORTEST, _LONGEST = 1e-3, 1e4


@dataclass(frozen=True)
class Preset:
    """Two sets of charges that the page offers.

    Attributes:
        title: for the list.
        plus, minus: a source's settings, or the points themselves, [M, D] as rows.
        L: distance between the plates, data units.
        charges: how many per plate are shown at first.
        features: D; a source of the plane gives its first coordinate where D is 1.
    """

    title: str
    plus: Any
    minus: Any
    L: float = 6.0
    charges: int = 400
    features: int = 2


_BUMPS = {"name": "mixture", "components": 2, "std": 0.25}
PRESETS = {
    "gaussian_to_swissroll": Preset("Gaussian to Swiss roll", "gaussian", "swiss_roll"),
    "gaussian_to_mixture": Preset("Gaussian to eight Gaussians", "gaussian", "mixture"),
    "moons_to_gaussian": Preset("Moons to Gaussian", "moons", {"name": "gaussian", "std": 0.7}, L=3.0),
    "mixture_to_swissroll": Preset("Eight Gaussians to Swiss roll", "mixture", "swiss_roll"),
    "swissroll_to_moons": Preset("Swiss roll to moons", "swiss_roll", "moons", L=4.0),
    "dipole": Preset("One charge on each plate", [[-0.5, 0.0]], [[0.5, 0.0]], L=2.0, charges=1),
    "three_and_two": Preset(
        "Three charges and two",
        [[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]],
        [[-0.8, 0.0], [0.8, 0.0]],
        L=2.5,
        charges=3,
    ),
    "line_to_bumps": Preset(
        "1 feature: Gaussian to two Gaussians", {"name": "gaussian", "dimension": 1}, _BUMPS, 4.0, 24, 1
    ),
    "line_dipole": Preset("1 feature: one charge on each plate", [[-0.4]], [[0.4]], 2.0, 1, 1),
}


def preset_scene(name: str) -> bytes:
    """The charges of a preset as a frame: ``plus`` and ``minus``, up to 2000 each.

    Raises:
        InputError: no preset has that name.
    """
    preset = PRESETS[checks.choice("preset", name, PRESETS)]
    plates = [_points(spec, preset.features, k).numpy() for k, spec in enumerate((preset.plus, preset.minus))]
    return scene(preset.title, *plates, L=preset.L, charges=preset.charges)


def scene(
    title: str,
    plus: Array,
    minus: Array,
    *,
    L: float,
    charges: int,
    more: Mapping[str, Array] | None = None,
    **facts: Any,
) -> bytes:
    """Charges as a frame, with what the page needs to show them at first, and ``more`` arrays."""
    head = {"title": title, "L": L, "charges": charges, "features": plus.shape[1], **facts}
    return pack(head, plus=plus, minus=minus, **(more or {}))


def _points(spec: Any, features: int, plate: int) -> Tensor:
    if isinstance(spec, list):
        return torch.tensor(spec)
    source = make_source({"name": spec} if isinstance(spec, str) else spec)
    return source.draw(MOST_CHARGES, step_generator(0, plate, Stream.PICTURES))[:, :features]


def lines_of(content: bytes) -> bytes:
    """The exact lines that a frame asks for, as a frame of their points.

    Args:
        content: a frame with ``plus`` and ``minus`` [M, D] and the facts ``L``, ``lines``, ``draft`` (whether coarser
            steps will do) and ``every``: of the lines, only every so many.

    Returns:
        A frame with ``points`` [K, D+1] of all lines in turn and the facts ``counts`` (points of each line), ``ends``
        (how the lines ended) and ``milliseconds``.

    Raises:
        InputError: an argument is missing, or has the wrong type, shape or range.
    """
    facts, arrays = unpack(content)
    plus, minus = (_charges(name, arrays.get(name)) for name in ("plus", "minus"))
    if plus.shape[1] != minus.shape[1]:
        raise InputError(f"minus: expected {plus.shape[1]} features as in plus, got {minus.shape[1]}")
    L = checks.length("L", facts.get("L"))
    if not _SHORTEST <= L <= _LONGEST:
        raise InputError(f"L: expected {_SHORTEST:g} to {_LONGEST:g}, got {L:g}")
    count = checks.count("lines", facts.get("lines"))
    if count > MOST_LINES:
        raise InputError(f"lines: expected at most {MOST_LINES}, got {count}")
    every = checks.count("every", facts.get("every", 1))
    few = min(len(plus), len(minus)) <= _FEW
    step = _DRAFT_STEP if checks.flag("draft", facts.get("draft")) else _FEW_STEP if few else _STEP
    started = time.perf_counter()
    index, x, z = (part[::every] for part in starts(plus, count))
    lines = trace_lines(x, z, plus, minus, L, method="rk4", step=step, return_paths=True)
    spent = 1000 * (time.perf_counter() - started)
    points, counts = without_repeats(lines, plus[index])
    facts = {"counts": counts, "ends": lines.counts(), "milliseconds": round(spent, 1)}
    return pack(facts, points=points)


def _charges(name: str, value: Array | None) -> Tensor:
    if value is None or value.ndim != 2 or value.shape[1] not in (1, 2):
        shape = "none" if value is None else f"shape {value.shape}"
        raise InputError(f"{name}: expected charges of 1 or 2 features, got {shape}")
    if not 1 <= len(value) <= MOST_CHARGES:
        raise InputError(f"{name}: expected 1 to {MOST_CHARGES} charges, got {len(value)}")
    return checks.finite(name, torch.from_numpy(value.copy()))


def starts(plus: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts of ``count`` lines around positive charges: whose they are, int64 [N], x [N, D] and z [N].

    Every line carries the same flux. Directions are random where each charge has one line, and evenly spread where it
    has several.
    """
    charges = min(len(plus), count)
    each = math.ceil(count / charges)
    index = torch.linspace(0, len(plus) - 1, charges).round().long().repeat_interleave(each)[:count]
    x, z = launch(plus, index)
    if each == 1:
        return index, x, z
    radius = torch.hypot((x - plus[index]).norm(dim=1), z)[:, None]
    u = _spread(each, plus.shape[1] + 1).repeat(charges, 1)[:count]
    return index, plus[index] + radius * u[:, :-1], radius[:, 0] * u[:, -1]


def _spread(count: int, n: int) -> Tensor:
    """``count`` even directions in R^n, [count, n]: on the circle, or Fibonacci's lattice on the sphere."""
    k = torch.arange(count) + 0.5
    if n == 2:
        angle = 2 * math.pi * k / count
        return torch.stack([angle.cos(), angle.sin()], 1)
    height, angle = 1 - 2 * k / count, math.pi * (3 - math.sqrt(5)) * k
    around = (1 - height.square()).sqrt()
    return torch.stack([around * angle.cos(), around * angle.sin(), height], 1)


def without_repeats(lines: Lines, origin: Tensor | None = None) -> tuple[Array, list[int]]:
    """Points of all lines one after the other, [K, D+1], without the repeated ends, and the points of each line.

    With ``origin`` [N, D] every line begins there, on the plus plate.
    """
    assert lines.paths is not None
    paths = lines.paths.detach().cpu().float()
    if origin is not None:
        on_plate = torch.cat([origin.to(paths), torch.zeros(len(origin), 1)], dim=1)
        paths = torch.cat([on_plate[None], paths])
    points = paths.numpy()  # [T, N, D+1]
    ended, finite = (points == points[-1]).all(axis=2), np.isfinite(points).all(axis=2)
    last = np.where(ended.any(axis=0), ended.argmax(axis=0), len(points) - 1)
    kept = finite & (np.arange(len(points))[:, None] <= last)
    return points.transpose(1, 0, 2)[kept.T], kept.sum(axis=0).tolist()

"""What the distance between the plates does to one's own data: exact field lines, looked at for several L."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checks
from .config import Config, settings_in
from .data import make_source
from .errors import InputError
from .extras import extra
from .lines import LineStatus, launch, trace_lines
from .runs.measure import measure
from .streams import Stream, step_generator

with extra("train"):
    from tqdm.auto import tqdm

#: Plate distances that are looked at, as multiples of s.
DISTANCES = (0.1, 0.3, 1.0, 3.0, 10.0)
#: Fewer charges than this that share the field between the plates make a map that copies them.
_SHARED = 32.0


@dataclass(frozen=True)
class DistanceReport:
    """Exact lines at one distance of the plates.

    Attributes:
        L: distance between the plates, data units.
        L_in_s: the same over s, the root mean square distance between charges of opposite plates.
        behind: share of lines that start or end behind a plate; a forward map loses these.
        turning: median of the angle that a line turns through in all, degrees; 0 is straight.
        length: median length of a line over L.
        shared: median over lines of the effective number of negative charges that make up the field where
            the line crosses the middle, (sum w)^2 / sum w^2.
        evaluations: mean evaluations of the field per exact line.
        arrived: share of lines that reached a charge.
    """

    L: float
    L_in_s: float
    behind: float
    turning: float
    length: float
    shared: float
    evaluations: float
    arrived: float

    def cells(self) -> tuple[str, ...]:
        """The numbers as text."""
        lengths = (f"{self.L:.3g}", f"{self.L_in_s:g}", f"{self.behind:.0%}")
        shape = (f"{self.turning:.0f} deg", f"{self.length:.3g}")
        return (*lengths, *shape, f"{self.shared:.0f}", f"{self.evaluations:.0f}", f"{self.arrived:.1%}")


@dataclass(frozen=True)
class Diagnosis:
    """Reports of all distances, nearest first, and what they suggest.

    Attributes:
        rows: one per distance.
        D: features.
        s: root mean square distance between charges of opposite plates, data units.
        L: the suggested distance, data units.
        map: the suggested map, "full" or "forward".
        steps: the suggested step rule, in words.
    """

    rows: tuple[DistanceReport, ...]
    D: int
    s: float
    L: float
    map: str
    steps: str

    def table(self) -> str:
        """The reports as text, and the suggestion below them."""
        titles = ("L", "L / s", "behind", "turning", "length / L", "charges shared", "evaluations", "arrived")
        cells = [row.cells() for row in self.rows]
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in (titles, *cells)]
        said = f"suggested: L = {self.L:.3g} ({self.L / self.s:.2g} s), {self.map} map; exact lines by {self.steps}"
        return "\n".join([f"D = {self.D}, s = {self.s:.3g}", *lines, said])

    def curves(self) -> dict[str, list[float]]:
        """What a picture shows over L: the title of each panel and its values."""
        return {
            "lines behind a plate": [row.behind for row in self.rows],
            "turning, degrees": [row.turning for row in self.rows],
            "length over L": [row.length for row in self.rows],
            "charges that share": [row.shared for row in self.rows],
            "evaluations": [row.evaluations for row in self.rows],
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def diagnose(
    cfg: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    charges: int = 1024,
    lines: int = 128,
    distances: Sequence[float] = DISTANCES,
    progress: bool = False,
) -> Diagnosis:
    """Trace exact lines between one's own data for several distances of the plates.

    The suggested L is the one of the fewest evaluations per line among those at which at least 32 charges
    share the field midway, so that the map blends charges rather than copies them; where none reaches 32,
    the one that comes nearest. Lines behind the plates ask for the full map.

    Args:
        cfg: preset's name, YAML path, mapping or Config; only its data and its seed count.
        overrides: dotted keys and their values.
        charges: drawn per plate.
        lines: traced per distance.
        distances: as multiples of s.
        progress: whether to show a bar.

    Returns:
        The diagnosis.

    Raises:
        InputError: a setting that does not fit, data that do not vary, or a distance not above 0.
    """
    # lines between plates are field matching's, whatever method the config chooses
    config = Config.load(cfg, {**settings_in(overrides), "method": "field_matching"})
    checks.count("charges", charges)
    checks.count("lines", lines)
    checks.flag("progress", progress)
    shares = _multiples(distances)
    sources = [make_source(spec, seed=config.seed) for spec in (config.plus, config.minus)]
    geometry = measure(config, *sources)
    plus, minus = (
        # finite sources repeat themselves, and a line needs a charge of its own to leave from
        torch.unique(source.draw(charges, step_generator(config.seed, k, Stream.DIAGNOSIS)), dim=0)
        for k, source in enumerate(sources)
    )
    shown = tqdm(shares, "distances", disable=not progress, unit="L")
    rows = tuple(_report(plus, minus, share * geometry.s, geometry.s, lines) for share in shown)
    best = _best(rows)
    full = best.behind > 0.02
    steps = (
        "RK4, steps of 0.4 of the distance to the nearest charge"
        if plus.shape[1] <= 16
        else "Dormand-Prince, tolerance 1e-4 / sqrt(D + 1)"
    )
    return Diagnosis(rows, plus.shape[1], geometry.s, best.L, "full" if full else "forward", steps)


def _multiples(distances: object) -> list[float]:
    if isinstance(distances, str | bytes) or not isinstance(distances, Iterable):
        raise InputError(f"distances: expected multiples of s, got {checks.describe(distances)}")
    shares = [checks.positive("distances", share) for share in distances]
    if not shares:
        raise InputError("distances: expected at least one multiple of s, got none")
    return shares


def _best(rows: Sequence[DistanceReport]) -> DistanceReport:
    blending = [row for row in rows if row.shared >= _SHARED and row.arrived > 0.99]
    if blending:
        return min(blending, key=lambda row: row.evaluations)
    return max(rows, key=lambda row: row.shared)


def _report(plus: Tensor, minus: Tensor, L: float, s: float, count: int) -> DistanceReport:
    x, z = launch(plus, torch.arange(count) % len(plus), seed=0)
    lines = trace_lines(x, z, plus, minus, L, return_paths=True)
    assert lines.paths is not None
    arrived = lines.arrived
    behind = (z < 0) | (lines.status == LineStatus.BEHIND)
    return DistanceReport(
        L=L,
        L_in_s=L / s,
        behind=float(behind[arrived].double().mean()),
        turning=_median(_turning(lines.paths)[arrived]),
        length=_median(lines.length[arrived].double()) / L,
        shared=_median(_shared(lines.paths, minus, L)),
        evaluations=float(lines.evaluations.double().mean()),
        arrived=float(arrived.double().mean()),
    )


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else float("nan")


def _turning(paths: Tensor) -> Tensor:
    """Sum of the angles between a line's successive steps, degrees [N]."""
    steps = paths.diff(dim=0).double()
    size = steps.norm(dim=2)
    cosine = (steps[1:] * steps[:-1]).sum(2) / (size[1:] * size[:-1]).clamp_min(1e-300)
    moved = (size[1:] > 0) & (size[:-1] > 0)
    return torch.where(moved, cosine.clamp(-1.0, 1.0).acos(), 0.0).sum(0).rad2deg()


def _shared(paths: Tensor, minus: Tensor, L: float) -> Tensor:
    """Effective number of negative charges at the lines' first crossings of the middle plane, one per crossing."""
    z = paths[:, :, -1]
    crosses = (z[:-1] < L / 2) & (z[1:] >= L / 2)
    rows = crosses.any(0).nonzero()[:, 0]
    first = crosses.int().argmax(0)[rows]
    before, after = paths[first, rows], paths[first + 1, rows]
    share = ((L / 2 - before[:, -1]) / (after[:, -1] - before[:, -1]))[:, None]
    x = (before + share * (after - before))[:, :-1].double()
    distance = torch.cdist(x, minus.double(), compute_mode="donot_use_mm_for_euclid_dist")
    log_weight = -0.5 * (x.shape[1] + 1) * torch.log(distance.square() + (L / 2) ** 2)
    weight = torch.softmax(log_weight, 1)
    return 1.0 / weight.square().sum(1)

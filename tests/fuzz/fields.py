"""Fuzzer of the capacitor's field, of potentials and of energies."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from efm_fast.field import capacitor_field, capacitor_potential, energy, potential
from efm_fast.types import CapacitorField

from . import tolerances
from .drawing import DIMENSIONS, NARROW, Draw, promise
from .outcome import Outcome
from .truth import Pairs, pairs

_LEAST_HEIGHT = 0.05  # of the Gaussian in a flux point: below it the point is farther out than anyone draws


def case(seed: int) -> Outcome:
    """One random capacitor: its field at a kind of point, or its potential, or its energy."""
    draw = Draw(seed)
    what = draw.pick(("field", "field", "field", "potential", "energy"))
    d = draw.pick(DIMENSIONS if what == "field" else DIMENSIONS[1:])
    most = 1024 if draw.chance(0.1) else 80
    dtype = torch.float64 if draw.chance(0.2) else draw.pick(NARROW)
    plates = [draw.charges(draw.size(most), d, dtype) for _ in range(2)]
    spread = math.sqrt(2 * d) * float(torch.cat(plates).double().std().nan_to_num(1.0).clamp_min(1e-3))
    L = spread * draw.pick((0.1, 1.0, 5.0))
    weights = [(draw.uniform(len(y)) + 0.1) if draw.chance(0.3) else None for y in plates]
    precision = draw.pick(("fast", "default", "default", "exact"))
    points = _points(draw, draw.size(16), plates, spread, L)
    x, z = points["x"].to(torch.float64 if dtype == torch.float64 else torch.float32), points["z"]
    z = z.to(draw.pick((torch.float32, torch.float64)))
    backend = draw.backend(x, plates[0], precision)
    row = promise(backend, precision, x)
    sizes = f"n={len(x)} m={len(plates[0])}, {len(plates[1])} d={d} L={L:.3g} {x.dtype} {z.dtype} {dtype} {precision}"
    outcome = Outcome(backend, row, f"{what} at {points['kind']} points {sizes}")
    held = [draw.layout(y) for y in plates]
    options: dict[str, Any] = {
        "plus_weight": weights[0],
        "minus_weight": weights[1],
        "backend": backend,
        "precision": precision,
    }
    if draw.chance(0.2):
        options["softening"] = 0.1 * spread
    softening = options.get("softening", 0.0)
    if what == "energy":
        with draw.context():
            got = energy(*held, L, **options)
        _compare_energy(outcome, float(got.value()), plates, weights, L, softening)
        return outcome
    power = d + 1.0 if what == "field" else d - 1.0
    sums = [
        pairs(x, y, "riesz", power, weight=q, height=z.double() - at, softening=softening)
        for y, q, at in zip(plates, weights, (0.0, L), strict=True)
    ]
    totals = [float(len(y)) if q is None else float(q.sum()) for y, q in zip(plates, weights, strict=True)]
    if what == "field":
        with draw.context():
            field = capacitor_field(draw.layout(x), draw.layout(z), *held, L, **options)
        allowed = tolerances.FIELD[points["kind"] if points["kind"] in tolerances.FIELD else "anywhere"][row]
        _compare_field(outcome, field, sums, totals, (z.double(), z.double() - L), allowed)
        return outcome
    plain = {"softening": softening, "backend": backend, "precision": precision}
    with draw.context():
        one = potential(draw.layout(x), held[0], height=z, weight=weights[0], **plain)
        both = capacitor_potential(draw.layout(x), draw.layout(z), *held, L, **options)
    scale = torch.maximum(*(p.log_scale for p in sums))
    parts = [p.w * torch.exp(p.log_scale - scale) / total for p, total in zip(sums, totals, strict=True)]
    kept = torch.isfinite(scale)
    allowed = tolerances.POTENTIAL[row]
    log = torch.log(parts[0] * totals[0]) + scale - math.log(d - 1)
    outcome.compare("log potential", (one.log_abs - log)[torch.isfinite(log)].abs(), 1.0, allowed)
    value = both.sign[kept] * torch.exp(both.log_abs[kept] - scale[kept] + math.log(d - 1))
    outcome.compare(
        "potential", (value - (parts[0] - parts[1])[kept]).abs(), (parts[0] + parts[1])[kept], allowed
    )
    return outcome


def _points(draw: Draw, n: int, plates: list[Tensor], spread: float, L: float) -> dict[str, Any]:
    """Points and their heights, by the law of one kind."""
    plus, minus = (y.double() for y in plates)
    d, kind = plus.shape[1], draw.pick(("anywhere", "flux", "far", "segment", "beside"))
    at = plus[draw.index(n, len(plus))]
    if kind in ("flux", "far"):  # the law of FluxPoints: x = y + h g / |g0|
        h = L * 10 ** draw.random.uniform(-3, 0) * (10 if kind == "far" else 1)
        g, g0 = draw.normal(n, d), draw.normal(n).abs().clamp_min(_LEAST_HEIGHT)
        sign = -1.0 if draw.chance(0.3) else 1.0
        return {
            "kind": kind,
            "x": at + h * g / g0[:, None],
            "z": torch.full((n,), sign * h, dtype=torch.float64),
        }
    share = draw.uniform(n)
    if kind == "segment":
        other = minus[draw.index(n, len(minus))]
        return {"kind": kind, "x": at + share[:, None] * (other - at), "z": share * L}
    if kind == "beside":
        step = 10 ** draw.random.uniform(-6, -1) * spread
        return {"kind": kind, "x": at + draw.normal(n, d) * step / math.sqrt(d), "z": share * step}
    return {"kind": kind, "x": draw.normal(n, d) * spread / math.sqrt(d), "z": (2 * share - 0.5) * L}


def _compare_field(
    outcome: Outcome,
    got: CapacitorField,
    sums: list[Pairs],
    totals: list[float],
    heights: tuple[Tensor, Tensor],
    allowed: float | None,
) -> None:
    scale = torch.maximum(*(p.log_scale for p in sums))
    kept = torch.isfinite(scale)
    outcome.require("log norm is +inf on a charge", bool(torch.isposinf(got.log_norm[~kept]).all()))
    outcome.require("direction is 0 on a charge", not got.direction[~kept].any())
    if not kept.any():
        return
    fields = []
    for p, total, h in zip(sums, totals, heights, strict=True):
        factor = torch.exp(p.log_scale - scale)[kept] / total
        fields.append(factor[:, None] * torch.cat([p.v, (p.w * h)[:, None]], 1)[kept])
    true = fields[0] - fields[1]
    size = true.norm(dim=1)
    # where the field vanishes its direction is noise in float64 too
    clear = size > 1e-9 * torch.maximum(*(f.norm(dim=1) for f in fields))
    true, size = true[clear], size[clear]
    error = (got.direction[kept][clear].double() - true / size[:, None]).norm(dim=1)
    outcome.compare("direction", error, 1.0, allowed)
    log = scale[kept][clear] + torch.log(size)
    outcome.compare(
        "log norm", (got.log_norm[kept][clear] - log).abs(), 1.0, None if allowed is None else 10 * allowed
    )


def _compare_energy(
    outcome: Outcome,
    got: float,
    plates: list[Tensor],
    weights: list[Tensor | None],
    L: float,
    softening: float,
) -> None:
    d, total, size = plates[0].shape[1], 0.0, 0.0
    shares = [
        torch.full((len(y),), 1.0 / len(y), dtype=torch.float64) if q is None else q / q.sum()
        for y, q in zip(plates, weights, strict=True)
    ]
    for factor, a, b, height in ((0.5, 0, 0, 0.0), (0.5, 1, 1, 0.0), (-1.0, 0, 1, L)):
        r2 = (
            torch.cdist(plates[a].double(), plates[b].double(), compute_mode="donot_use_mm_for_euclid_dist")
            ** 2
        )
        r2 = r2 + height**2 + softening**2
        if a == b:
            r2.fill_diagonal_(torch.inf)
        terms = shares[a][:, None] * shares[b] * r2 ** (-0.5 * (d - 1)) / (d - 1)
        total, size = total + factor * float(terms.sum()), size + abs(factor) * float(terms.sum())
    if math.isinf(size):
        outcome.require("energy of coincident charges is +inf", got == math.inf)
    elif size > 1e-290:
        outcome.compare(
            "energy", torch.tensor([abs(got - total)]), size, tolerances.POTENTIAL[outcome.promise]
        )

"""Fuzzer of the gradients of a sum with respect to points, charges, weights and heights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from efm_fast.field import gaussian_sum, riesz_sum

from . import tolerances
from .drawing import DIMENSIONS, Draw, promise
from .outcome import Outcome
from .truth import NEGLIGIBLE, Pairs, pairs


def case(seed: int) -> Outcome:
    """Gradients of a random mixture of posterior mean and log weight, beside those of the pairs in float64."""
    draw = Draw(seed)
    d, n, m = draw.pick(DIMENSIONS), draw.size(10), draw.size(60)
    dtype = torch.float64 if draw.chance(0.2) else torch.float32
    y = draw.charges(m, d, dtype)
    x = draw.points(n, y, dtype)
    kernel = "gaussian" if draw.chance(0.25) else "riesz"
    scale = (
        math.sqrt(d) * draw.pick((0.3, 1.0, 5.0))
        if kernel == "gaussian"
        else draw.pick((d + 1.0, max(0.5, d - 1.0)))
    )
    options: dict[str, Any] = {}
    if draw.chance(0.5):
        options["weight"] = (draw.uniform(m) + 0.1).to(dtype)
    if draw.chance(0.6):
        options["height"] = (draw.normal(n) * draw.pick((0.1, 1.0, 30.0))).to(dtype)
    if draw.chance(0.2) and m > 1:
        options["first_self"] = draw.random.randrange(-m, n)
    if kernel == "riesz" and draw.chance(0.3):
        options["softening"] = 0.3
    precision = draw.pick(("fast", "default", "default", "exact"))
    backend = draw.backend(x, y, precision)
    row = promise(backend, precision, x)
    described = {name: "a tensor" if isinstance(v, Tensor) else v for name, v in options.items()}
    outcome = Outcome(backend, row, f"{kernel} {scale:.4g} n={n} m={m} d={d} {dtype} {precision} {described}")

    upstream = draw.normal(n, d), draw.normal(n)
    want = pairs(x, y, kernel, scale, **options)
    kept = torch.isfinite(want.log_scale)  # rows on a charge or without one pass nothing on
    upstream = tuple(torch.where(kept.view(-1, *[1] * (g.ndim - 1)), g, 0.0) for g in upstream)
    how = {"backend": backend, "precision": precision}
    got = _by_autograd(draw, x, y, kernel, scale, options | how, upstream, kept)
    for name, (value, size) in _by_hand(want, x, y, kernel, scale, options, upstream).items():
        if name in got:
            error = (got[name].double() - value).reshape(len(value), -1).norm(dim=1)
            size = size + NEGLIGIBLE * size.amax()
            outcome.compare(name, error, size, tolerances.GRADIENT[row])
    return outcome


def _by_autograd(
    draw: Draw,
    x: Tensor,
    y: Tensor,
    kernel: str,
    scale: float,
    options: dict[str, Any],
    upstream: tuple[Tensor, ...],
    kept: Tensor,
) -> dict[str, Tensor]:
    """Gradients by the package; the arguments are views of leaves, some of them left out."""
    leaves = {"x": x, "y": y, **{k: v for k, v in options.items() if isinstance(v, Tensor)}}
    leaves = {name: t.clone().requires_grad_(draw.chance(0.8)) for name, t in leaves.items()}
    leaves["x"].requires_grad_()
    held = {name: draw.layout(t) for name, t in leaves.items()}
    rest = {name: value for name, value in options.items() if not isinstance(value, Tensor)}
    sum_, named = (riesz_sum, "power") if kernel == "riesz" else (gaussian_sum, "bandwidth")
    points, charges = held.pop("x"), held.pop("y")
    with draw.context():
        total = sum_(points, charges, **{named: scale}, **held, **rest)
        one = torch.ones_like(total.w)
        w = torch.where(kept, total.w, one)  # a division by zero would spoil the other rows
        mean = points - total.v / w[:, None]
        log = torch.log(w.abs()).double()
        loss = (mean.double() * upstream[0]).sum() + (log * upstream[1]).sum()
        asked = [name for name, leaf in leaves.items() if leaf.requires_grad]
        found = torch.autograd.grad(loss, [leaves[name] for name in asked], allow_unused=True)
    return {
        name: torch.zeros_like(leaves[name]) if g is None else g for name, g in zip(asked, found, strict=True)
    }


def _by_hand(
    p: Pairs,
    x: Tensor,
    y: Tensor,
    kernel: str,
    scale: float,
    options: dict[str, Any],
    upstream: tuple[Tensor, ...],
) -> dict[str, tuple[Tensor, Tensor]]:
    """The gradients by the formula of ``field/backends/gradient.py``, and the sums of their absolute terms."""
    kept = torch.isfinite(p.log_scale)
    w = torch.where(kept, p.w, 1.0)
    g_v = -upstream[0] / w[:, None]
    g_w = (upstream[0] * p.v).sum(1) / w.square() + upstream[1] / w
    a = g_w[:, None] + torch.einsum("nd,nmd->nm", g_v, p.difference)
    size_a = g_w.abs()[:, None] + g_v.norm(dim=1)[:, None] * p.difference.norm(dim=2)
    counted = (p.weight != 0) & kept[:, None]
    square = torch.where(counted, p.square, 1.0)
    slope = torch.full_like(square, -1 / scale**2) if kernel == "gaussian" else -scale / square
    q = options.get("weight", torch.ones(len(y))).double()
    weight = torch.where(counted, p.weight, 0.0)
    b, size_b = weight * slope * a, (weight * slope).abs() * size_a
    own = weight.sum(1)[:, None] * g_v
    to_x = torch.einsum("nm,nmd->nd", b, p.difference) + own
    size = size_b * p.difference.norm(dim=2) + weight.abs() * g_v.norm(dim=1)[:, None]
    to_y = -torch.einsum("nm,nmd->md", b, p.difference) - weight.T @ g_v
    found = {
        "x": (to_x + upstream[0], size.sum(1) + upstream[0].norm(dim=1)),
        "y": (to_y, size.sum(0)),
        "weight": ((weight / q * a).sum(0), (weight.abs() / q * size_a).sum(0)),
    }
    if "height" in options:
        h = options["height"].double()
        found["height"] = (h * b.sum(1), h.abs() * size_b.sum(1))
    return found

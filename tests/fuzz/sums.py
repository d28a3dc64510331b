"""Fuzzer of ``riesz_sum`` and ``gaussian_sum``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from efm_fast.field import gaussian_sum, riesz_sum
from efm_fast.field.logsum import LogSum

from . import tolerances
from .drawing import DIMENSIONS, NARROW, WIDE, Draw, promise
from .outcome import Outcome
from .truth import Pairs, pairs


def case(seed: int) -> Outcome:
    """One random sum, compared with its pairs in float64."""
    draw = Draw(seed)
    d, n = draw.pick(DIMENSIONS), draw.size(12)
    m = 0 if draw.chance(0.03) else draw.size(700 if draw.chance(0.1) else 60)
    y = draw.charges(m, d, draw.pick(NARROW if draw.chance(0.8) else WIDE))
    x = draw.points(n, y, torch.float64 if draw.chance(0.2) else torch.float32)
    if draw.chance(0.1) and m:
        y = y[:1].expand(m, d)  # strides of zero
    precision = draw.pick(("fast", "default", "default", "exact"))
    backend = draw.backend(x.to(torch.float64) if y.dtype in WIDE else x, y, precision)
    size = float(y.double().std()) if m * d > 1 else 1.0
    kernel, scale, options = _settings(draw, d, n, m, size or 1.0)
    want = pairs(x, y, kernel, scale, **options)
    row = promise(backend, precision, x)
    described = {name: "a tensor" if isinstance(v, Tensor) else v for name, v in options.items()}
    outcome = Outcome(
        backend, row, f"{kernel} {scale:.4g} n={n} m={m} d={d} {x.dtype} {y.dtype} {precision} {described}"
    )
    _compare(outcome, _call(draw, x, y, kernel, scale, options, backend, precision), want)
    return outcome


def _settings(draw: Draw, d: int, n: int, m: int, size: float) -> tuple[str, float, dict[str, Any]]:
    """Kernel, its power or bandwidth, and the optional arguments."""
    options: dict[str, Any] = {}
    if draw.chance(0.5):
        weight = draw.normal(m) if draw.chance(0.5) else draw.uniform(m) + 0.1
        weight[draw.uniform(m) < 0.2] = 0
        options["weight"] = weight.to(draw.pick((torch.float32, torch.float64)))
    if draw.chance(0.5):
        options["height"] = (draw.normal(n) * size * draw.pick((0.0, 0.1, 1.0, 1e3))).to(
            draw.pick((torch.float32, torch.float64))
        )
    if draw.chance(0.2):
        options["first_self"] = draw.random.randrange(-m - 2, n + 2)
    if draw.chance(0.25):
        return "gaussian", size * math.sqrt(d) * draw.pick((0.1, 1.0, 10.0)), options
    if draw.chance(0.3):
        options["softening"] = size * draw.pick((1e-3, 1.0))
    if draw.chance(0.2):  # PFGM++'s limit, as wide as the charges
        extra = draw.pick((100, 10_000, 1_000_000))
        options["height"] = (draw.uniform(n) + 0.5) * size * math.sqrt(extra)
        return "riesz", float(d + extra), options
    return (
        "riesz",
        draw.pick((d + 1.0, d + 1.0, max(0.5, d - 1.0), draw.random.uniform(0.2, 2 * d + 4))),
        options,
    )


def _call(
    draw: Draw,
    x: Tensor,
    y: Tensor,
    kernel: str,
    scale: float,
    options: dict[str, Any],
    backend: str,
    precision: str,
) -> LogSum:
    """The sum by the package, its arguments held in some way, in memory or streamed."""
    sum_ = riesz_sum if kernel == "riesz" else gaussian_sum
    named = {"power" if kernel == "riesz" else "bandwidth": scale, "backend": backend, "precision": precision}
    held = {name: draw.layout(v) if isinstance(v, Tensor) else v for name, v in options.items()}
    if draw.chance(0.15) and y.dtype != torch.bfloat16:
        weight = held.pop("weight", None)
        if draw.chance(0.5):
            array = y.numpy()
            array = array.astype(array.dtype.newbyteorder(">")) if draw.chance(0.3) else array
            with draw.context():
                return sum_(draw.layout(x), array, weight=weight, **held, **named)
        parts = y.split(draw.size(40))
        chunks = parts if weight is None else zip(parts, weight.split(len(parts[0])), strict=True)
        if len(y):
            with draw.context():
                return sum_(draw.layout(x), list(chunks), **held, **named)
        held["weight"] = weight
    x, y = draw.layout(x), draw.layout(y)
    with draw.context():
        return sum_(x, y, **held, **named)


def _compare(outcome: Outcome, got: LogSum, want: Pairs) -> None:
    if outcome.promise == "fast":
        return  # that it came back is all that is asked
    hit, empty = torch.isposinf(want.log_scale), torch.isneginf(want.log_scale)
    outcome.require("a point on a charge has m = +inf", torch.equal(torch.isposinf(got.m), hit))
    outcome.require("a point without a charge has m = -inf", torch.equal(torch.isneginf(got.m), empty))
    outcome.require("v is 0 on a charge and without one", not got.v[hit | empty].any())
    outcome.require("w is 0 without a charge", not got.w[empty].any())
    outcome.compare("w on a charge", (got.w.double() - want.w)[hit].abs(), want.size_w[hit], 1e-6)
    rows = ~hit & ~empty
    if outcome.wrong or not rows.any():
        return
    shift = torch.exp((got.m - want.log_scale)[rows])
    # both parts in units of the sum of their absolute terms
    found = torch.cat(
        [
            (got.w[rows].double() * shift / want.size_w[rows])[:, None],
            got.v[rows].double() * (shift / want.size_v[rows].clamp_min(1e-300))[:, None],
        ],
        1,
    )
    true = torch.cat(
        [(want.w / want.size_w)[rows, None], want.v[rows] / want.size_v[rows, None].clamp_min(1e-300)], 1
    )
    ratio = ((found * true).sum(1) / true.square().sum(1).clamp_min(1e-300)).clamp_min(1e-300)
    steep = (
        true.norm(dim=1) > 0.1
    )  # where the signs do not cancel, the scale and the mixture can be told apart
    allowed_log = tolerances.LOG[outcome.promise]
    error = torch.log(ratio[steep]).abs()
    excuse = want.steepness * tolerances.SQUARE[outcome.promise] + 1e-15 * want.log_scale.abs()
    outcome.compare("log scale", error, 1.0 + excuse[rows][steep] / allowed_log, allowed_log)
    common = torch.where(steep, ratio, 1.0)[:, None]
    allowed = tolerances.SUM[outcome.promise]
    size = torch.where(steep, 1.0, 10.0) + excuse[rows] / allowed
    outcome.compare("sums", (found / common - true).norm(dim=1), size, allowed)

"""What a user would take instead of efm_fast: the published formula, torch by hand, its compiled form, KeOps,
FlexAttention; and efm_fast's own backends behind the same call.

Every form maps (x [N, D], z [N], plus [M, D], minus [M, D], L) to the direction and log norm of both plates' field.
The forms written here are the exact superposition in log scale, as one would write it with care in float32: none is
made worse than a user would make it.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efm_fast.field import backends, capacitor_field, riesz_sum
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import Precision, SumRequest
from efm_fast.types import CapacitorField

Field = Callable[[Tensor, Tensor, Tensor, Tensor, float], CapacitorField]
#: Sums of one plate, (m [N], w [N], v [N, D]), from points, squared heights and charges.
PlateSum = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]

_CACHED = 1 << 20  # elements of a block that stays in a cache
_GEMM_PAIRS = 1 << 22
_NEGLIGIBLE = -80.0  # exp of less may be subnormal, which slows a CPU tenfold


@dataclass(frozen=True)
class Form:
    """One row of the bench.

    Attributes:
        name: of the row.
        field: computes the field of both plates.
        why_not: a sentence that says why it cannot run in ``d`` features on ``device``, or None.
        elements: most elements of a block of points x charges x features, where the form keeps one; else None.
        compiles: whether it may compile for long, so that it gets a time budget and a process of its own.
        ours: whether it is a backend of efm_fast.
        plate_sum: the sums of one plate with Coulomb's power D + 1, which ``field`` is made of.
    """

    name: str
    field: Field
    why_not: Callable[[int, torch.device], str | None] = lambda d, device: None
    elements: int | None = None
    compiles: bool = False
    ours: bool = False
    plate_sum: PlateSum | None = None


def forms(precision: Precision = "default") -> dict[str, Form]:
    """All rows by name, in the order of the table; ``precision`` is that of efm_fast's backends."""
    rows = [
        _by_hand("broadcast", broadcast, elements=1 << 26),
        _by_hand("chunks, direct", functools.partial(chunked, direct_chunk, True)),
        _by_hand("chunks, GEMM", functools.partial(chunked, gemm_chunk, False)),
        _by_hand("KeOps", keops, why_not=_keops_why_not, compiles=True),
        _by_hand("torch.compile", compiled, compiles=True),
        _by_hand("FlexAttention", flex, why_not=_flex_why_not, compiles=True),
        *(_own(row, precision) for row in reversed(backends.TABLE)),
    ]
    return {row.name: row for row in rows}


def _by_hand(name: str, plate_sum: PlateSum, **facts: Any) -> Form:
    return Form(name, capacitor_of(plate_sum), plate_sum=plate_sum, **facts)


def _own(row: backends.Backend, precision: Precision) -> Form:
    def why_not(d: int, device: torch.device) -> str | None:
        example = torch.zeros(1, d, device=device)
        return row.why_not(SumRequest(example, example, kernel=Riesz(d + 1.0), precision=precision))

    def field(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, L: float) -> CapacitorField:
        return capacitor_field(x, z, plus, minus, L, backend=row.name, precision=precision)

    def plate_sum(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        power = x.shape[1] + 1.0
        total = riesz_sum(x, y, power=power, height=h2.sqrt(), backend=row.name, precision=precision)
        return total.m, total.w, total.v

    return Form(f"ours: {row.name}", field, why_not, ours=True, plate_sum=plate_sum)


def capacitor_of(plate_sum: PlateSum) -> Field:
    """The field of both plates from the sums of each, added in log scale and normalised once."""

    def field(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, L: float) -> CapacitorField:
        parts = []
        for charges, height in ((plus, z), (minus, z - L)):
            y = charges.to(x.dtype)
            m, w, v = plate_sum(x, (height * height).to(x.dtype), y)
            vector = torch.cat([v, (w * height.to(x.dtype))[:, None]], 1) / len(y)
            parts.append((m, vector))
        (m_plus, up), (m_minus, down) = parts
        m = torch.maximum(m_plus, m_minus)
        total = torch.exp(m_plus - m)[:, None] * up - torch.exp(m_minus - m)[:, None] * down
        norm = torch.linalg.vector_norm(total, dim=1)
        return CapacitorField(total / norm[:, None], m.double() + norm.double().log())

    return field


def broadcast(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every difference in memory at once, as published codes have it."""
    return direct_chunk(x, h2, y)


def direct_chunk(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over charges from differences [N, M, D]."""
    difference = x[:, None, :] - y[None, :, :]
    r2 = difference.square().sum(2) + h2[:, None]
    logit = r2.log() * (-0.5 * (x.shape[1] + 1))
    m = logit.amax(1)
    weight = torch.exp(logit - m[:, None])
    return m, weight.sum(1), (weight[:, :, None] * difference).sum(1)


def gemm_chunk(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over charges from |x|^2 + |y|^2 - 2 x.y of centred data."""
    centre = y.mean(0)
    xc, yc = x - centre, y - centre
    r2 = torch.addmm(yc.square().sum(1), xc, yc.T, alpha=-2.0) + xc.square().sum(1)[:, None]
    logit = (r2.clamp_min(0.0) + h2[:, None]).log() * (-0.5 * (x.shape[1] + 1))
    m = logit.amax(1)
    weight = torch.exp(torch.nn.functional.threshold(logit - m[:, None], _NEGLIGIBLE, -math.inf))
    w = weight.sum(1)
    return m, w, w[:, None] * xc - weight @ yc


def chunked(
    chunk: PlateSum, differences: bool, x: Tensor, h2: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``chunk`` over blocks of points and charges, merged as they come; O((N + M) D) memory."""
    rows, width = _block(differences, len(x), x.shape[1], x.device)
    parts = []
    for start in range(0, len(x), rows):
        block, height = x[start : start + rows], h2[start : start + rows]
        total = chunk(block, height, y[:width])
        for first in range(width, len(y), width):
            total = _merged(total, chunk(block, height, y[first : first + width]))
        parts.append(total)
    m, w, v = (torch.cat(column) for column in zip(*parts, strict=True))
    return m, w, v


def _block(differences: bool, n: int, d: int, device: torch.device) -> tuple[int, int]:
    """Points and charges of a block."""
    if not differences:
        rows = min(n, 1024)
        return rows, max(256, _GEMM_PAIRS // rows)
    pairs = max(1, (_CACHED if device.type == "cpu" else 64 * _CACHED) // d)
    rows = max(1, min(n, int(math.sqrt(pairs))))
    return rows, max(1, pairs // rows)


def _merged(
    a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    m = torch.maximum(a[0], b[0])
    left, right = torch.exp(a[0] - m), torch.exp(b[0] - m)
    return m, left * a[1] + right * b[1], left[:, None] * a[2] + right[:, None] * b[2]


@functools.cache
def _compiled_chunk(differences: bool) -> PlateSum:
    # one compilation for all shapes: a static one would start again for every D and every last block
    chunk = direct_chunk if differences else gemm_chunk
    return torch.compile(chunk, dynamic=True)


def compiled(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The chunks by hand through torch.compile: differences, which it fuses, up to 16 features, GEMM above."""
    differences = x.shape[1] <= 16
    return chunked(_compiled_chunk(differences), differences, x, h2, y)


def _keops_why_not(d: int, device: torch.device) -> str | None:
    return None if importlib.util.find_spec("pykeops") else "not installed: pip install pykeops"


@functools.cache
def _keops_reduction(d: int) -> Any:
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")  # else it prints between the rows
    from pykeops.torch import Genred

    # one reduction for all that is needed: running maximum, sum of weights, weighted sum of differences
    return Genred(
        "p * Log(SqDist(x, y) + h)",
        [f"x = Vi({d})", f"y = Vj({d})", "h = Vi(1)", "p = Pm(1)"],
        reduction_op="Max_SumShiftExpWeight",
        axis=1,
        formula2="Concat(IntCst(1), x - y)",
    )


def keops(x: Tensor, h2: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One symbolic reduction of KeOps, from its published package."""
    power = x.new_tensor([-0.5 * (x.shape[1] + 1)])
    out = _keops_reduction(x.shape[1])(x.contiguous(), y.contiguous(), h2[:, None].contiguous(), power)
    return out[:, 0], out[:, 1], out[:, 2:]


def _flex_why_not(d: int, device: torch.device) -> str | None:
    if device.type != "cuda":
        return "runs on CUDA devices only"
    return "serves heads of at most 256 features" if d > 256 else None


@functools.cache
def _flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def flex(
    x: Tensor, h2: Tensor, y: Tensor, attention: Callable[..., Any] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum as attention: scores x.y turned into logits, values the charges, scale from its log-sum-exp."""
    d = x.shape[1]
    centre = y.mean(0)
    xc, yc = x - centre, y - centre
    x2, y2 = xc.square().sum(1) + h2, yc.square().sum(1)
    width = max(16, 1 << (d - 1).bit_length())  # heads have powers of two
    q, k = (torch.nn.functional.pad(a, (0, width - d))[None, None] for a in (xc, yc))

    def logit(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return torch.log((x2[i] + y2[j] - 2.0 * score).clamp_min(1e-30)) * (-0.5 * (d + 1))

    run = attention or _flex_attention()
    mean, lse = run(q, k, k, score_mod=logit, scale=1.0, return_lse=True)
    scale = lse[0, 0]  # of weights that sum to one
    return scale, torch.ones_like(scale), xc - mean[0, 0, :, :d]

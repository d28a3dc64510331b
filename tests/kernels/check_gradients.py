"""Gradients in many features by matrix products, against float64; also with a machine's rounding (:mod:`machine`)."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch
from check_backward import compare
from kernel_cases import DEVICE, INTERPRET, asked, draw, kernels
from machine import make_rough
from torch import Tensor

import efm_fast
from efm_fast.field import backends
from efm_fast.field.queries import QuerySet, query_set

plan = importlib.import_module(f"{kernels.__name__}.plan")


@pytest.mark.parametrize(
    "arguments",
    [{"power": 101.0}, {"power": 17.5, "softening": 0.5}, {"power": 101.0, "precision": "fast"},
     {"bandwidth": 10.0, "first_self": 3}],
    ids=["coulomb", "softened", "fast", "gaussian"],
)  # fmt: skip
def test_gradient(arguments: dict[str, object]) -> None:
    compare(100, 2, 40, 5e-5 if "precision" not in arguments else 2e-3, **arguments)


def test_many_chunks_slices_and_groups_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHARGE_PARTS", 4 * 128 * 32)
    monkeypatch.setattr(plan, "SLICE", 64)
    monkeypatch.setattr(plan, "POINT_PARTS", 4 * 128 * 16)
    monkeypatch.setattr(plan, "PAIRS", 1)
    compare(100, 20, 40, 5e-5, power=101.0, first_self=10, positive=True)


def test_only_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = draw(2, 64, 100)
    request = asked(x, y, power=101.0)
    m, one = kernels.log_sum(request).m, torch.ones(2, device=DEVICE)
    g_v = torch.ones(2, 100, device=DEVICE)
    whole = kernels.log_sum_backward(request, m, one, g_v)
    for name, found in zip(("x", "y", "weight"), whole, strict=False):
        needs = {f"needs_{other}": other == name for other in ("x", "y", "weight")}
        alone = kernels.log_sum_backward(request, m, one, g_v, **needs)
        assert torch.equal(getattr(alone, name), found), name
        assert all((getattr(alone, other) == 0).all() for other in ("x", "y", "weight") if other != name)


def gradients(q: QuerySet, backend: str, precision: str) -> dict[str, Tensor]:
    """Of a random functional of the direction of the capacitor's field, by name, on the CPU and in float64."""
    leaves = {"x": q.x, "z": q.z, "plus": q.plus, "minus": q.minus}
    moved = {name: t.to(DEVICE).clone().requires_grad_(t.is_floating_point()) for name, t in leaves.items()}
    field = efm_fast.capacitor_field(*moved.values(), q.L, backend=backend, precision=precision)
    upstream = torch.randn(field.direction.shape, generator=torch.Generator().manual_seed(3))
    (field.direction.double() * upstream.to(DEVICE)).sum().backward()
    return {name: t.grad.cpu().double() for name, t in moved.items() if t.grad is not None}


@pytest.mark.parametrize(
    ("kind", "d", "m", "uint8"),
    [("tie", 300, 64, False), ("twin", 784, 64, False), ("flux", 300, 120, False), ("far", 300, 64, True),
     ("plate_tie", 3072, 64, False), ("flux", 784, 64, True)],
)  # fmt: skip
def test_direction_at_hard_points_with_a_machine_s_rounding(
    kind: str, d: int, m: int, uint8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if INTERPRET:
        make_rough(monkeypatch)
        # the interpreter runs on the CPU, which the table keeps from this backend
        table = tuple(
            replace(row, device_type=None) for row in backends.TABLE if row.name in ("triton", "torch")
        )
        monkeypatch.setattr(backends, "TABLE", table)
    q = query_set(kind, 2, m, d, uint8=uint8)
    got, want = gradients(q, "triton", "default"), gradients(q, "torch", "exact")
    assert ("plus" in got) != uint8
    for name, truth in want.items():
        # the gradient of a height may vanish at a tie, but not that of all features
        scale = max(truth.abs().max(), want["x"].abs().max() if name == "z" else 1e-300)
        off = (got[name] - truth).abs().max() / scale
        # where the fields of the plates cancel, the rest has the errors of both, as promised for the direction
        assert off <= (1e-3 if kind == "far" else 1e-4), f"grad {name} off by {off:.1e}"

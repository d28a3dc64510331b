"""Tiles of charges that cannot matter are left out, and nothing else changes."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from kernel_cases import DEVICE, INTERPRET, asked, assert_close, kernel_sum, kernels, true_sum

launcher: Any = importlib.import_module(f"{kernels.__name__}.launch_chunked")
group: Any = importlib.import_module(f"{kernels.__name__}.group")
fused: Any = importlib.import_module(f"{kernels.__name__}.fused")
seen_from_inside = pytest.mark.skipif(
    not INTERPRET, reason="only the interpreter shows which way a kernel went"
)


def clusters(d: int, per: int = 64, apart: float = 20.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points near the first of four clusters of charges, which come one cluster after the other; heights."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(4 * per, d, generator=generator)
    y[:, 0] += torch.arange(4).repeat_interleave(per) * apart
    x = torch.randn(70, d, generator=generator)
    height = torch.rand(70, generator=generator) * d**0.5
    return x.to(DEVICE), y.to(DEVICE), height.to(DEVICE)


def weights(name: str, m: int) -> torch.Tensor | None:
    """No weights, or of either sign with one far charge that outweighs its distance, or is only large."""
    if name == "none":
        return None
    weight = torch.linspace(-1.0, 2.0, m, device=DEVICE)
    weight[-1] = 1e28 if name == "one is large" else 1e30
    return weight


@pytest.mark.parametrize(
    ("d", "weight", "far_first"),
    [
        (40, "none", False),
        (300, "none", False),
        (40, "one is large", False),
        (80, "one is large", False),
        (40, "one outweighs", False),
        (40, "one outweighs", True),
        (300, "one outweighs", False),
    ],
)
def test_sums_of_clustered_charges(d: int, weight: str, far_first: bool) -> None:
    x, y, height = clusters(d)
    arguments: dict[str, Any] = {"power": d + 1.0, "height": height, "weight": weights(weight, len(y))}
    if far_first:
        y = y.flip(0)
        arguments["weight"] = None if arguments["weight"] is None else arguments["weight"].flip(0)
    got, want = kernel_sum(x, y, **arguments), true_sum(x, y, **arguments)
    if weight == "none":
        assert_close(got, want, 3e-4, log=1e-2)
        return
    # signed weights cancel: judged against the sum of their sizes
    size = true_sum(x, y, **(arguments | {"weight": arguments["weight"].abs()})).w
    off = got.w * torch.exp(got.m - want.m) - want.w
    assert (off.abs() <= 3e-4 * size).all()


@seen_from_inside
@pytest.mark.parametrize("weight", ["none", "one outweighs"])
def test_the_fused_pass_skips_tiles(weight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, height = clusters(40)
    needs: list[int] = []
    decide = fused.need_of

    def recorded(*args: Any, **kwargs: Any) -> Any:
        need = decide(*args, **kwargs)
        needs.append(int(need.handle.data.item()))
        return need

    monkeypatch.setattr(fused, "need_of", recorded)
    arguments = {"power": 41.0, "height": height, "weight": weights(weight, len(y)), "precision": "fast"}
    skipping = kernels.log_sum(asked(x, y, **arguments))
    negligible = needs.count(fused.NEGLIGIBLE.value)
    # two blocks of points, each of four tiles the first of which is its own cluster
    assert negligible == (6 if weight == "none" else 0), f"{negligible} of {len(needs)} tiles skipped"
    monkeypatch.setattr(group, "NEGLIGIBLE", 1e-36)
    needs.clear()
    plain = kernels.log_sum(asked(x, y, **arguments))
    assert needs.count(fused.NEGLIGIBLE.value) < 6
    for one, other in zip(skipping, plain, strict=True):
        assert (one - other).abs().max() <= 2.0**-22 * other.abs().max()


@seen_from_inside
@pytest.mark.parametrize("scattered", [False, True])
def test_the_second_product_walks_only_the_tiles_that_matter(
    scattered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = 300
    x, y, height = clusters(d)
    if scattered:
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    plain = launcher.combine
    listed: list[list[int]] = []
    everything = False

    class Watched:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            def launch(*args: Any, **kwargs: Any) -> None:
                tiles, count = kwargs["tiles"], kwargs["TILES"]
                listed.extend(sorted(row[1 : row[0] + 1]) for row in tiles.tolist())
                if everything:
                    tiles[:, 0] = count
                    tiles[:, 1:-1] = torch.arange(count, dtype=torch.int32)
                plain[grid](*args, **kwargs)

            return launch

    monkeypatch.setattr(launcher, "combine", Watched())
    # far above their plate the points see every charge of their cluster, and none alone
    arguments = {"power": d + 1.0, "height": 20.0 + height, "precision": "fast"}
    skipping = kernels.log_sum(asked(x, y, **arguments))
    assert listed == ([[0, 1, 2, 3]] if scattered else [[0]])
    everything = True
    whole = kernels.log_sum(asked(x, y, **arguments))
    assert all(torch.equal(one, other) for one, other in zip(skipping, whole, strict=True))

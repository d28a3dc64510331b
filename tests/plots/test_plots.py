"""Pictures are written whole, show something, and refuse what they cannot draw."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.plots import (
    animate_lines,
    plot_curves,
    plot_field_lines_3d,
    plot_image_grid,
    plot_image_pairs,
    plot_transport,
)


def shows_something(path: Path) -> bool:
    pixels = matplotlib.image.imread(path)
    return float(np.std(pixels)) > 0.01


def some_lines() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Straight lines from z = 0 to z = 2 with their plates, some of them ending early."""
    g = torch.Generator().manual_seed(0)
    plus, minus = torch.randn(30, 2, generator=g), torch.randn(30, 2, generator=g) + 1
    t = torch.linspace(0, 1, 20)[:, None, None]
    paths = torch.cat([plus + t * (minus - plus), (2 * t).expand(-1, 30, -1)], 2)
    paths[10:, :5] = torch.nan
    return paths, plus, minus


def test_every_picture_shows_something(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    points, images = torch.randn(200, 2, generator=g), torch.rand(12, 3 * 8 * 8, generator=g) * 2 - 1
    paths, plus, minus = some_lines()
    rows = [{"step": k, "loss": 1 / (k + 1), "lr": 0.1} for k in range(100)]
    drawn = [
        plot_transport(points, points + 1, tmp_path / "transport.png", inputs=points, note="W2 0.1"),
        plot_image_grid(images, (3, 8, 8), tmp_path / "grid.png"),
        plot_image_pairs(images, -images, (3, 8, 8), tmp_path / "pairs.png"),
        plot_field_lines_3d(paths, plus, minus, 2.0, tmp_path / "lines.png"),
        plot_curves(rows, tmp_path / "curves.png"),
    ]
    assert all(shows_something(path) for path in drawn)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in drawn}, "no debris"


def test_an_animation_is_small_and_moves(tmp_path: Path) -> None:
    paths, plus, minus = some_lines()
    path = animate_lines(paths, plus, minus, 2.0, tmp_path / "lines.gif", frames=4)
    assert 1000 < path.stat().st_size < 2_000_000
    from PIL import Image

    with Image.open(path) as picture:
        assert picture.n_frames == 4


def test_image_grids_show_the_images(tmp_path: Path) -> None:
    """A white and a black image differ on the picture by what they should."""
    images = torch.cat([torch.ones(1, 192), -torch.ones(1, 192)])
    pixels = matplotlib.image.imread(plot_image_grid(images, (3, 8, 8), tmp_path / "two.png", columns=2))
    middle = pixels[pixels.shape[0] // 2, :, :3]
    assert middle.max() == pytest.approx(1.0, abs=0.02)
    assert middle.min() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda p: plot_transport(torch.zeros(3, 3), torch.zeros(3, 2), p / "a.png"), "samples"),
        (lambda p: plot_image_grid(torch.zeros(2, 5), (3, 8, 8), p / "a.png"), "x"),
        (lambda p: plot_field_lines_3d(torch.zeros(4, 2, 4), *some_lines()[1:], 2.0, p / "a.png"), "paths"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=name):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())

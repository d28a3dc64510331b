"""Samples: what goes in as pictures comes back as pictures, and either plate may be the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from efm_fast import sample, train
from efm_fast.errors import InputError
from efm_fast.pictures import plot_samples
from efm_fast.sampling import starts
from efm_fast.training import Run

TINY = {
    "train.steps": 2,
    "train.batch": 8,
    "method.points.charges": 16,
    "net.width": 16,
    "net.depth": 1,
    "train.picture_every": 2,
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    more = {**TINY, "runs": str(tmp_path_factory.mktemp("runs")), "method.sample.map": "forward"}
    return train("digits_3_to_2", more, progress=False)


@pytest.mark.filterwarnings("ignore::efm_fast.errors.NothingArrivedWarning")
@pytest.mark.parametrize("map", ["forward", "full"])
@pytest.mark.parametrize("reverse", [False, True])
def test_pictures_come_back_as_pictures(digits: Run, map: str, reverse: bool) -> None:
    rows = starts(digits, 6, 0, reverse=reverse)
    settings = {"map": map, "reverse": reverse, "return_paths": True}
    settings |= {"steps": 2} if map == "forward" else {"max_steps": 2}
    flat = sample(digits, rows, **settings)
    shaped = sample(digits, rows.reshape(6, 3, 8, 8), **settings)
    assert flat.end.shape == (6, 192)
    assert shaped.end.shape == (6, 3, 8, 8)
    torch.testing.assert_close(shaped.end.flatten(1), flat.end, equal_nan=True)
    assert shaped.paths is not None
    assert shaped.paths.shape[1:] == (6, 193)


def test_bytes_are_scaled_as_data_are(digits: Run) -> None:
    pixels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled = pixels.float() / 127.5 - 1
    assert torch.equal(sample(digits, pixels, steps=2).end, sample(digits, scaled, steps=2).end)


@pytest.mark.parametrize("shape", [(6, 3, 8, 7), (6, 191), (192,), (6, 3, 64), (6, 1, 3, 8, 8), ()])
def test_other_shapes_are_refused(digits: Run, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"x0: expected shape \[N, 192\] or \[N, 3, 8, 8\]"):
        sample(digits, torch.zeros(shape))


def test_starts_are_of_the_plate_they_leave_from(digits: Run) -> None:
    assert torch.equal(
        sample(digits, n=5, steps=2, reverse=True, seed=3).end,
        sample(digits, starts(digits, 5, 3, reverse=True), steps=2, reverse=True, seed=3).end,
    )
    assert not torch.equal(starts(digits, 5, 3, reverse=True), starts(digits, 5, 3))


def test_the_reverse_map_ends_on_the_plus_plate(digits: Run) -> None:
    lines = sample(digits, n=5, steps=3, reverse=True, return_paths=True)
    L = digits.geometry.L
    assert (lines.end_z == 0).all()
    assert lines.paths is not None
    heights = lines.paths[:, 0, -1]
    assert heights[0] == pytest.approx(L * (1 - digits.config.method.sample.margin))
    assert (heights.diff() < 0).all()


def test_pictures_of_pairs_mark_the_plates(digits: Run, tmp_path: Path) -> None:
    from PIL import Image

    x0 = starts(digits, 5, 0)
    lines = sample(digits, x0, steps=2)
    there = Image.open(plot_samples(digits, x0, lines, tmp_path / "a.png"))
    back = Image.open(plot_samples(digits, x0, lines, tmp_path / "b.png", reverse=True))
    assert there.size == back.size
    red, blue = there.getpixel((13, 20)), back.getpixel((13, 20))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_data_of_which_nothing_was_held_out_have_a_picture(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "rows.npz", rows=np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    data = {"name": "npz", "path": str(tmp_path / "rows.npz"), "held_out": 0.0}
    more = {**TINY, "runs": str(tmp_path), "name": "all", "minus": data}
    run = train("gaussian_to_mixture", more, progress=False)
    assert (run.folder / "samples" / "step_0000002.png").is_file()

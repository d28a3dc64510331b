"""Hues against the standard library, distances and pictures against plain formulas."""

import colorsys

import pytest
import torch

from efm_fast.data import hue_to_rgb, paint, rgb_to_hue, rms_distance, to_images
from efm_fast.errors import InputError


def test_hues_agree_with_colorsys():
    hue = torch.linspace(0, 0.999, 97)
    expected = torch.tensor([colorsys.hsv_to_rgb(h, 1, 1) for h in hue.tolist()])
    torch.testing.assert_close(hue_to_rgb(hue), expected, atol=1e-5, rtol=0)
    colours = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([colorsys.rgb_to_hsv(*c)[0] for c in colours.tolist()])
    torch.testing.assert_close(rgb_to_hue(colours), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb_to_hue(7 * colours), expected, atol=1e-5, rtol=0)
    assert torch.equal(rgb_to_hue(torch.tensor([[0.4, 0.4, 0.4], [0, 0, 0]])), torch.zeros(2))


def test_paint_scales_shapes_by_the_colour():
    x = paint(torch.tensor([[[0.0, 0.5], [1.0, 0.25]]]), torch.tensor([1 / 3]))
    expected = torch.tensor([[-1.0] * 4, [-1, 0, 1, -0.5], [-1.0] * 4]).reshape(1, 12)
    torch.testing.assert_close(x, expected, atol=1e-6, rtol=0)


def test_rms_distance_is_the_mean_over_all_pairs():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 4, generator=g) + 3, torch.randn(70, 4, generator=g).double() * 2
    pairs = (a.double()[:, None] - b[None]).square().sum(2).mean().sqrt()
    assert rms_distance(a, b) == pytest.approx(pairs.item(), rel=1e-12)
    assert rms_distance(a + 1e4, b + 1e4) == pytest.approx(pairs.item(), rel=1e-5)
    assert rms_distance(a[:1], a[:1]) == 0


def test_rms_distance_refuses_bad_sets():
    a = torch.zeros(3, 2)
    with pytest.raises(InputError, match="at least one row each, got 3 and 0"):
        rms_distance(a, a[:0])
    with pytest.raises(InputError, match="b: expected 2 columns"):
        rms_distance(a, torch.zeros(3, 4))
    with pytest.raises(InputError, match="a: expected finite numbers"):
        rms_distance(a / 0, a)


def test_to_images_maps_and_clips():
    x = torch.tensor([[-1.0, 0, 1, 3, -7, 0.5]])
    images = to_images(x, (3, 1, 2))
    assert images.shape == (1, 3, 1, 2)
    torch.testing.assert_close(images.flatten(), torch.tensor([0, 0.5, 1, 1, 0, 0.75]))
    with pytest.raises(InputError, match="x: expected 12 columns"):
        to_images(x, (3, 2, 2))
    with pytest.raises(InputError, match=r"shape: expected \(C, H, W\)"):
        to_images(x, (6,))

"""The colour of a coloured digit's strokes, and the real shape nearest to it.

Pictures are [N, 3, P] with P pixels and values in [0, 1]; distances are Euclidean in that scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..data.colour import hue_to_rgb
from ..errors import InputError

# pairs of a picture and a shape that are computed together, in a few float64 arrays of this size
_PAIRS = 2_000_000


def stroke_colour(images: Tensor) -> Tensor:
    """Mean colour of each picture, weighted by its strokes (the largest of the three channels).

    Args:
        images: [N, 3, P], values in [0, 1].

    Returns:
        RGB in [0, 1], [N, 3]; black for a black picture.

    Raises:
        InputError: another shape, NaN or infinity.
    """
    x = _pictures(images)
    stroke = x.amax(1, keepdim=True)
    return (x * stroke).sum(2) / stroke.sum(2).clamp_min(1e-12)


def hue_difference(a: Tensor, b: Tensor) -> Tensor:
    """Angle between two hues on the colour circle.

    Args:
        a: [N], turns.
        b: [N], turns.

    Returns:
        Degrees, [N], from 0 to 180; 90 on average for random pairs.
    """
    turn = (a - b).abs() % 1.0
    return 360 * torch.minimum(turn, 1 - turn)


def nearest_shape(images: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each picture to the nearest real shape in its best colour.

    A real picture is a shape times one fully saturated colour. Those colours form six edges of the RGB cube: one
    channel is 1, one is t in [0, 1] and one is 0. The channel that agrees best with the shape gets the 1, and the
    second best gets t, whose best value is a projection. Therefore the minimum over all hues is exact.

    Args:
        images: [N, 3, P], values in [0, 1].
        shapes: grey shapes, [M, P], values in [0, 1].

    Returns:
        Distances [N], float64, in [0, 1] image units (root of the summed squares), and the number of the
        nearest shape, int64 [N].

    Raises:
        InputError: other shapes of the arguments, no shapes, NaN or infinity.
    """
    x = _pictures(images)
    grey, size = _sized(shapes, x.shape[2])
    distance, index = [], []
    for part in x.split(max(1, _PAIRS // len(grey))):
        red, green, blue = (channel @ grey.T for channel in part.unbind(1))  # picture . shape, [N, M] each
        high, low = torch.maximum(red, green), torch.minimum(red, green)
        first, second = torch.maximum(high, blue), torch.maximum(low, torch.minimum(high, blue))
        squared, nearest = _least(part.square().sum((1, 2)), first, second, size)
        distance.append(squared.sqrt())
        index.append(nearest)
    return torch.cat(distance), torch.cat(index)


def painted_distances(drawn: Tensor, hue: Tensor, shapes: Tensor) -> Tensor:
    """The distances of :func:`nearest_shape` for shapes painted in several hues, from one product for all hues.

    Args:
        drawn: grey shapes to be painted, [N, P], values in [0, 1].
        hue: turns, [K].
        shapes: grey shapes to be found, [M, P], values in [0, 1].

    Returns:
        Distances [N, K], float64, in [0, 1] image units.

    Raises:
        InputError: other shapes of the arguments, no shapes, NaN or infinity.
    """
    x = checks.finite("drawn", checks.tensor("drawn", drawn, ndim=2)).to(torch.float64)
    grey, size = _sized(shapes, x.shape[1])
    colour = hue_to_rgb(hue.to(torch.float64)).sort(1, descending=True).values
    parts = []
    for part in x.split(max(1, _PAIRS // len(grey))):
        product, squared = part @ grey.T, part.square().sum(1)
        channels = [
            _least(c.square().sum() * squared, c[0] * product, c[1] * product, size)[0].sqrt() for c in colour
        ]
        parts.append(torch.stack(channels, 1))
    return torch.cat(parts)


def _sized(shapes: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Shapes in float64, and their squared lengths [M]."""
    grey = checks.tensor("shapes", shapes, ndim=2, columns=pixels).to(torch.float64)
    if len(grey) == 0:
        raise InputError("shapes: expected at least one, got none")
    return grey, grey.square().sum(1).clamp_min(1e-12)


def _least(squared: Tensor, first: Tensor, second: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance [N] of each picture to the nearest shape, and its number.

    Args:
        squared: squared lengths of the pictures, [N].
        first: largest product of a channel and a shape, [N, M].
        second: second largest, [N, M].
        size: squared lengths of the shapes, [M].
    """
    t = (second / size).clamp(0, 1)
    best = (size - 2 * first + t * (t * size - 2 * second)).min(1)
    return (squared + best.values).clamp_min(0), best.indices


def _pictures(images: Tensor) -> Tensor:
    x = checks.finite("images", checks.tensor("images", images, ndim=3))
    if len(x) == 0 or x.shape[1] != 3:
        raise InputError(f"images: expected shape [N, 3, P] with N above 0, got {tuple(x.shape)}")
    return x.to(torch.float64)

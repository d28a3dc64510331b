"""The colour of a coloured digit's strokes, and the real shape nearest to it.

Pictures are [N, 3, P] with P pixels and values in [0, 1]; distances are Euclidean in that scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
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
    grey = checks.tensor("shapes", shapes, ndim=2, columns=x.shape[2]).to(torch.float64)
    if len(grey) == 0:
        raise InputError("shapes: expected at least one, got none")
    size = grey.square().sum(1).clamp_min(1e-12)  # [M]
    distance, index = [], []
    for part in x.split(max(1, _PAIRS // len(grey))):
        red, green, blue = (channel @ grey.T for channel in part.unbind(1))  # picture . shape, [N, M] each
        high, low = torch.maximum(red, green), torch.minimum(red, green)
        first, second = torch.maximum(high, blue), torch.maximum(low, torch.minimum(high, blue))
        t = (second / size).clamp(0, 1)
        best = (size - 2 * first + t * (t * size - 2 * second)).min(1)
        squared = part.square().sum((1, 2)) + best.values
        distance.append(squared.clamp_min(0).sqrt())
        index.append(best.indices)
    return torch.cat(distance), torch.cat(index)


def _pictures(images: Tensor) -> Tensor:
    x = checks.finite("images", checks.tensor("images", images, ndim=3))
    if len(x) == 0 or x.shape[1] != 3:
        raise InputError(f"images: expected shape [N, 3, P] with N above 0, got {tuple(x.shape)}")
    return x.to(torch.float64)

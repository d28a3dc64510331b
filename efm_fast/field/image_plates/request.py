"""One validated sum over charges and their images, as every backend receives it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ... import checks
from ...errors import InputError
from ..request import working_dtype


@dataclass(frozen=True)
class ImageRequest:
    """Arguments of one sum over images. Backends receive them from :func:`checked`.

    Attributes:
        x: points, [N, D], float32 or float64; the result has its dtype.
        y: charges, [M, D], in the dtype of x.
        heights: h_ik, distance of point i from plate k, float64 [N, K], data units.
        signs: s_k, charge of the copy on plate k, float64 [K].
        weight: charge weights q_j of either sign, in the dtype of x, [M]; or None for all ones.
        power: exponent of the distance.
    """

    x: Tensor
    y: Tensor
    heights: Tensor
    signs: Tensor
    weight: Tensor | None
    power: float


def checked(request: ImageRequest) -> ImageRequest:
    """Return ``request`` if its arguments are right, in working dtype.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
    """
    x = checks.tensor("x", request.x, ndim=2)
    y = checks.tensor("y", request.y, ndim=2, columns=x.shape[1])
    if x.shape[1] == 0:
        raise InputError(f"x: expected at least one feature, got shape {tuple(x.shape)}")
    signs = checks.tensor("signs", request.signs, ndim=1)
    if len(signs) == 0:
        raise InputError("signs: expected at least one plate, got none")
    heights = checks.tensor("heights", request.heights, ndim=2, columns=len(signs), rows=len(x))
    if request.weight is not None:
        checks.tensor("weight", request.weight, ndim=1, rows=len(y))
    for name, other in (("y", y), ("heights", heights), ("signs", signs), ("weight", request.weight)):
        if other is not None:
            checks.same_device(name, other, x.device)
    dtype = working_dtype(x, y)
    return ImageRequest(
        x=x.to(dtype),
        y=y.to(dtype),
        heights=heights.double(),
        signs=signs.double(),
        weight=None if request.weight is None else request.weight.to(dtype),
        power=checks.positive("power", request.power),
    )


def coefficients(request: ImageRequest, nearest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of all plates at the nearest charge; ``nearest`` is its squared distance over features, float64 [N].

    Returns:
        The squared distance of the pivot [N], that of the nearest charge's image on each plate [N, K], and the weight
        of that image relative to the pivot, with its sign [N, K]; all float64. The pivot is the nearest image of the
        nearest charge.
    """
    whole = nearest[:, None] + request.heights.square()
    pivot = whole.amin(1)
    ratio = torch.where(whole == pivot[:, None], 1.0, whole / pivot[:, None])
    return pivot, whole, request.signs * torch.exp(-0.5 * request.power * torch.log(ratio))

"""Sums of many features on processors without bfloat16 products: torch multiplies matrices, C++ does the rest.

Charges are read and centred chunk by chunk. One pass turns a chunk's products x.y into weights and sums the nearest
charges by direct difference; a second product adds the displacements.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import native
from ...native import address
from ..logsum import CentredSum
from . import reference
from .cpp_request import Pairs

_CHUNK_BYTES = 32 << 20  # of centred charges
_CHUNK_CHARGES = 8192
_CHUNK_PAIRS = 1 << 22
_SPARSE = 0.7  # if fewer than this fraction of the charges have a weight, gathering them is faster
_ASKED = 8  # rows that may show that most charges have one


def centred_sum(pairs: Pairs, out: CentredSum, result: Any, nearest: int) -> None:
    """Fill ``out`` with the sum of ``pairs``, whose points are float32 and contiguous.

    Args:
        pairs: the request, with a centre.
        out: the buffers of the sum, split about that centre.
        result: the same buffers as a ``Result`` of the extension.
        nearest: charges of each chunk that are summed by direct difference.
    """
    threads = torch.get_num_threads()
    n, d = pairs.x.shape
    state = native.extension().LargeSum(pairs.native, result, nearest)
    x = torch.empty(n, d, dtype=torch.float32)
    state.centre_points(address(x), threads)
    width = max(256, min(_CHUNK_CHARGES, _CHUNK_BYTES // (4 * d), _CHUNK_PAIRS // n))
    for columns in reference.blocks(len(pairs.y), width):
        y = torch.empty(len(pairs.y[columns]), d, dtype=torch.float32)
        state.centre_charges(columns.start, len(y), address(y), threads)
        products = torch.mm(x, y.T)
        state.weigh(address(products), threads)
        _displace(out.rest, products, y)
    state.finish()


def _displace(rest: Tensor, weights: Tensor, y: Tensor) -> None:
    """rest -= weights y, over the charges that have a weight for any point."""
    # in few features looking for them in all rows takes a tenth of the sum's time, so some rows are asked first
    some = weights[:: max(1, len(weights) // _ASKED)]
    if len(_live(some)) < _SPARSE * len(y):
        live = _live(weights)
        if len(live) < _SPARSE * len(y):
            weights, y = weights[:, live], y[live]
    rest.addmm_(weights, y, alpha=-1.0)


def _live(weights: Tensor) -> Tensor:
    """Indices of the columns with a weight."""
    return weights.abs().amax(0).nonzero()[:, 0]

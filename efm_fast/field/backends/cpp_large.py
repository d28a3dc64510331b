"""More than a few features without AMX: torch's own matrix products, and everything around them in the extension.

Charges are read and centred chunk by chunk; a chunk's products x.y become weights in one pass that also sums the
nearest charges by direct difference, and a second product adds the displacements.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import native
from ...native import address, matrix
from ..logsum import CentredSum
from . import reference
from .cpp_request import Pairs

_CHUNK_BYTES = 32 << 20  # of centred charges
_CHUNK_CHARGES = 8192
_CHUNK_PAIRS = 1 << 22
_SPARSE = 0.7  # share of charges with a weight below which gathering them pays


def centred_sum(pairs: Pairs, out: CentredSum, result: Any, nearest: int) -> None:
    """Fill ``out`` with the sum of ``pairs``, whose points are float32 and contiguous.

    Args:
        pairs: the request, with a centre.
        out: the buffers, split about that centre.
        result: the same as the extension takes them.
        nearest: charges of each chunk that are summed by direct difference.
    """
    extension, threads = native.extension(), torch.get_num_threads()
    n, d = pairs.x.shape
    centre = pairs.centre
    assert centre is not None
    assert out.along is not None
    for total in (out.w, out.along, out.rest):
        total.zero_()
    ref = torch.full((n,), torch.inf, dtype=torch.float64)
    fate = torch.zeros(n, dtype=torch.uint8)
    x, x2 = _centred(pairs.x, centre)
    cutoff = extension.large_cutoff(pairs.native)
    width = max(256, min(_CHUNK_CHARGES, _CHUNK_BYTES // (4 * d), _CHUNK_PAIRS // n))
    for columns in reference.blocks(len(pairs.y), width):
        y, squares = _centred(pairs.y[columns], centre)
        weight = None if pairs.weight is None else pairs.weight[columns]
        y2 = squares if weight is None else torch.where(weight != 0, squares, torch.inf)
        y2, q = y2.float(), None if weight is None else weight.float()
        if not torch.isfinite(squares).all():
            fate.fill_(1)  # a charge that is not a number spoils every point
        products = torch.mm(x, y.T)
        extension.large_weigh(
            pairs.native,
            first_charge=columns.start,
            charges=len(y),
            s=address(products),
            y2=address(y2),
            q=address(q),
            x2=address(x2),
            counted=len(y) if weight is None else int(torch.count_nonzero(weight)),
            cutoff=cutoff,
            nearest=nearest,
            ref=address(ref),
            result=result,
            fate=address(fate),
            threads=threads,
        )
        _displace(out.rest, products, y)
    extension.large_finish(pairs.native, ref=address(ref), result=result, fate=address(fate))


def _centred(a: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """a - centre in float32 and its squared norms in float64."""
    out = torch.empty(a.shape, dtype=torch.float32)
    squares = torch.empty(len(a), dtype=torch.float64)
    native.extension().centre_rows(
        matrix(a),
        centre=address(centre),
        out=address(out),
        squares=address(squares),
        threads=torch.get_num_threads(),
    )
    return out, squares


def _displace(rest: Tensor, weights: Tensor, y: Tensor) -> None:
    """rest -= weights y, over the charges that have a weight at all."""
    live = weights.abs().amax(0).nonzero()[:, 0]
    if len(live) < _SPARSE * len(y):
        weights, y = weights[:, live], y[live]
    rest.addmm_(weights, y, alpha=-1.0)

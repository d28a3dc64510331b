"""More than a few features without AMX: torch's own matrix products, and everything around them in the extension.

Charges are read and centred chunk by chunk; a chunk's products x.y become weights in one pass that also sums the
nearest charges by direct difference, and a second product adds the displacements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from ..types import RieszSum
from . import reference
from .pairs import Pairs, address, matrix

_CHUNK_BYTES = 32 << 20  # of centred charges
_CHUNK_CHARGES = 8192
_CHUNK_PAIRS = 1 << 22
_SAMPLES = 256  # charges whose mean is near enough to the centre of all
_SPARSE = 0.7  # share of charges with a weight below which gathering them pays


def riesz_sum(pairs: Pairs, out: RieszSum, nearest: int) -> None:
    """Fill ``out`` with the sum of ``pairs``, whose points are float32 and contiguous.

    Args:
        pairs: the request.
        out: m float64 [N], w float32 [N], v float32 [N, D].
        nearest: charges of each chunk that are summed by direct difference.
    """
    extension, threads = native.extension(), torch.get_num_threads()
    n, d = pairs.x.shape
    out.v.zero_()
    ref = torch.full((n,), torch.inf, dtype=torch.float64)
    total = torch.zeros(n, dtype=torch.float64)
    fate = torch.zeros(n, dtype=torch.uint8)
    centre = _centre(pairs.y)
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
            s=products.data_ptr(),
            y2=y2.data_ptr(),
            q=address(q),
            x2=x2.data_ptr(),
            centre=centre.data_ptr(),
            counted=len(y) if weight is None else int(torch.count_nonzero(weight)),
            cutoff=cutoff,
            nearest=nearest,
            ref=ref.data_ptr(),
            w=total.data_ptr(),
            v=out.v.data_ptr(),
            fate=fate.data_ptr(),
            threads=threads,
        )
        _displace(out.v, products, y)
    extension.large_finish(
        pairs.native,
        ref=ref.data_ptr(),
        total=total.data_ptr(),
        v=out.v.data_ptr(),
        fate=fate.data_ptr(),
        m=out.m.data_ptr(),
        w=out.w.data_ptr(),
    )


def _centre(y: Tensor) -> Tensor:
    """A mean of some charges, float32 [D]; 0 where it is not a number."""
    some = y[:: max(1, len(y) // _SAMPLES)][:_SAMPLES].double().mean(0)
    return torch.where(torch.isfinite(some), some, 0.0).float().contiguous()


def _centred(a: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """a - centre in float32 and its squared norms in float64."""
    out = torch.empty(a.shape, dtype=torch.float32)
    squares = torch.empty(len(a), dtype=torch.float64)
    native.extension().centre_rows(
        matrix(a),
        centre=centre.data_ptr(),
        out=out.data_ptr(),
        squares=squares.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return out, squares


def _displace(v: Tensor, weights: Tensor, y: Tensor) -> None:
    """v -= weights y, over the charges that have a weight at all."""
    live = weights.abs().amax(0).nonzero()[:, 0]
    if len(live) < _SPARSE * len(y):
        weights, y = weights[:, live], y[live]
    v.addmm_(weights, y, alpha=-1.0)

"""Distances between two sets of samples, and the distance that remains between two sets of the same distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra

# the network simplex needs a small multiple of n pivots; the library's default of 1e5 is too few for n = 4096
_PIVOTS = 10_000_000


def wasserstein2(a: Tensor, b: Tensor) -> float:
    """Exact 2-Wasserstein distance between two sets with equal weights.

    Args:
        a: [N, D], any real dtype and device.
        b: [M, D].

    Returns:
        W2, the square root of the least mean squared distance of a coupling, in data units. POT's network simplex
        solves it in float64. Time grows like N^3: one or two seconds for N = M = 2048.

    Raises:
        InputError: a set is empty or holds NaN or infinity, D differs, or the solver fails.
    """
    with extra("train"):
        import ot

    x, y = _pair(a, b)
    cost = ot.dist(x, y, metric="sqeuclidean")
    total, log = ot.emd2(_uniform(len(x)), _uniform(len(y)), cost, numItermax=_PIVOTS, log=True)
    if log["warning"] is not None:
        raise InputError(f"a, b: exact transport between {len(x)} and {len(y)} rows failed: {log['warning']}")
    return math.sqrt(max(float(total), 0.0))


def sliced_wasserstein2(a: Tensor, b: Tensor, projections: int, generator: Generator) -> float:
    """Sliced 2-Wasserstein distance: root mean square of the exact 1-D W2 along random directions.

    It serves sets that are too large for :func:`wasserstein2`. For a mere shift it is W2 divided by about sqrt(D).

    Args:
        a: [N, D].
        b: [M, D].
        projections: number of directions, uniform on the unit sphere.
        generator: a CPU generator that draws them.

    Returns:
        The distance, data units.

    Raises:
        InputError: empty sets, NaN or infinity, different D, or no projection.
    """
    with extra("train"):
        import ot

    x, y = _pair(a, b)
    if projections < 1:
        raise InputError(f"projections: expected at least 1, got {projections!r}")
    rays = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    return float(ot.sliced_wasserstein_distance(x, y, projections=(rays / rays.norm(dim=0)).numpy()))


def sampling_floor(
    source_draw: Callable[[int, Generator], Tensor], n: int, repeats: int = 3, seed: int = 0
) -> float:
    """Mean W2 between two independent sets of the same distribution, which is above 0 because the sets are finite.

    A perfect sampler has this distance from a set of n target samples on average.

    Args:
        source_draw: ``source_draw(n, generator)`` draws [n, D], such as a source's ``draw``.
        n: rows per set; use the number of samples with which the sampler is measured.
        repeats: number of pairs of sets to average over.
        seed: seed of the draws.

    Returns:
        The mean W2 over the pairs, data units.

    Raises:
        InputError: ``repeats`` is below 1, or :func:`wasserstein2` refuses the sets.
    """
    if repeats < 1:
        raise InputError(f"repeats: expected at least 1, got {repeats!r}")
    generator = Generator().manual_seed(seed)
    found = [wasserstein2(source_draw(n, generator), source_draw(n, generator)) for _ in range(repeats)]
    return sum(found) / repeats


def outlier_threshold(target: Tensor, held_out: Tensor | None = None, *, factor: float = 3.0) -> float:
    """The distance to the nearest target sample beyond which a sample counts as an outlier.

    It is ``factor`` times the 99.9 % quantile of that distance for real samples.

    Args:
        target: real samples, [M, D].
        held_out: real samples apart from ``target``, [K, D]; without them the distances are those of each target sample
            to the others.
        factor: factor on the distances of real samples.

    Returns:
        The threshold, data units.

    Raises:
        InputError: empty sets, NaN or infinity, different D, or fewer than two distinct target samples.
    """
    real = _rows("target", target)
    if held_out is not None:
        return factor * float(np.quantile(_nearest(_pair(held_out, target)[0], real), 0.999))
    # a finite set drawn with replacement has repeated rows, whose distance of 0 means nothing
    distinct = np.unique(real, axis=0)
    if len(distinct) < 2:
        raise InputError(f"target: expected at least 2 distinct rows, got {len(distinct)}")
    return factor * float(np.quantile(_nearest(distinct, distinct, skip_self=True), 0.999))


def outlier_share(
    samples: Tensor, target: Tensor, held_out: Tensor | None = None, *, factor: float = 3.0
) -> float:
    """Share of samples that are farther from every target sample than :func:`outlier_threshold`.

    Args:
        samples: [N, D]; rows with NaN or infinity count as outliers.
        target: real samples, [M, D].
        held_out: see :func:`outlier_threshold`.
        factor: see :func:`outlier_threshold`.

    Returns:
        Share in [0, 1].

    Raises:
        InputError: empty sets, different D, or NaN or infinity in the real samples.
    """
    limit = outlier_threshold(target, held_out, factor=factor)
    x = checks.tensor("samples", samples, ndim=2, columns=target.shape[1]).detach().double().cpu().numpy()
    if len(x) == 0:
        raise InputError("samples: expected at least one row, got none")
    sound = np.isfinite(x).all(1)
    far = _nearest(x[sound], _rows("target", target)) > limit if sound.any() else np.zeros(0, bool)
    return float((far.sum() + (~sound).sum()) / len(x))


@dataclass(frozen=True)
class TransportReport:
    """Distances of transported samples from their target.

    Attributes:
        w2: exact W2 between samples and target, data units.
        floor: W2 between the held-out target samples and the target, data units; a perfect map has about this W2.
        start: W2 between the inputs and the target, data units; NaN without inputs.
        sliced_w2: sliced W2 (256 directions) between samples and target, data units.
        outliers: share of samples farther from the target than 3 times the 99.9 % quantile of real ones, in [0, 1].
        samples: number of samples.
    """

    w2: float
    floor: float
    start: float
    sliced_w2: float
    outliers: float
    samples: int

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON."""
        return asdict(self)


def transport_report(
    samples: Tensor, target: Tensor, held_out: Tensor, inputs: Tensor | None = None, *, seed: int = 0
) -> TransportReport:
    """Measure transported samples against two independent sets of the target.

    Args:
        samples: ends of the map, [N, D].
        target: real samples, [M, D]; ``w2`` and ``floor`` are comparable if there are as many as ``samples``.
        held_out: further real samples, independent of ``target``, [M, D].
        inputs: starts of the map, [N, D].
        seed: seed of the directions of the sliced distance.

    Returns:
        The report.

    Raises:
        InputError: empty sets, NaN or infinity, or different D.
    """
    return TransportReport(
        w2=wasserstein2(samples, target),
        floor=wasserstein2(held_out, target),
        start=math.nan if inputs is None else wasserstein2(inputs, target),
        sliced_w2=sliced_wasserstein2(samples, target, 256, Generator().manual_seed(seed)),
        outliers=outlier_share(samples, target, held_out),
        samples=len(samples),
    )


def _rows(name: str, value: Tensor) -> np.ndarray[Any, Any]:
    rows = checks.finite(name, checks.tensor(name, value, ndim=2))
    if rows.numel() == 0:
        raise InputError(f"{name}: expected at least one row, got shape {tuple(rows.shape)}")
    return rows.detach().to("cpu", torch.float64).numpy()


def _pair(a: Tensor, b: Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    x, y = _rows("a", a), _rows("b", b)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"a, b: expected the same number of columns, got {x.shape[1]} and {y.shape[1]}")
    return x, y


def _uniform(n: int) -> np.ndarray[Any, Any]:
    return np.full(n, 1 / n)


def _nearest(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], *, skip_self: bool = False
) -> np.ndarray[Any, Any]:
    """Distance from each row of x to the nearest row of y, [N]; ``skip_self`` leaves out the row itself if x is y."""
    with extra("train"):
        from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=2 if skip_self else 1).fit(y).kneighbors(x)[0]
    return np.asarray(found[:, -1])

"""A small convolutional classifier of grey shapes, whose features also serve to compare two sets of pictures."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Generator, Tensor, nn

from .. import checks
from ..data.colour import ColouredShapes
from ..data.tools import to_images
from ..errors import InputError

_EPOCHS = 5
_BATCH = 128
_RATE = 2e-3
_PART = 2048  # pictures read at once
_READERS: dict[str, ShapeReader] = {}


class ShapeReader:
    """Reads the class of coloured shapes from their brightness (the largest of the three channels).

    It is a convolutional network trained on real shapes of the training split only. It knows neither colours nor any
    generative model. The same shapes give the same reader for every global random state.

    Attributes:
        accuracy: share of held-out real shapes that it reads correctly, in [0, 1].
        sure_margin: margin between the best and the second-best class that 95 % of the held-out real shapes reach.

    Args:
        source: the coloured set; all its classes are learned, for every ``label``.

    Raises:
        InputError: there are fewer than two classes, or no held-out shapes.
    """

    def __init__(self, source: ColouredShapes) -> None:
        every = source.every_class()
        labels = every.labels("train")
        classes = int(labels.max()) + 1
        if len(labels.unique()) < 2 or every.size("test") == 0:
            raise InputError(f"source: expected at least 2 classes and held-out shapes in {every.name}")
        self._shape = every.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._body, self._head = _network(classes)
        self._learn(every.shapes("train")[:, None], labels)
        read, margin = self._decide(every.shapes("test")[:, None])
        self.accuracy = (read == every.labels("test")).double().mean().item()
        self.sure_margin = float(np.quantile(margin.numpy(), 0.05))

    @classmethod
    def of(cls, source: ColouredShapes) -> ShapeReader:
        """The reader of ``source``'s set, trained once per process."""
        every = source.every_class()
        digest = hashlib.blake2b(every.shapes("train").numpy().tobytes(), digest_size=16)
        digest.update(every.labels("train").numpy().tobytes())
        key = digest.hexdigest()
        if key not in _READERS:
            _READERS[key] = cls(every)
        return _READERS[key]

    def read(self, images: Tensor) -> Tensor:
        """Class of each picture, int64 [N]; ``images`` are rows with values in [-1, 1], [N, 3 H W]."""
        return self._decide(self._brightness(images))[0]

    def is_sure(self, images: Tensor) -> Tensor:
        """Whether each picture is read as clearly as 95 % of held-out real ones, bool [N]."""
        return self._decide(self._brightness(images))[1] >= self.sure_margin

    def features(self, images: Tensor) -> Tensor:
        """The inputs of the reader's last layer, [N, 64] float32, for rows with values in [-1, 1], [N, 3 H W]."""
        return self._features(self._brightness(images))

    def _learn(self, shapes: Tensor, labels: Tensor) -> None:
        order = Generator().manual_seed(0)
        network = nn.Sequential(self._body, self._head)
        optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
        batches = -(-len(shapes) // _BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS * batches)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(shapes), generator=order).split(_BATCH):
                loss = nn.functional.cross_entropy(network(shapes[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def _features(self, grey: Tensor) -> Tensor:
        return torch.cat([self._body(part) for part in grey.split(_PART)])

    @torch.no_grad()
    def _decide(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        best = self._head(self._features(grey)).topk(2, dim=1)
        return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]

    def _brightness(self, images: Tensor) -> Tensor:
        x = to_images(checks.finite("images", images), self._shape)
        if len(x) == 0:
            raise InputError("images: expected at least one row, got none")
        return x.amax(1, keepdim=True)


def _network(classes: int) -> tuple[nn.Module, nn.Module]:
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
    )
    return body, nn.Linear(64, classes)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance between two sets of features, each taken as Gaussian (Heusel et al. 2017, equation 6).

    Args:
        a: [N, F].
        b: [M, F].

    Returns:
        |mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)) with the covariances A and B; the features' unit squared.

    Raises:
        InputError: fewer than two rows, different F, NaN or infinity.
    """
    x = checks.finite("a", checks.tensor("a", a, ndim=2)).double()
    y = checks.finite("b", checks.tensor("b", b, ndim=2, columns=a.shape[1])).double()
    if min(len(x), len(y)) < 2:
        raise InputError(f"a, b: expected at least two rows each, got {len(x)} and {len(y)}")
    cov_a, cov_b = x.T.cov(), y.T.cov()
    # (A B)^(1/2) has the trace of (A^(1/2) B A^(1/2))^(1/2), which is symmetric
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    gap = (x.mean(0) - y.mean(0)).square().sum()
    return (gap + cov_a.trace() + cov_b.trace() - 2 * cross).clamp_min(0).item()

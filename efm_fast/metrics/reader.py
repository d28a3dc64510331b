"""A classifier of digits that was trained on real digits only, to measure generated ones independently."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .. import checks
from ..data.colour import ColouredShapes
from ..data.tools import to_images
from ..errors import InputError
from ..extras import extra

# the time of a kernel SVM grows with the square of its training set; with this many MNIST digits it reads 97 % of the
# others
_MOST_SHAPES = 10_000


class DigitReader:
    """Reads the class of coloured digits from their brightness (the largest of the three channels).

    It is a support vector machine (scikit-learn, RBF kernel) trained on the grey shapes of the training split. It knows
    neither colours nor any generative model.

    Attributes:
        accuracy: share of held-out real shapes that it reads correctly, in [0, 1].
        sure_margin: margin between the best and the second-best class, in decision units, that 95 % of the held-out
            real shapes reach.

    Args:
        source: the coloured set; all its classes are learned, for every ``label``.

    Raises:
        InputError: there are fewer than three classes, or no held-out shapes.
    """

    def __init__(self, source: ColouredShapes) -> None:
        with extra("train"):
            from sklearn.svm import SVC

        every = source.every_class()
        self._shape = every.shape
        if len(every.labels("train").unique()) < 3 or every.size("test") == 0:
            raise InputError(f"source: expected at least 3 classes and held-out shapes in {every.name}")
        pick = torch.randperm(every.size("train"), generator=Generator().manual_seed(0))[:_MOST_SHAPES]
        self._machine = SVC(C=10.0, gamma="scale")
        self._machine.fit(_flat(every.shapes("train")[pick]), every.labels("train")[pick].numpy())
        read, margin = self._decide(_flat(every.shapes("test")))
        self.accuracy = float((read == every.labels("test").numpy()).mean())
        self.sure_margin = float(np.quantile(margin, 0.05))

    def read(self, images: Tensor) -> Tensor:
        """Class of each picture.

        Args:
            images: rows with values in [-1, 1], [N, 3 H W].

        Returns:
            int64 [N].

        Raises:
            InputError: rows of another size, no rows, NaN or infinity.
        """
        return torch.from_numpy(self._decide(self._brightness(images))[0])

    def is_sure(self, images: Tensor) -> Tensor:
        """Whether each picture is read as clearly as 95 % of held-out real ones.

        This alone does not detect pictures that are no digits: far from its training set a support vector machine may
        have a large margin.

        Args:
            images: rows with values in [-1, 1], [N, 3 H W].

        Returns:
            bool [N].

        Raises:
            InputError: rows of another size, no rows, NaN or infinity.
        """
        return torch.from_numpy(self._decide(self._brightness(images))[1] >= self.sure_margin)

    def _brightness(self, images: Tensor) -> np.ndarray[Any, Any]:
        x = to_images(checks.finite("images", images), self._shape)
        if len(x) == 0:
            raise InputError("images: expected at least one row, got none")
        return _flat(x.amax(1))

    def _decide(self, grey: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Classes and margins, [N] each."""
        values = self._machine.decision_function(grey)
        ranked = np.sort(values, axis=1)
        return self._machine.classes_[values.argmax(1)], ranked[:, -1] - ranked[:, -2]


def _flat(grey: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(grey.reshape(len(grey), -1).to(torch.float64).numpy())

"""The loss of a method as a module, for a training loop of one's own."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from .. import checks
from ..streams import Stream, step_generator
from .method import Method


class MatchingLoss(nn.Module):
    """The mean loss of a learned field on a batch of data, for any training loop.

    ``loss(field, x0, x1, step)`` draws the points at which to learn and compares the field with the target there. It
    has no weights and no state, so it needs no device and no place in a checkpoint. ``field`` is what
    ``method.field(network)`` gave, also where a library has wrapped it, as DistributedDataParallel, Lightning and
    Accelerate do.

    Args:
        method: from :func:`efm_fast.method_for`, or of a run.
        seed: of the points; every process of a job takes another, such as its rank.

    Raises:
        InputError: a wrong type.
    """

    def __init__(self, method: Method, seed: int = 0) -> None:
        super().__init__()
        checks.instance("method", method, Method, "a method, from efm_fast.method_for(...)")
        self.method, self.seed = method, checks.whole("seed", seed, least=0)

    def forward(self, field: nn.Module, x0: Tensor, x1: Tensor, step: int) -> Tensor:
        """The loss, a number with a history.

        Args:
            field: the learned field.
            x0: data on the plus plate, [N, D] or [N, C, H, W].
            x1: data on the minus plate, as many.
            step: number of the batch; the points are a function of (seed, step).

        Raises:
            InputError: x0 and x1 are not of the method's shape and of the same N.
        """
        checks.instance("x0", x0, Tensor, "a torch.Tensor")
        checks.instance("x1", x1, Tensor, "a torch.Tensor")
        host = step_generator(self.seed, checks.whole("step", step, least=0), Stream.POINTS)
        generator = host if x0.device.type == "cpu" else Generator(x0.device).manual_seed(host.initial_seed())
        rows = (x0.flatten(1), x1.flatten(1)) if x0.ndim > 1 and x1.ndim > 1 else (x0, x1)
        z, x, target = self.method.sample_location(*rows, generator, step)
        return self.method.loss(field, z, x, target)

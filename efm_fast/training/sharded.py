"""How a training state is cut over processes: the weights by FSDP2, and a checkpoint's tensors in the same way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

TOGETHER = 2_000_000  # weights from which a module is gathered on its own


def shard_weights(field: nn.Module, mesh: DeviceMesh) -> None:
    """Cut the weights of ``field`` over the processes of ``mesh``; modules with many are gathered one at a time."""

    def weights_left(module: nn.Module) -> int:
        """How many weights in ``module`` no module below gathers."""
        below = () if isinstance(module, nn.MultiheadAttention) else module.children()  # it calls no child
        left = sum(map(weights_left, below)) + sum(w.numel() for w in module.parameters(recurse=False))
        if isinstance(module, nn.MultiheadAttention):
            left = sum(w.numel() for w in module.parameters())
        if module is field or (left >= TOGETHER and not isinstance(module, nn.ModuleList | nn.ModuleDict)):
            fully_shard(module, mesh=mesh)
            return 0
        return left

    weights_left(field)


def to_fill(
    own: dict[str, Tensor], weights: list[Tensor], sizes: Mapping[str, TensorStorageMetadata]
) -> dict[str, Tensor]:
    """A tensor for each of a checkpoint, cut as a state is; more where the checkpoint lacks some.

    Args:
        own: the state's tensors by name.
        weights: those that are optimised, in the optimiser's order.
        sizes: of the checkpoint's tensors.
    """
    found = dict(own)
    for name, size in sizes.items():
        pattern = _pattern(name, own, weights)
        if isinstance(pattern, DTensor) and pattern.shape == size.size:
            found[name] = torch.zeros_like(pattern.detach(), dtype=size.properties.dtype)
        elif name not in own or own[name].shape == size.size:
            found[name] = torch.zeros(size.size, dtype=size.properties.dtype)
    return found


def own_parts(own: dict[str, Tensor], weights: list[Tensor], whole: dict[str, Tensor]) -> dict[str, Tensor]:
    """This process's parts of the ``whole`` tensors of a checkpoint, which every process has read."""
    parts = dict(whole)
    for name, value in whole.items():
        pattern = _pattern(name, own, weights)
        if isinstance(pattern, DTensor) and pattern.shape == value.shape:
            parts[name] = distribute_tensor(
                value.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None
            )
    return parts


def _pattern(name: str, own: Mapping[str, Tensor], weights: list[Tensor]) -> Tensor | None:
    """A tensor that is cut as the tensor ``name`` of a checkpoint has to be."""
    kind, index, moment = (*name.split(".", 2), "", "")[:3]
    if kind != "optimizer":
        return own.get(name)
    known = moment != "step" and index.isdigit() and int(index) < len(weights)
    return weights[int(index)] if known else None

# mypy: disable-error-code="no-untyped-def"
"""Special functions and multiply-adds per second of a GPU, in registers, without any traffic to memory."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from bench.common.timing import repeated

BLOCK = 1024
CHAIN = 16  # independent chains per thread hide the latency of each


@triton.jit
def chain(out, rounds, NAME: tl.constexpr, BLOCK: tl.constexpr, CHAIN: tl.constexpr):
    """Apply one function ``rounds`` times to BLOCK x CHAIN numbers, and write what comes out."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lane = tl.arange(0, CHAIN)
    # log2 and exp2 of numbers near 1 stay where both are finite
    value = 1.0 + 1e-3 * (place[:, None] % 7 + lane[None, :]).to(tl.float32)
    for _ in range(rounds):
        if NAME == "exp2":
            value = tl.exp2(-value)
        elif NAME == "log2":
            value = tl.log2(2.0 + tl.abs(value))
        elif NAME == "fma":
            value = value * 0.999 + 0.001
        else:
            value = tl.rsqrt(value)
    tl.store(out + place, tl.sum(value, 1))


def run(name: str, out: torch.Tensor, rounds: int) -> None:
    """One launch: ``len(out)`` * CHAIN * ``rounds`` calls of ``name``."""
    chain[(len(out) // BLOCK,)](out, rounds, name, BLOCK, CHAIN, num_warps=8)


def rate(name: str, device: torch.device, rounds: int = 256) -> float:
    """Calls per second of "exp2", "log2", "rsqrt" or "fma" on a CUDA device."""
    with torch.cuda.device(device):
        programs = 8 * torch.cuda.get_device_properties(device).multi_processor_count
        out = torch.empty(programs * BLOCK, device=device)
        call = functools.partial(run, name, out, rounds)
        seconds = repeated(call, device, 0.2).best
    return out.numel() * CHAIN * rounds / seconds

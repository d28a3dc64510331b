"""Couplings whose work several processes share, compared with those of one process; run by test_couplings.py."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from launch import join

import efm_fast
from efm_fast.couplings import job, lines, strips
from efm_fast.errors import InputError
from efm_fast.processes import Processes

RANK, SIZE = join()
WORLD = dist.group.WORLD
strips._STRIP, lines._CHUNK = (
    700,
    8,
)  # several strips and chunks for these few data, not as many on each process
generator = torch.Generator().manual_seed(0)
PLUS = torch.randn(70, 3, generator=generator)
MINUS = 0.7 * torch.randn(90, 3, generator=generator) + 1.0
BYTES = torch.randint(0, 256, (70, 3), generator=generator, dtype=torch.uint8)

KINDS: list[dict[str, object]] = [
    {"kind": "sinkhorn", "tolerance": 1e-3},
    {"kind": "sinkhorn", "draw": "hardest", "reach": 2.0},
    {"kind": "lines", "direction": "flux", "each": 2},
    {"kind": "lines", "both_ways": False, "balanced": True},
    {"kind": "nearest", "both_ways": True},
    {"kind": "independent"},
]
for settings in KINDS:
    for plus in (PLUS, BYTES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minus = MINUS if plus is PLUS else BYTES.flip(0) // 2
            if "reach" in settings and plus is BYTES:
                settings = {**settings, "reach": 100.0}
            want = efm_fast.couple(plus, minus, **settings)  # type: ignore[arg-type]
            sent = Processes.of().sent
            got = efm_fast.couple(plus, minus, group=WORLD, **settings)  # type: ignore[arg-type]
        assert (Processes.of().sent > sent) == (settings["kind"] != "independent"), settings
        for name in ("plus", "minus", "evaluations"):
            assert torch.equal(getattr(got, name), getattr(want, name)), (settings, name)
        torch.testing.assert_close(got.weight, want.weight, rtol=1e-9, atol=0)
        torch.testing.assert_close(got.distance, want.distance, rtol=1e-12, atol=0)
        if want.potential_plus is not None:
            assert got.numbers["passes"] == want.numbers["passes"], (settings, got.numbers, want.numbers)
            # a constant may move from one potential to the other: no pair's weight tells
            pairs = [made.potential_plus[:, None] + made.potential_minus for made in (got, want)]  # type: ignore[operator]
            torch.testing.assert_close(*pairs, rtol=0, atol=1e-6 * float(pairs[1].abs().max()))
        every = Processes.of().exchange(got.minus.numpy().tobytes())
        assert len(set(every)) == 1

# one that was stopped goes on, and the first process alone writes
folder = Path(sys.argv[1])
job.WRITE_EVERY = 0.0
stopped = {"kind": "lines", "direction": "flux"}
want = efm_fast.couple(PLUS, MINUS, **stopped)  # type: ignore[arg-type]
with pytest.MonkeyPatch.context() as patch:
    trace, calls = lines._Tracer._chunk, []

    def stopping(self: lines._Tracer, *arguments: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) > 3:
            raise InputError("enough")
        return trace(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(lines._Tracer, "_chunk", stopping)
    with pytest.raises(InputError, match="enough"):
        efm_fast.couple(PLUS, MINUS, cache=folder, group=WORLD, **stopped)  # type: ignore[arg-type]
assert [path.suffixes[0] for path in folder.glob("*.safetensors")] == [".unfinished"]
before = Processes.of().sent
got = efm_fast.couple(PLUS, MINUS, cache=folder, group=WORLD, **stopped)  # type: ignore[arg-type]
assert torch.equal(got.minus, want.minus)
again = efm_fast.couple(PLUS, MINUS, cache=folder, group=WORLD, **stopped)  # type: ignore[arg-type]
assert torch.equal(again.minus, want.minus)

for change, words in (
    ({"seed": RANK}, "same data"),
    ({"epsilon": -1.0 if RANK else 1.0}, "epsilon"),
    ({"kind": "x"}, "kind"),
):
    with pytest.raises(InputError, match=words) as caught:
        efm_fast.couple(PLUS, MINUS, group=WORLD, **change)  # type: ignore[arg-type]
    assert caught.value.shared
with pytest.raises(InputError, match="same data"):
    efm_fast.couple(PLUS + RANK, MINUS, group=WORLD)
dist.destroy_process_group()

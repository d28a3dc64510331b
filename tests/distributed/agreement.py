"""Train with 1, 2, 4 and 8 processes, twice with 2, and with 4, then 2, then 8; print how far they differ.

``python tests/distributed/agreement.py [--steps 200] [--fsdp]``; with ``--fsdp`` the networks of many are sharded, and
their checkpoints are written in the background.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from check_training import losses
from launch import run

from efm_fast.runs.checkpoint import load_state
from efm_fast.runs.run import read_description


def trained(base: str, name: str, size: int, steps: int, again: bool = False) -> Path:
    """The run ``name`` after so many steps by ``size`` processes."""
    run(
        "check_training.py",
        size,
        "again" if again else "anew",
        base,
        seconds=900,
        NAME=name,
        STEPS=str(steps),
    )
    return Path(base) / name


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a run's last checkpoint."""
    return load_state(folder, read_description(folder)[1])


def difference(ours: Path, theirs: Path) -> tuple[float, float]:
    """The largest relative difference of a loss, and that of all weights together."""
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses(ours), losses(theirs), strict=True))
    got, want = (
        torch.cat([v.double().flatten() for k, v in sorted(state.items()) if k.startswith("field.")])
        for state in map(state_of, (ours, theirs))
    )
    return apart, float((got - want).norm() / want.norm())


def main() -> int:
    """Run; 1 if a difference is above 1e-6, or two equal runs differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--fsdp", action="store_true")
    options = parser.parse_args()
    steps = options.steps
    if options.fsdp:
        os.environ["MORE"] = json.dumps({"train.sharding": "fsdp", "train.async_checkpoint": True})
    with tempfile.TemporaryDirectory() as base:
        runs = {size: trained(base, f"of_{size}", size, steps) for size in (1, 2, 4, 8)}
        again = trained(base, "again", 2, steps)
        first, second = state_of(again), state_of(runs[2])
        same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        found = {f"{size} processes": difference(runs[size], runs[1]) for size in (2, 4, 8)}
        # more steps change the learning rate's cosine, so the run that changes hands is compared with its like
        for name, sizes in (("one", (1, 1, 1)), ("many", (4, 2, 8))):
            for k, size in enumerate(sizes):
                trained(base, name, size, (k + 1) * steps // 3, again=k > 0)
        found["4, then 2, then 8"] = difference(Path(base) / "many", Path(base) / "one")
    print(f"2 processes twice: the same bits {same}")
    for name, (loss, weight) in found.items():
        print(f"{name}: losses within {loss:.1e}, weights within {weight:.1e} of one process")
    return int(not same or max(map(max, found.values())) > 1e-6)


if __name__ == "__main__":
    sys.exit(main())

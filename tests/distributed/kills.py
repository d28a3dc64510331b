"""Kill a random process of a torchrun job at random places, let torchrun start it again, and compare bit for bit.

``python tests/distributed/kills.py [--places 20] [--processes 2] [--seed 0]``
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def torchrun(folder: Path, processes: int, die: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=3"]
    command += [f"--nproc-per-node={processes}", str(HERE / "check_training.py"), "die", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DIE": die}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def main() -> int:
    """Run; 1 if a run differs from one that nobody killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    good = 0
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        torchrun(whole, options.processes, "0:1000:0:SIGKILL")  # a step that never comes
        want = (whole / "killed" / "state.safetensors").read_bytes()
        for place in range(options.places):
            rank, step = draw.randrange(options.processes), draw.randrange(1, 39)
            # right before the step, or some time into it, also while files are written
            seconds = draw.choice([0.0, draw.uniform(0.0005, 0.01)])
            folder = Path(base) / str(place)
            done = torchrun(folder, options.processes, f"{rank}:{step}:{seconds:.4f}:SIGKILL")
            died = "exitcode: -9" in done.stderr
            same = done.returncode == 0 and (folder / "killed" / "state.safetensors").read_bytes() == want
            good += same and died
            print(f"rank {rank}, step {step}, {seconds:.4f} s: killed {died}, same {same}", flush=True)
            if not (same and died):
                print(done.stderr[:3000], done.stderr[-500:], sep="\n...\n")
    print(f"{good} of {options.places} runs went on bit for bit")
    return int(good != options.places)


if __name__ == "__main__":
    sys.exit(main())

"""Kill a random process of a job at random places, go on from the run folder, and compare bit for bit.

``python tests/distributed/kills.py [--places 20] [--processes 2] [--torchrun] [--fsdp] [--all]``

The processes are forked from this one, which has imported torch already. With ``--torchrun`` it is torchrun that starts
them, and starts them again after the kill. With ``--fsdp`` the network is sharded and checkpoints are written in the
background. With ``--all`` every process is killed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import check_training
import torch
from agreement import state_of
from launch import join

HERE = Path(__file__).parent
NEVER = "0:1000:0:SIGKILL"  # a step that does not come


def child(rank: int, size: int, base: str, meeting: str, die: str | None) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MEETING=f"file://{base}/{meeting}")
    torch.set_num_threads(1)
    join()
    if die is None:
        check_training.go_on(base)
    else:
        os.environ["DIE"] = die
        check_training.die(base)


def forked(folder: Path, processes: int, die: str | None) -> list[int | None]:
    """Exit codes of processes that train, or go on where ``die`` is None."""
    folder.mkdir(exist_ok=True)
    fork = multiprocessing.get_context("fork")
    meeting = "meeting" if die else "meeting_again"
    started = [
        fork.Process(target=child, args=(k, processes, str(folder), meeting, die)) for k in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def torchrun(folder: Path, processes: int, die: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=3"]
    command += [f"--nproc-per-node={processes}", str(HERE / "check_training.py"), "die", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DIE": die}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)


def survived(folder: Path, options: argparse.Namespace, rank: int, die: str) -> bool:
    """Whether process ``rank`` was killed, the others ended with a sentence, and all went on to the end."""
    if options.torchrun:
        done = torchrun(folder, options.processes, die)
        if done.returncode:
            print(done.stderr[:3000], done.stderr[-500:], sep="\n...\n")
        return done.returncode == 0 and "exitcode: -9" in done.stderr
    ended = forked(folder, options.processes, die)
    others = ended[:rank] + ended[rank + 1 :] if rank >= 0 else []
    if any(code != 1 for code in others) or any(
        code != -9 for code in (ended if rank < 0 else [ended[rank]])
    ):
        print("exit codes", ended)
        return False
    return forked(folder, options.processes, None) == [0] * options.processes


def main() -> int:
    """Run; 1 if a run differs from one that nobody killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--torchrun", action="store_true")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    if options.fsdp:
        os.environ["MORE"] = json.dumps({"train.sharding": "fsdp", "train.async_checkpoint": True})
    good = 0
    with tempfile.TemporaryDirectory() as base:
        forked(Path(base) / "whole", options.processes, NEVER)
        want = state_of(Path(base) / "whole" / "killed")
        for place in range(options.places):
            rank = -1 if options.all else random.randrange(options.processes)
            step = random.randrange(1, 39)
            # right before the step, or some time into it, also while files are written
            seconds = random.choice([0.0, random.uniform(0.0005, 0.01)])
            folder = Path(base) / str(place)
            alive = survived(folder, options, rank, f"{rank}:{step}:{seconds:.4f}:SIGKILL")
            got = state_of(folder / "killed") if alive else {}
            same = got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)
            good += same
            print(
                f"rank {'all' if rank < 0 else rank}, step {step}, {seconds:.4f} s: went on {alive}, same bits {same}",
                flush=True,
            )
    print(f"{good} of {options.places} runs went on bit for bit")
    return int(good != options.places)


if __name__ == "__main__":
    sys.exit(main())

"""Kill a process of a job at random places, go on from the run folder, and compare bit for bit.

``python tests/distributed/kills.py [--places 20] [--processes 2] [--torchrun [--launcher]] [--fsdp] [--all] [--seed]``

Without ``--torchrun`` the processes are forked, and forked again to go on. With it torchrun starts them, and starts
them again after the kill. With ``--launcher`` it is torchrun itself that is killed: its processes end on their own, and
another torchrun goes on. With ``--fsdp`` the network is sharded and checkpoints are written in the background. With
``--all`` every process is killed. What is not done after ``--seconds`` prints where each thread is and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from agreement import state_of
from launch import HERE, run, started

NEVER = "0:1000:0:SIGKILL"  # a step that does not come


def torchrun(folder: Path, options: argparse.Namespace, command: str, die: str) -> tuple[int, str]:
    """Exit code of torchrun and what its processes said, when the last of them has ended."""
    script = str(HERE / "check_training.py")
    arguments = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=3"]
    arguments += [f"--nproc-per-node={options.processes}", script, command, str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DIE": die, "DEADLINE": str(time.time() + options.seconds)}
    with subprocess.Popen(arguments, env=env, stderr=subprocess.PIPE, text=True) as job:
        try:
            _, said = job.communicate(timeout=options.seconds + 15)
        except subprocess.TimeoutExpired:
            job.terminate()  # torchrun ends its processes before itself
            _, said = job.communicate()
    return job.returncode, said


def restarted(folder: Path, options: argparse.Namespace, die: str) -> bool:
    """Whether torchrun, or after its own death another one, brought the job to its end."""
    code, said = torchrun(folder, options, "die", die)
    good = code == 0 and "exitcode: -9" in said
    if options.launcher:
        told_once = said.count("torchrun, which started this process, has ended") == 1
        good = code == -9 and told_once
        if good:
            code, said = torchrun(folder, options, "go_on", NEVER)
            good = code == 0
    if not good:
        print(f"torchrun ended with {code}", said[:6000], said[-3000:], sep="\n...\n")
    return good


def forked_again(folder: Path, options: argparse.Namespace, rank: int, die: str) -> bool:
    """Whether the others ended with a sentence when ``rank`` (-1 for all) was killed, and all went on to the end."""
    with started(
        "check_training.py", options.processes, "die", str(folder), seconds=options.seconds / 2, DIE=die
    ) as processes:
        ended = [one.ended(options.seconds / 2 + 10) for one in processes]
        wanted = [-9 if rank in (-1, k) else 1 for k in range(options.processes)]
        sentences = all(
            code != 1
            or one.said().splitlines()[-1].startswith("efm-fast: another process of the job has ended")
            for code, one in zip(ended, processes, strict=True)
        )
        if ended != wanted or not sentences:
            print("exit codes", ended, *(one.said()[-6000:] for one in processes), sep="\n")
            return False
    try:
        run("check_training.py", options.processes, "go_on", str(folder), seconds=options.seconds / 2)
    except AssertionError as problem:
        print(problem)
        return False
    return True


def one_place(base: Path, place: int, options: argparse.Namespace, want: dict[str, torch.Tensor]) -> bool:
    """Kill at a random place, go on, and compare with a run that nobody killed."""
    dice = random.Random(f"{options.seed} {place}")
    rank = -1 if options.all or options.launcher else dice.randrange(options.processes)
    # torchrun takes a while to die, and the processes must not have come to their end by then
    step = dice.randrange(1, 10 if options.launcher else 39)
    # right before the step, or some time into it, also while files are written
    seconds = dice.choice([0.0, dice.uniform(0.0005, 0.01)])
    folder = base / str(place)
    folder.mkdir()
    who = "launcher" if options.launcher else str(rank)
    die = f"{who}:{step}:{seconds:.4f}:SIGKILL"
    alive = restarted(folder, options, die) if options.torchrun else forked_again(folder, options, rank, die)
    got = state_of(folder / "killed") if alive else {}
    same = got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)
    print(f"place {place}: {die}: went on {alive}, same bits {same}", flush=True)
    return same


def main() -> int:
    """Run; 1 if a run differs from one that nobody killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--torchrun", action="store_true")
    parser.add_argument("--launcher", action="store_true", help="kill torchrun; with --torchrun")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=180, help="that one place may take")
    options = parser.parse_args()
    if options.launcher and not options.torchrun:
        parser.error("--launcher: expected with --torchrun")
    if options.fsdp:
        os.environ["MORE"] = json.dumps({"train.sharding": "fsdp", "train.async_checkpoint": True})
    print(f"--seed {options.seed} repeats these places", flush=True)
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        run("check_training.py", options.processes, "die", str(whole), seconds=options.seconds, DIE=NEVER)
        want = state_of(whole / "killed")
        good = sum(one_place(Path(base), place, options, want) for place in range(options.places))
    print(f"{good} of {options.places} runs went on bit for bit")
    return int(good != options.places)


if __name__ == "__main__":
    sys.exit(main())

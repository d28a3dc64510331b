"""One process of a measurement: joins the others, does the work that its argument describes, and prints numbers."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from efm_fast import Sharding, riesz_sum
from efm_fast.processes import Processes

_RESTS = 3  # repetitions, of which the best counts


def _best(call: Callable[[], object]) -> float:
    """Seconds of the best repetition, all processes together."""
    return min([_timed(call) for _ in range(_RESTS + 1)][1:])


def _timed(call: Callable[[], object]) -> float:
    dist.barrier()
    started = time.perf_counter()
    call()
    dist.barrier()
    return time.perf_counter() - started


class _Late:
    """A message that arrives no sooner than a link of so many bytes per second would bring it."""

    def __init__(self, work: dist.Work, at: float) -> None:
        self.work, self.at = work, at

    def wait(self) -> None:
        self.work.wait()
        time.sleep(max(0.0, self.at - time.perf_counter()))


@contextlib.contextmanager
def _slowed_down(processes: Processes, rate: float | None) -> Iterator[None]:
    """Let the messages of a ring take as long as over a link of ``rate`` bytes/s; None leaves them as they are."""
    if rate is None:
        yield
        return
    pass_on = processes.pass_on

    def slowly(mine: Tensor, received: Tensor, tag: int) -> list[Any]:
        at = time.perf_counter() + mine.nbytes / rate
        return [_Late(work, at) for work in pass_on(mine, received, tag)]

    processes.pass_on = slowly  # type: ignore[method-assign]
    yield
    processes.pass_on = pass_on  # type: ignore[method-assign]


def sums(job: dict[str, Any], processes: Processes) -> dict[str, float]:
    """One sum, shared as ``job`` says: seconds, and bytes sent."""
    call = _sum(job, processes)
    before = processes.sent
    call()
    sent = processes.sent - before
    return {"seconds": _best(call), "sent": sent}


def _sum(job: dict[str, Any], processes: Processes, prefetch: bool = True) -> Callable[[], object]:
    """A sum of N points over M charges of D bytes, shared as ``job`` says."""
    generator = torch.Generator().manual_seed(0)
    n, m, d = job["N"], job["M"], job["D"]
    x = 255 * torch.rand(n, d, generator=generator)
    y = torch.randint(0, 256, (m, d), generator=generator, dtype=torch.uint8)
    points = "replicated" if job["mode"] == "reduce" else "sharded"
    how = Sharding(points=points, mode=job["mode"], prefetch=prefetch)
    mine, charges = (part.tensor_split(processes.size)[processes.rank].contiguous() for part in (x, y))
    here = x if points == "replicated" else mine
    return lambda: riesz_sum(here, charges, power=d + 1.0, height=10.0, group=how)


def prefetch(job: dict[str, Any], processes: Processes) -> dict[str, float]:
    """A ring with prefetch, one without, and its messages alone, over each of the links: seconds by "what link".

    They take turns, so that what else the machine does falls on all of them. A link is in bytes/s, None for as it is.
    """
    block = torch.zeros(job["M"] // processes.size, job["D"], dtype=torch.uint8)
    other = torch.empty_like(block)

    def messages() -> None:
        for _ in range(processes.size - 1):
            for work in processes.pass_on(block, other, 0):
                work.wait()

    rings = {name: _sum(job, processes, name == "ahead") for name in ("ahead", "after")}
    best: dict[str, float] = {}
    for _ in range(job["turns"]):
        for link in job["links"]:
            with _slowed_down(processes, link):
                for name, call in {**rings, "messages": messages}.items():
                    key = f"{name} {link}"
                    best[key] = min(best.get(key, math.inf), _timed(call))
    return best


def streaming(job: dict[str, Any], processes: Processes) -> dict[str, float]:
    """A sum over charges on the disk, of which each process reads its part: seconds, and memory at the peak."""
    every = np.load(job["path"], mmap_mode="r")
    cut = [len(every) * (processes.rank + k) // processes.size for k in (0, 1)]
    x = 255 * torch.rand(job["N"], every.shape[1], generator=torch.Generator().manual_seed(0))
    charges = every[cut[0] : cut[1]]
    riesz_sum(x, charges[: len(charges) // 100], power=every.shape[1] + 1.0, group=Sharding())
    dist.barrier()
    started = time.perf_counter()
    before, peak, over = _own_memory(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], _own_memory() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    riesz_sum(x, charges, power=every.shape[1] + 1.0, group=Sharding())
    over.set()
    watcher.join()
    return {"seconds": time.perf_counter() - started, "mib": peak[0]}


def training(job: dict[str, Any], processes: Processes) -> dict[str, float]:
    """A training with checkpoints: seconds of a step, and what a checkpoint adds to the next ones."""
    from efm_fast import train
    from efm_fast.training.report import read_metrics

    every, steps = job["every"], job["steps"]
    settings = {
        "runs": job["folder"],
        "train.steps": steps,
        "train.checkpoint_every": every,
        "train.log_every": 1,
        "train.picture_every": 10 * steps,
        "device": "cpu",
        **job["settings"],
    }
    run = train("gaussian_to_swissroll", settings, progress=False)
    # a row counts the time since the row before: a checkpoint after step k lies in the time of step k + 1
    seconds = {row["step"]: 1 / row["rate"] for row in read_metrics(run.folder)}
    rounds = [[seconds[first + k] for k in range(1, every + 1)] for first in range(every, steps, every)]
    usual = statistics.median(second for one in rounds for second in one[every // 2 :])
    lost = statistics.median(sum(one) - every * statistics.median(one[every // 2 :]) for one in rounds)
    weights = sum(weight.numel() for weight in run.field.parameters())
    return {"step": usual, "lost": lost, "weights": weights}


def _own_memory() -> float:
    """MiB of this process without the pages of mapped files, which the system takes back when it needs them."""
    text = Path("/proc/self/status").read_text()
    return float(text.partition("RssAnon:")[2].split()[0]) / 1024


def main() -> None:
    """Join, work, print one line of JSON."""
    job = json.loads(sys.argv[1])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=os.environ["MEETING"], rank=rank, world_size=size)
    torch.set_num_threads(job["threads"])
    work = {"sums": sums, "prefetch": prefetch, "streaming": streaming, "training": training}[job["work"]]
    print(json.dumps(work(job, Processes.of())))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

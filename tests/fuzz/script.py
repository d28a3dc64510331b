"""Runs the fuzzers and prints the worst disagreement with float64: ``python -m tests.fuzz.script --cases 10000``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable

import torch

from . import fields, gradients, sums
from .outcome import Outcome

FUZZERS: dict[str, Callable[[int], Outcome]] = {
    "sums": sums.case,
    "gradients": gradients.case,
    "fields": fields.case,
}


def run(name: str, seed: int) -> Outcome:
    """One case; an exception is something wrong, told with its last line."""
    try:
        return FUZZERS[name](seed)
    except Exception:
        last = traceback.format_exc().strip().splitlines()
        return Outcome("?", "?", "raised", wrong=[" | ".join(last[-3:])])


def main() -> None:
    """Run the cases, print a table, and exit with 1 if any error is beyond what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="of all fuzzers together")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--fuzzer", choices=FUZZERS, help="run this one alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [options.fuzzer] if options.fuzzer else list(FUZZERS)
    started, failures = time.perf_counter(), []
    table: dict[tuple[str, str, str], list[tuple[float, int]]] = defaultdict(list)
    for k in range(options.cases):
        name, seed = names[k % len(names)], options.seed + k // len(names)
        outcome = run(name, seed)
        table[name, outcome.backend, outcome.promise].append((outcome.worst, seed))
        if outcome.worst > 1:
            failures.append(f"--fuzzer {name} --seed {seed} --cases 1: {outcome}")
    print(f"{'fuzzer':10} {'backend':10} {'promise':8} {'cases':>6}  worst error over allowed, and its seed")
    for (name, backend, row), found in sorted(table.items()):
        worst, seed = max(found)
        print(f"{name:10} {backend:10} {row:8} {len(found):6}  {worst:8.2g}  {seed}")
    print(
        f"{options.cases} cases in {time.perf_counter() - started:.0f} s, {len(failures)} beyond what is allowed"
    )
    print(*failures[:20], sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

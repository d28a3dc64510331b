"""How good the maps are: exact and learned, ours, the paper's, flow matching and PFGM, over seeds.

    python -m bench.transport                    every study, three seeds: some hours on two cores
    python -m bench.transport toy digits         these studies only
    python -m bench.transport methods            all methods on the toy, W2 against evaluations; half an hour
    python -m bench.transport --quick            short training, one seed: under ten minutes; a smoke test of
                                                 the studies, not a statement about quality
    python -m bench.transport glyphs --runs F    keep the runs in the folder F; started again, it goes on from there

Each study prints its table, says where ours is ahead, level or behind, and writes both to
bench/results/transport_<study>.json and, where it says more than numbers, a picture beside it. Rows run side by side,
one process and one torch thread per core.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import statistics
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from bench.common.record import WIDTH, commit, print_table, write_result
from bench.transport.glyphs import GLYPHS
from bench.transport.methods import METHODS
from bench.transport.studies import STUDIES as OURS
from bench.transport.studies import Row, Study
from bench.transport.verdict import COLUMNS, answer, summary
from efm_fast.config import Config
from efm_fast.files import write_text

STUDIES = {**OURS, **METHODS, **GLYPHS}
QUICK = {False: {"train.steps": 400, "train.ema": 0.98}, True: {"train.steps": 200, "train.ema": 0.98}}
"""Settings of a short training of the toy (False) and of images (True): its average must not remember its start."""


def workers(jobs: int) -> ProcessPoolExecutor:
    """A pool of ``jobs`` processes, which end with this one however it ends."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_end_with_the_bench)


def _end_with_the_bench() -> None:
    """End this worker process as soon as the bench's process has ended; else it goes on with its rows for hours."""
    bench = parent_process()
    assert bench is not None

    def watch() -> None:
        bench.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_row(
    row: Row, seed: int, settings: Mapping[str, Any], n: int, kept: Path | None
) -> list[dict[str, Any]]:
    """Train (where the row learns) and measure one row with one seed, in a worker process.

    In the folder ``kept``, if given, numbers of an earlier bench with the same settings are read again, and a run that
    was stopped goes on.
    """
    torch.set_num_threads(1)
    overrides = {**row.overrides, "seed": seed, "device": "cpu", "train.picture_every": 10**9, **settings}
    if kept is None:
        with tempfile.TemporaryDirectory() as folder:
            return _timed(row, overrides | {"runs": folder, "train.checkpoint_every": 10**9}, n)
    kept.mkdir(parents=True, exist_ok=True)
    name = run_name(row, overrides, n)
    measured = kept / f"{name}.json"
    if measured.exists():
        found: list[dict[str, Any]] = json.loads(measured.read_text())
        return found
    found = _timed(row, overrides | {"runs": str(kept), "name": name, "train.checkpoint_every": 100}, n)
    write_text(measured, json.dumps(found, indent=1) + "\n")
    return found


def run_name(row: Row, overrides: Mapping[str, Any], n: int) -> str:
    """A folder's name for one row with these settings: other settings of it have another name."""
    config = Config.load(row.preset, overrides)
    measure = getattr(row.measure, "__name__", repr(row.measure))
    settings = json.dumps([config.to_yaml(), n, measure])
    readable = re.sub(r"[^A-Za-z0-9]+", "-", row.name).strip("-")
    return f"{readable}-{config.seed}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def _timed(row: Row, overrides: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """The numbers of a row, with what it took; of a run that went on, what was left of it."""
    started, busy = time.perf_counter(), time.process_time()
    numbers = row.measure(row.preset, overrides, n)
    taken = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - busy,  # what it would take on an idle core
        "commit": commit(),
    }
    return [{"row": row.name, **found, **taken} for found in numbers]


def summarise(study: Study, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean, spread (largest minus smallest, halved) and values of every number over seeds, per row and map."""
    lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in found:
        lines.setdefault((entry["row"], entry["map"]), []).append(entry)
    table = []
    for (name, kind), entries in lines.items():
        line: dict[str, Any] = {"row": name, "map": kind, "seeds": len(entries)}
        for key in study.columns:
            values = [e[key] for e in entries if e.get(key) is not None]
            if values:
                spread = (max(values) - min(values)) / 2
                line[key] = statistics.fmean(values)
                line[f"{key}_spread"] = spread
                line[f"{key}_seeds"] = [e.get(key) for e in entries]  # None where a seed has no such number
        if entries[0].get("evaluations") is not None:
            line["evaluations"] = statistics.fmean(e["evaluations"] for e in entries)
        table.append(line)
    return table


def cells(study: Study, table: list[dict[str, Any]]) -> dict[str, Any]:
    """The table as text: mean and, over several seeds, +- half the range."""

    def cell(line: dict[str, Any], key: str) -> str:
        if key not in line:
            return ""
        digits = study.columns[key]
        text = f"{line[key]:.{digits}f}"
        return text if line["seeds"] == 1 else f"{text} ± {line[f'{key}_spread']:.{digits}f}"

    columns = ["row", "map", *(key.replace("_", " ") for key in study.columns)]
    return {
        "columns": columns,
        "rows": [[line["row"], line["map"], *(cell(line, key) for key in study.columns)] for line in table],
    }


def budget(row: Row, study: Study, quick: bool, steps: int | None) -> dict[str, Any]:
    """Settings of a shorter training; the weights' average covers the same share of it as of the preset's own."""
    settings = dict(QUICK[study.images]) if quick else {}
    if steps is not None:
        own = Config.load(row.preset, row.overrides).train
        settings |= {"train.steps": steps, "train.ema": max(0.0, 1.0 - (1.0 - own.ema) * own.steps / steps)}
    return settings


def run_study(
    study: Study,
    seeds: int,
    quick: bool,
    pool: ProcessPoolExecutor,
    steps: int | None = None,
    kept: Path | None = None,
) -> None:
    """Run all rows of a study over seeds; print and write what they give, anew after every seed."""
    if steps is not None:
        study = dataclasses.replace(study, title=f"{study.title}; {steps} steps only")
    jobs = [
        [
            pool.submit(run_row, row, seed, budget(row, study, quick, steps), study.samples(quick), kept)
            for row in study.rows
            if seed == 0 or not row.once
        ]
        for seed in range(seeds)
    ]
    found = []
    with tqdm(total=sum(map(len, jobs)), desc=study.name, unit="run") as bar:
        for seed, rows in enumerate(jobs):
            for job in rows:
                found += job.result()
                bar.update()
            write_study(study, seed + 1, quick, found)


def write_study(study: Study, seeds: int, quick: bool, found: list[dict[str, Any]]) -> None:
    """Print and write what ``seeds`` seeds of a study gave."""
    table = summarise(study, found)
    text = cells(study, table)
    print(f"\n{study.title}")
    print_table([dict(zip(text["columns"], row, strict=True)) for row in text["rows"]], text["columns"])
    answers = [answer(question, table) for question in study.asks]
    said = [*(found.sentence() for found in answers), summary(answers)]
    print("\n".join(textwrap.fill(text, WIDTH, subsequent_indent="    ") for text in said))
    tables = {study.name: text, "verdict": {"columns": COLUMNS, "rows": [a.cells() for a in answers]}}
    payload = {"title": study.title, "seeds": seeds, "table": table, "verdict": said, "tables": tables}
    name = f"transport_{study.name}" + ("_quick" if quick else "")
    path = write_result(name, payload | {"runs": found})
    print(f"wrote {path}")
    if study.picture is not None:
        print(f"wrote {study.picture(table, path.with_suffix('.png'))}")


def main() -> None:
    """Parse the command line and run the studies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help=f"any of {', '.join(STUDIES)}; default all"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds per row (default 3)")
    parser.add_argument("--quick", action="store_true", help="short training, one seed")
    parser.add_argument("--jobs", type=int, default=torch.get_num_threads(), help="rows run side by side")
    parser.add_argument(
        "--runs", type=Path, help="keep runs in this folder, and go on from what an earlier bench left there"
    )
    parser.add_argument("--steps", type=int, help="optimiser steps of every row, if not the presets' own")
    options = parser.parse_args()
    unknown = sorted(set(options.studies) - set(STUDIES))
    if unknown or options.seeds < 1 or options.jobs < 1:
        parser.error(
            f"expected studies from {', '.join(STUDIES)}, seeds and jobs of at least 1; got {unknown}"
        )
    with workers(options.jobs) as pool:
        for name in options.studies or STUDIES:
            run_study(
                STUDIES[name],
                1 if options.quick else options.seeds,
                options.quick,
                pool,
                options.steps,
                options.runs,
            )

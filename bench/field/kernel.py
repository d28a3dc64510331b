"""The field of both plates: how fast, how exact, beside what one would use instead.

    python bench/field_kernel.py            this machine, under two minutes
    python bench/field_kernel.py --full     all sizes, longer timing, time for the competitors to compile

Every row first passes a gate: its directions must agree with float64 direct differences at interpolated points, at
ties, plate ties, twins, flux points and far ones. A row that does not pass shows its errors and no speed. Pairs are
counted on both plates; FLOP are 4 N M D per plate. The bound is what this machine's own rates, measured in the same
run, allow a sum that does all of its products; one that shows that it need not do them all may exceed it.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, get_args

import torch

from bench.common import ceilings, record
from bench.common.record import print_table, write_result
from bench.field.forms import Form, forms
from bench.field.measure import Case, Measurement, measure, tolerance
from bench.field.summary import summary
from bench.field.sweep import middle, sweep
from bench.field.threads import COLUMNS as SCALING_COLUMNS
from bench.field.threads import scalings
from bench.field.worker import Worker
from efm_fast import checks
from efm_fast.errors import EfmError, InputError
from efm_fast.field.queries import KINDS
from efm_fast.field.request import Precision

#: D: points and charges per plate of the standard shapes.
SHAPES = {
    2: (4096, 65536),
    8: (4096, 65536),
    64: (2048, 16384),
    784: (1024, 8192),
    3072: (512, 8192),
    12288: (256, 4096),
}
QUICK = {"cpu": (2, 64, 3072), "cuda": (2, 8, 64, 784, 3072)}
DTYPES = ("float32", "float64", "bfloat16", "float16", "uint8")
COLUMNS = [
    *("row", "N", "ms", "10-90 %", "Gpair/s", "GFLOP/s", "of bound", "MiB"),
    *("inter", "tie", "plate", "twin", "flux", "far"),
]
QUICK_SECONDS = 92.0  # of the rows without --full; other sizes and the picture come after them
_PATIENCE = 300.0  # seconds for a form that compiles, with --full


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="field_kernel.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="float32", help=f"of the charges: {', '.join(DTYPES)}")
    parser.add_argument(
        "--precision", default="default", help=f"of efm_fast's backends: {', '.join(get_args(Precision))}"
    )
    sizes = "D, or D:NxM with N points and M charges per plate; standard: "
    sizes += ", ".join(f"{d}:{n}x{m}" for d, (n, m) in SHAPES.items())
    parser.add_argument("--sizes", nargs="+", metavar="SIZE", help=sizes)
    parser.add_argument(
        "--backends", nargs="+", metavar="ROW", help=f"rows to run: {', '.join(forms())}; or ours, others"
    )
    parser.add_argument(
        "--full", action="store_true", help="all sizes, 3 s of timing per row, 5 minutes to compile"
    )
    parser.add_argument("--name", help="of the files in bench/results/; by default field_kernel-DEVICE")
    return parser.parse_args(arguments)


def cases(options: argparse.Namespace, device: str) -> list[Case]:
    """One case for each size asked for.

    Raises:
        InputError: a size cannot be read, or two sizes have the same D.
    """
    wanted = options.sizes or [str(d) for d in (SHAPES if options.full else QUICK[torch.device(device).type])]
    call, run = (2.0, 3.0) if options.full else (0.5, 0.8)
    sizes = [_size(text) for text in wanted]
    if len({d for d, _, _ in sizes}) < len(sizes):
        raise InputError(f"--sizes: expected every D once, got {' '.join(wanted)}")
    return [Case(*size, device, options.dtype, call, run) for size in sizes]


def _size(text: str) -> tuple[int, int, int]:
    d, colon, counts = text.partition(":")
    try:
        if colon:
            n, _, m = counts.partition("x")
            size = int(d), int(n), int(m)
        else:
            size = int(d), *SHAPES[min(SHAPES, key=lambda known: abs(known - int(d)))]
        if min(size) > 0:
            return size
    except ValueError:
        pass
    raise InputError(f"--sizes: expected D or D:NxM, such as 64 or 64:2048x16384, got {text!r}")


def chosen(rows: dict[str, Form], wanted: list[str] | None) -> list[Form]:
    """The rows asked for; "ours" and "others" stand for several.

    Raises:
        InputError: a row is unknown.
    """
    if wanted is None:
        return list(rows.values())
    names: list[str] = []
    for word in wanted:
        if word in ("ours", "others"):
            names += [row.name for row in rows.values() if row.ours == (word == "ours")]
        else:
            own = f"ours: {word}"
            names.append(own if own in rows else checks.choice("--backends", word, rows))
    return [row for row in rows.values() if row.name in names]


def measure_all(
    rows: list[Form], shapes: list[Case], precision: Any, seconds: float | None
) -> list[Measurement]:
    """Every row at every size; those that compile come last and share the time that is left."""
    end = None if seconds is None else time.monotonic() + seconds
    found = {}
    for case in shapes:
        for row in rows:
            if not row.compiles:
                _say(f"D = {case.d}, {row.name}")
                found[case.d, row.name] = measure(row, case)
    worker = Worker(precision)
    compiling = [(case, row) for case in shapes for row in rows if row.compiles]
    try:
        for k, (case, row) in enumerate(compiling):
            _say(f"D = {case.d}, {row.name}")
            # the first ones compile for the later ones too, so each may use half of what is left
            left = _PATIENCE if end is None else (end - time.monotonic()) / min(2, len(compiling) - k)
            found[case.d, row.name] = _compiling(worker, row, case, left)
    finally:
        worker.close()
        _say("")
    return [found[case.d, row.name] for case in shapes for row in rows]


def _compiling(worker: Worker, row: Form, case: Case, budget: float) -> Measurement:
    reason = row.why_not(case.d, torch.device(case.device))
    if reason is None and budget < 5.0:
        reason = "not run: this run's time was used up; --full takes as long as it needs"
    if reason is not None:
        return Measurement(row.name, case.d, reason=reason)
    return worker.measure(row.name, case, budget)


def _say(text: str) -> None:
    """One line of progress that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r" if not text else f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def table_row(row: Measurement, limit: ceilings.Limit) -> list[Any]:
    """The cells of ``row``; a red one has errors and no speed, one that did not run its reason."""
    if row.passed is None:
        return [row.form, row.reason]
    errors = [f"{row.errors[kind]:.0e}" for kind in KINDS]
    if row.speed is None:
        return [row.form, row.n, "red", *[None] * 5, *errors]
    speed = row.speed
    return [
        row.form,
        row.n,
        f"{speed.seconds * 1e3:.3g}",
        f"{speed.low * 1e3:.3g}-{speed.high * 1e3:.3g}",
        f"{speed.pairs_per_second / 1e9:.3g}",
        f"{speed.flops / 1e9:.3g}",
        f"{speed.pairs_per_second / limit.pairs_per_second:.3g} x",
        None if row.peak_bytes is None else round(row.peak_bytes / 2**20),
        *errors,
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 1 if an efm_fast backend that was to be exact is red, 2 for a mistake in the command line."""
    options = parse(arguments)
    begin = time.monotonic()
    try:
        checks.choice("--precision", options.precision, get_args(Precision))
        checks.choice("--dtype", options.dtype, DTYPES)
        device = _device(options.device)
        shapes = cases(options, device)
        rows = chosen(forms(options.precision), options.backends)
        result = record.checked_name("--name", options.name or f"field_kernel-{torch.device(device).type}")
    except EfmError as problem:
        print(f"field_kernel.py: {problem}", file=sys.stderr)
        return 2
    _say("ceilings")
    rates = ceilings.measure(device)
    left = None if options.full else QUICK_SECONDS - (time.monotonic() - begin)
    limits = {c.d: ceilings.limit(c.d, c.n, c.m, rates, device) for c in shapes}
    found = measure_all(rows, shapes, options.precision, left)
    _say("other numbers of points and charges")
    swept = sweep(rows, middle(shapes), found)
    _say("threads")
    scaled = scalings(rows, shapes, found)
    _say("")
    tables = {"ceilings": rates.table(), "limits": ceilings.limit_table(list(limits.values()))}
    print_table(tables["ceilings"]["rows"], tables["ceilings"]["columns"])
    for case in shapes:
        tables[f"D={case.d}"] = _show_size(case, limits[case.d], found)
    if scaled:
        tables["threads"] = {"columns": SCALING_COLUMNS, "rows": [s.cells() for s in scaled]}
        print("\none thread's time over that of all")
        print_table(tables["threads"]["rows"], SCALING_COLUMNS)
    tables["summary"] = summary(rows, found, limits)
    print("\nthe fastest of efm_fast, and how many times each of the others it is")
    print_table(tables["summary"]["rows"], tables["summary"]["columns"])
    red = [row for row in found if row.passed is False]
    for row in red:
        print(f"red: {row.form}, D = {row.d}: {row.reason}")
    path = write_result(
        result,
        {
            "settings": {"device": device, "dtype": options.dtype, "precision": options.precision},
            "shapes": [{"d": c.d, "n": c.n, "m": c.m, "plates": 2} for c in shapes],
            "ceilings": vars(rates),
            "rows": [row.as_dict() for row in found],
            "sweep": [vars(point) for point in swept],
            "threads": [vars(s) for s in scaled],
            "tables": tables,
        },
    )
    from bench.field.figure import draw

    picture = draw(found, limits, swept, path.with_suffix(".png"))
    print(f"wrote {path.name} and {picture.name} in bench/results/ after {time.monotonic() - begin:.0f} s")
    mine = {row.name for row in rows if row.ours}
    return int(options.precision != "fast" and any(row.form in mine for row in red))


def _show_size(case: Case, limit: ceilings.Limit, found: list[Measurement]) -> dict[str, Any]:
    """Print the table of one size, and return it."""
    rows = [table_row(row, limit) for row in found if row.d == case.d]
    print(f"\nD = {case.d}, 2 x {case.m} {case.dtype} charges; ", end="")
    print(f"bound {limit.pairs_per_second / 1e9:.3g} Gpair/s, by {limit.bound}; ", end="")
    print(f"gate {tolerance(case.d):.0e}")
    print_table(rows, COLUMNS)
    return {"columns": COLUMNS, "rows": rows}


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device: this torch sees no CUDA device; take --device cpu")
    if device.type not in QUICK:
        raise InputError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    return name

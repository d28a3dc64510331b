"""Couplings of whole sets.

    python -m bench.couplings exact      # potentials beside POT's in float64, 1000 + 1000; a minute
    python -m bench.couplings kinds      # cost, hubs and colour of every kind, on coloured digits; minutes
    python -m bench.couplings whole      # 20,000 + 20,000 at D = 768, beside the rate of a matrix product; minutes
    python -m bench.couplings geomloss   # 2000 + 2000, beside GeomLoss over KeOps (pip install both); minutes
    python -m bench.couplings lines      # 4268 + 4268 glyphs of 16 x 16 by exact lines, beside one product; minutes
    python -m bench.couplings predicted  # 50,000 + 50,000 at D = 3072 on an H200, from counts and `whole`; at once

Seconds are the processor's, of all threads, so that other work on the machine counts little. Each study is written to
bench/results/couplings_<study>.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.common.memory import PeakMemory
from bench.common.record import RESULTS, as_text, print_table, write_result
from bench.gpu.prediction import H200, Problem, predict
from bench.lines.images import image_like
from efm_fast import couple
from efm_fast.data import make_source
from efm_fast.data.colour import rgb_to_hue
from efm_fast.metrics.strokes import hue_difference

Row = dict[str, Any]
_EVALUATIONS = 120  # of a field line


def spent(call: Any) -> tuple[float, float, Any]:
    """Processor seconds and seconds of a call, and what it returned."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Of two potentials that may differ by a constant, the largest difference."""
    difference = ours - theirs
    return float((difference - difference.mean()).abs().max())


def exact(options: argparse.Namespace) -> list[Row]:
    """Potentials of 1000 + 1000 data in float64 and float32, beside POT's in float64."""
    import ot

    rows = []
    for d in (2, 64, 768):
        plates = image_like(1000, d, 1.0)
        plus, minus = plates.plus.double(), plates.minus.double()
        cost = torch.cdist(plus, minus).square()
        epsilon = 0.05 * float(cost.mean())
        seconds, _, (_, log) = spent(
            lambda c=cost, e=epsilon: ot.sinkhorn(
                [], [], c.numpy(), e, method="sinkhorn_log", numItermax=1000, stopThr=1e-11, log=True
            )
        )
        theirs = torch.from_numpy(epsilon * log["log_v"])
        spread = float(theirs.max() - theirs.min())
        rows.append({"D": d, "program": "POT", "dtype": "float64", "cpu seconds": seconds})
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            data = plus.to(dtype), minus.to(dtype)
            seconds, _, found = spent(
                lambda s=data, e=epsilon, t=tolerance: couple(*s, epsilon=e, tolerance=t)
            )
            rows.append(
                {
                    "D": d,
                    "program": "efm_fast",
                    "dtype": str(dtype).removeprefix("torch."),
                    "cpu seconds": seconds,
                    "passes": found.numbers["passes"],
                    "potentials off by": largest_difference(found.potential_minus, theirs),
                    "their range": spread,
                }
            )
    return rows


def kinds(options: argparse.Namespace) -> list[Row]:
    """What the kinds of couplings keep: coloured 8 x 8 digits, 3s beside 2s."""
    from efm_fast.metrics.strokes import stroke_colour

    plus, minus = (
        make_source({"name": "digits", "label": label}).draw(options.data, torch.Generator().manual_seed(k))
        for k, label in enumerate((3, 2))
    )
    colours = tuple(rgb_to_hue(stroke_colour(part.unflatten(1, (3, -1)))) for part in (plus, minus))
    return [_kept(name, plus, minus, colours, settings) for name, settings in KINDS]


KINDS: list[tuple[str, Row]] = [
    ("independent", {"kind": "independent"}),
    ("nearest", {"kind": "nearest"}),
    ("nearest, both ways", {"kind": "nearest", "both_ways": True}),
    ("optimal transport", {"kind": "ot"}),
    *((f"sinkhorn, {share:g} of the mean cost", {"share": share}) for share in (0.02, 0.005, 0.001)),
    *((f"lines, L = {share:g} s", {"kind": "lines", "at": share}) for share in (0.3, 0.03, 0.003)),
    ("lines, L = 0.003 s, one way", {"kind": "lines", "at": 0.003, "both_ways": False}),
    ("lines, L = 0.003 s, balanced", {"kind": "lines", "at": 0.003, "both_ways": False, "balanced": True}),
    ("lines, L = 0.03 s, flux directions", {"kind": "lines", "at": 0.03, "direction": "flux"}),
]


def _kept(name: str, plus: Tensor, minus: Tensor, colours: tuple[Tensor, ...], settings: Row) -> Row:
    mean = float(torch.cdist(plus.double(), minus.double()).square().mean())
    settings = dict(settings)
    if "share" in settings:
        settings["epsilon"] = settings.pop("share") * mean
    if "at" in settings:
        settings["L"] = settings.pop("at") * mean**0.5
    seconds, _, found = spent(lambda: couple(plus, minus, **settings))
    turned = hue_difference(colours[0][found.plus], colours[1][found.minus])
    load = torch.zeros(len(minus), dtype=torch.float64).index_add_(0, found.minus, found.weight)
    return {
        "pairs by": name,
        "cost over the mean": found.cost / mean,
        "targets": len(found.minus.unique()) / len(minus),
        "effective targets": float(1.0 / (load**2).sum()) / len(minus),
        "hue, degrees": float((turned * found.weight).sum()),
        "evaluations": float(found.evaluations.double().mean()),
        "cpu seconds": seconds,
    }


def whole(options: argparse.Namespace) -> list[Row]:
    """Whole sets at image size: seconds, memory, and the share of the float32 matrix product's rate."""
    plates = image_like(options.data, options.features, 1.0)
    plus, minus = plates.plus, plates.minus
    product = _product_rate(plus[:512], minus[:8192], 0)
    with PeakMemory("cpu") as peak:
        cpu, wall, found = spent(lambda: couple(plus, minus))
    flops = 2.0 * len(plus) * len(minus) * options.features * found.numbers["passes"]
    row: Row = {"program": "efm_fast", "data": options.data, "D": options.features, "cpu seconds": cpu}
    row |= {
        "seconds": wall,
        "passes": found.numbers["passes"],
        "marginal error": found.numbers["marginal error"],
    }
    row |= {"GiB beyond the data": None if peak.bytes is None else peak.bytes / 2**30}
    row |= {"share of the product's rate": flops / cpu / product, "epsilon": found.numbers["epsilon"]}
    return [row]


def geomloss(options: argparse.Namespace) -> list[Row]:
    """The row of :func:`whole`, and GeomLoss's own iterations over KeOps; its blur is the root of half our epsilon."""
    from geomloss import SamplesLoss

    ours = whole(options)
    epsilon = ours[0]["epsilon"]
    plates = image_like(options.data, options.features, 1.0)
    loss = SamplesLoss(
        "sinkhorn",
        p=2,
        blur=(epsilon / 2) ** 0.5,
        scaling=0.5,
        debias=False,
        potentials=True,
        backend="online",
    )
    loss(plates.plus[:64], plates.minus[:64])  # compiles
    cpu, wall, _ = spent(lambda: loss(plates.plus, plates.minus))
    row: Row = {"program": "GeomLoss", "data": options.data, "D": options.features}
    return [*ours, row | {"cpu seconds": cpu, "seconds": wall, "epsilon": epsilon}]


def lines(options: argparse.Namespace) -> list[Row]:
    """Exact lines between whole sets of coloured glyphs, beside the least that float32 products would take.

    A point needs its products with the charges of both plates once; where far charges matter, their mean takes as much
    again. *One product* is the time of the first alone.
    """
    plus, minus = (
        make_source({"name": "glyphs", "label": label}).draw(options.data, torch.Generator().manual_seed(k))
        for k, label in enumerate((3, 2))
    )
    size = float(torch.cdist(plus, minus).square().mean()) ** 0.5
    rate = _product_rate(plus[:1024], minus, 1)
    rows = []
    for share, both_ways in ((0.3, False), (0.3, True), (0.03, False), (0.003, False)):
        cpu, seconds, found = spent(
            lambda at=share * size, both=both_ways: couple(plus, minus, kind="lines", L=at, both_ways=both)
        )
        evaluations = int(found.evaluations.sum())
        products = 2.0 * evaluations * (len(plus) + len(minus)) * plus.shape[1]
        row: Row = {"L / s": share, "lines": len(found.plus)}
        row |= {"evaluations": evaluations / len(found.plus), "cpu seconds": cpu, "seconds": seconds}
        rows.append(row | {"one product, seconds": products / rate})
    return rows


def _product_rate(plus: Tensor, minus: Tensor, clock: int) -> float:
    """Operations of a float32 matrix product per second, the best of several; ``clock`` indexes :func:`spent`."""
    seconds = min(spent(lambda: torch.mm(plus, minus.T))[clock] for _ in range(8))
    return 2.0 * len(plus) * len(minus) * plus.shape[1] / seconds


def predicted(options: argparse.Namespace) -> list[Row]:
    """Seconds of Sinkhorn and of exact lines on an H200, from counted operations; measured on no GPU."""
    measured = json.loads((RESULTS / "couplings_whole.json").read_text(encoding="utf-8"))["rows"][0]
    n, d = options.data, options.features
    share = measured["share of the product's rate"]
    strips = 2.0 * n * n * d * measured["passes"]
    rate = share * H200.gemm_fp32
    sums = Problem(n, 2 * n, d)  # all lines at once, among the charges of both plates
    lines = sums.work * _EVALUATIONS
    seconds = predict(sums, H200).bound * _EVALUATIONS
    return [
        {
            "pairs by": name,
            "data": n,
            "D": d,
            "operations": work,
            "TFLOP/s": work / took / 1e12,
            "seconds": took,
        }
        for name, work, took in (("Sinkhorn", strips, strips / rate), ("exact lines", lines, seconds))
    ]


#: What each study runs, how many data of each set, and of how many features.
STUDIES: dict[str, tuple[Callable[[argparse.Namespace], list[Row]], int, int]] = {
    "exact": (exact, 1000, 768),
    "kinds": (kinds, 1200, 768),
    "whole": (whole, 20_000, 768),
    "geomloss": (geomloss, 2000, 768),
    "lines": (lines, 4268, 768),
    "predicted": (predicted, 50_000, 3072),
}


def main() -> None:
    """Measure, print, and write the study's file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--data", type=int, help="data of each set")
    parser.add_argument("--features", type=int)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    study, data, features = STUDIES[options.study]
    options.data, options.features = options.data or data, options.features or features
    torch.set_num_threads(options.threads)
    rows = study(options)
    text = as_text(rows)
    print_table([dict(zip(text["columns"], row, strict=True)) for row in text["rows"]], text["columns"])
    print(f"wrote {write_result(f'couplings_{options.study}', {'rows': rows, 'tables': {'rows': text}})}")


if __name__ == "__main__":
    main()

"""Samples of a learned field: follow its lines from one plate to the other."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from . import checks
from .data import Source, step_generator
from .errors import InputError
from .lines import Lines, Support, forward_map, full_map, mirrored, reversed_field
from .training.run import Run
from .types import Field

_STARTS, _SUPPORT = 200, 201  # streams of randomness, apart from training's


def sample(
    run: Run,
    x0: Tensor | None = None,
    *,
    n: int | None = None,
    map: Literal["full", "forward"] | None = None,
    steps: int | None = None,
    seed: int = 0,
    reverse: bool = False,
    return_paths: bool = False,
) -> Lines:
    """Carry samples of P to Q along the learned field, or of Q to P.

    Args:
        run: a trained run, from ``train`` or ``load``.
        x0: starts in data units, [N, D], or [N, C, H, W] for images; or leave it out and give ``n``. Bytes
            (uint8) are scaled to [-1, 1], as data are.
        n: number of starts to draw from the run's plus data (its held-out split where it has one).
        map: "full" (the stochastic map of EFM, theorem 3.1) or "forward" (algorithm 2 at midpoint steps,
            heights log-spaced from both plates, landing on the plate mean); the run's own setting by default.
        steps: forward: number of steps; full: most steps per line. The run's own setting by default.
        seed: of the starts, and of the full map's decisions, which depend on (seed, k) alone for sample k;
            at least 0.
        reverse: from Q on the minus plate to P on the plus plate, along the same lines: x0 are samples of Q, and
            ``n`` draws the run's minus data.
        return_paths: also return the lines' points.

    Returns:
        Lines; ``end`` holds the samples, in the shape of x0 or [n, D], and ``evaluations`` [N] what each cost.
        Heights are the run's own: lines of the reverse map end at z = 0.

    Raises:
        InputError: neither or both of x0 and n, or a wrong type, shape or setting.
    """
    checks.instance("run", run, Run, "a run, from efm_fast.train(...) or efm_fast.load(folder)")
    settings = run.config.sample
    kind = checks.choice("map", settings.map if map is None else map, ("full", "forward"))
    steps = settings.steps if steps is None else checks.count("steps", steps)
    checks.whole("seed", seed, least=0)
    checks.flag("reverse", reverse)
    checks.flag("return_paths", return_paths)
    if (x0 is None) == (n is None):
        raise InputError("x0, n: expected one of them, the starts or their number")
    given = starts(run, checks.count("n", n), seed, reverse=reverse) if n is not None else x0
    rows = _rows(run, given).to(run.device)
    field: Field = reversed_field(run.field) if reverse else run.field
    if kind == "forward":
        lines = _forward(run, field, rows, steps, return_paths)
    else:
        support = support_of(run)
        lines = full_map(
            field,
            rows,
            support=support.exchanged() if reverse else support,
            step=settings.step,
            max_steps=steps,
            seed=seed,
            return_paths=return_paths,
        )
    lines = mirrored(lines, run.geometry.L) if reverse else lines
    return dataclasses.replace(lines, end=lines.end.reshape(given.shape))  # type: ignore[union-attr]


def _forward(run: Run, field: Field, x0: Tensor, steps: int, return_paths: bool) -> Lines:
    settings, L = run.config.sample, run.geometry.L
    landing = settings.margin if settings.landing is None else settings.landing
    return forward_map(
        field,
        x0,
        steps=steps,
        method="midpoint",
        spacing="log",
        start=settings.margin * L,
        stop=L - landing * L,
        return_paths=return_paths,
    )


def _rows(run: Run, x0: object) -> Tensor:
    """``x0`` as float32 rows [N, D]."""
    shape = run.geometry.shape
    if not isinstance(x0, Tensor) or x0.is_meta:
        raise InputError(f"x0: expected a torch.Tensor with values, got {checks.describe(x0)}")
    columns = math.prod(shape)
    if tuple(x0.shape[1:]) not in (shape, (columns,)):
        rows = " or ".join(f"[N, {', '.join(map(str, part))}]" for part in dict.fromkeys(((columns,), shape)))
        raise InputError(f"x0: expected shape {rows}, got {checks.describe(x0)}")
    flat = checks.tensor("x0", x0.reshape(len(x0), columns), ndim=2)
    return flat.float() / 127.5 - 1.0 if flat.dtype == torch.uint8 else flat.to(torch.float32)


def starts(run: Run, n: int, seed: int, *, reverse: bool = False) -> Tensor:
    """``n`` fresh draws of the data that a map starts from, [n, D], from its held-out split where it has one."""
    source = ends_of(run, reverse)[0]
    return source.draw(n, step_generator(seed, 0, _STARTS), held_out(source))


def held_out(source: Source) -> str:
    """The split to look at: what was held out, or the training data where nothing was."""
    return "train" if source.size("test") == 0 else "test"


def ends_of(run: Run, reverse: bool) -> tuple[Source, Source]:
    """The sources that a map starts from and arrives at."""
    return (run.minus, run.plus) if reverse else (run.plus, run.minus)


def support_of(run: Run) -> Support:
    """The discs that hold the run's charges, from 4096 draws of each plate's training data."""
    plates = [
        source.draw(4096, step_generator(run.config.seed, k, _SUPPORT)).to(run.device)
        for k, source in enumerate((run.plus, run.minus))
    ]
    return Support.of(*plates)

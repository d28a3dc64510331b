"""Samples of a learned field: follow its lines from the plus plate to the minus plate."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Literal

import torch
from torch import Tensor

from . import checks
from .data import step_generator
from .errors import InputError, NothingArrivedWarning
from .lines import Lines, LineStatus, Support, forward_map, full_map
from .training.run import Run

_STARTS = 200  # stream of randomness, apart from training's


def sample(
    run: Run,
    x0: Tensor | None = None,
    *,
    n: int | None = None,
    map: Literal["full", "forward"] | None = None,
    steps: int | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    return_paths: bool = False,
) -> Lines:
    """Carry samples of P to Q along the learned field.

    Args:
        run: a trained run, from ``train`` or ``load``.
        x0: starts, [N, D], data units; or leave it out and give ``n``.
        n: number of starts to draw from the run's plus data (its held-out split where it has one).
        map: "full" (the stochastic map of EFM, theorem 3.1) or "forward" (algorithm 2 at midpoint steps,
            heights log-spaced from both plates, landing on the plate mean); the run's own setting by default.
        steps: of the forward map; the run's ``sample.forward_steps`` by default.
        max_steps: after which a line of the full map ends unfinished; the run's own by default.
        seed: of the starts, and of the full map's decisions, which depend on (seed, k) alone for sample k.
        return_paths: also return the lines' points.

    Returns:
        Lines; ``end`` [N, D] holds the samples and ``evaluations`` [N] what each one cost. Where not one line
        arrived there are no samples: a NothingArrivedWarning says so.

    Raises:
        InputError: neither or both of x0 and n, a wrong shape or setting, or a setting of the other map.
    """
    settings = run.config.sample
    kind = checks.choice("map", map or settings.map, ("full", "forward"))
    if kind == "full" and steps is not None:
        raise InputError(
            f"steps: the forward map takes them; the full map takes max_steps, got steps={steps}"
        )
    if kind == "forward" and max_steps is not None:
        raise InputError(
            f"max_steps: the full map takes them; the forward map takes steps, got max_steps={max_steps}"
        )
    if (x0 is None) == (n is None):
        raise InputError("x0, n: expected one of them, the starts or their number")
    if x0 is None:
        x0 = starts(run, n, seed)  # type: ignore[arg-type]
    checks.tensor("x0", x0, ndim=2, columns=run.plus.dimension)
    x0 = x0.to(run.device, torch.float32)
    lines = (
        _forward(run, x0, settings.forward_steps if steps is None else steps, return_paths)
        if kind == "forward"
        else full_map(
            run.field,
            x0,
            support=support_of(run),
            step=settings.step,
            max_steps=settings.max_steps if max_steps is None else max_steps,
            seed=seed,
            return_paths=return_paths,
        )
    )
    if problem := none_arrived(lines):
        warnings.warn(f"the {kind} map of {run.folder}: {problem}", NothingArrivedWarning, stacklevel=2)
    return lines


def none_arrived(lines: Lines) -> str | None:
    """What happened to ``lines`` of which not one reached a plate, in a sentence; None where one did."""
    if len(lines.status) == 0 or lines.arrived.any():
        return None
    counts = {status: int((lines.status == status).sum()) for status in LineStatus}
    ended = ", ".join(f"{count} {status.name}" for status, count in counts.items() if count)
    advice = "raise max_steps or train longer" if counts[LineStatus.STEP_LIMIT] else "train longer"
    return f"no line arrived ({ended}), so there are no samples; {advice}"


def _forward(run: Run, x0: Tensor, steps: int, return_paths: bool) -> Lines:
    settings, L = run.config.sample, run.geometry.L
    landing = settings.margin if settings.landing is None else settings.landing
    return forward_map(
        run.field,
        x0,
        steps=steps,
        method="midpoint",
        spacing="log",
        start=settings.margin * L,
        stop=L - landing * L,
        return_paths=return_paths,
    )


def starts(run: Run, n: int, seed: int) -> Tensor:
    """``n`` fresh draws of the run's plus data, [n, D], from its held-out split where it has one."""
    split = "train" if run.plus.size("test") == 0 else "test"
    return run.plus.draw(n, step_generator(seed, 0, _STARTS), split)


def support_of(run: Run) -> Support:
    """The discs that hold the run's charges, on its device."""
    centers = {key: getattr(run.support, key).to(run.device) for key in ("plus_center", "minus_center")}
    return dataclasses.replace(run.support, **centers)

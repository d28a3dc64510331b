"""Samples of a learned field: follow its lines from one plate to the other."""

from __future__ import annotations

import dataclasses
import math
import warnings

import torch
from torch import Tensor

from . import checks
from .data import Source
from .data.latent import LatentSource, images_of
from .data.source import AbsentSource
from .errors import InputError, NothingArrivedWarning
from .lines import Lines, LineStatus, Support
from .methods import Travel
from .runs import Run
from .streams import Stream, step_generator


def sample(
    run: Run,
    x0: Tensor | None = None,
    *,
    n: int | None = None,
    map: str | None = None,
    steps: int | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    reverse: bool = False,
    return_paths: bool = False,
) -> Lines:
    """Carry samples of P to Q along the learned field, or of Q to P.

    Args:
        run: a trained run, from ``train`` or ``load``.
        x0: starts in data units, [N, D], or [N, C, H, W] for images; or leave it out and give ``n``. Bytes
            (uint8) are scaled to [-1, 1], as data are. Where the field lies among latents: images, which are encoded,
            or latents.
        n: number of starts to draw from the run's plus data (its held-out split where it has one), or from the
            prior of a method that has one.
        map: one of the method's maps; the run's own setting by default. Field matching has "full" (the stochastic
            map of EFM, theorem 3.1) and "forward" (algorithm 2 at midpoint steps, heights log-spaced from both
            plates, with a last step to the plate mean); other methods have one each.
        steps: of a map with a fixed number of steps; the run's own by default.
        max_steps: after which a line of the full map ends unfinished; the run's own by default.
        seed: of the starts, and of the full map's decisions, which depend on (seed, k) alone for sample k;
            at least 0.
        reverse: from Q on the minus plate to P on the plus plate, along the same lines: x0 are samples of Q, and
            ``n`` draws the run's minus data.
        return_paths: also return the lines' points.

    Returns:
        Lines; ``end`` holds the samples, in the shape of x0 or [n, D], and ``evaluations`` [N] what each cost.
        Where the field lies among latents, ``end`` is decoded to images, and ``paths`` are latents.
        Heights are the run's own: lines of the reverse map end at z = 0. Where not one line arrived there are no
        samples: a NothingArrivedWarning says so.

    Raises:
        InputError: neither or both of x0 and n, a wrong type, shape or setting, or a setting of the other map.
    """
    checks.instance("run", run, Run, "a run, from efm_fast.train(...) or efm_fast.load(folder)")
    travel = Travel(
        map=None if map is None else checks.choice("map", map, run.method.maps),
        steps=None if steps is None else checks.count("steps", steps),
        max_steps=None if max_steps is None else checks.count("max_steps", max_steps),
        seed=checks.whole("seed", seed, least=0),
        reverse=checks.flag("reverse", reverse),
        return_paths=checks.flag("return_paths", return_paths),
    )
    if (x0 is None) == (n is None):
        raise InputError("x0, n: expected one of them, the starts or their number")
    given = starts(run, checks.count("n", n), seed, reverse=reverse) if n is not None else x0
    rows = _rows(run, given).to(run.device)
    lines = run.method.sample(run.field, rows, _support_of(run), travel)
    if problem := none_arrived(lines):
        kind = travel.map or run.method.map
        warnings.warn(f"the {kind} map of {run.folder}: {problem}", NothingArrivedWarning, stacklevel=2)
    end = to_ends(run, lines.end, reverse=reverse)
    if given.ndim > 2:  # type: ignore[union-attr]
        end = end.unflatten(1, end_shape(run, reverse=reverse))
    return dataclasses.replace(lines, end=end)


def to_ends(run: Run, x: Tensor, *, reverse: bool = False) -> Tensor:
    """Rows [N, D] of data or latents as what the ends of a map are: latents are decoded, or images encoded."""
    shape = end_shape(run, reverse=reverse)
    if run.autoencoder is None or x.shape[1] == math.prod(shape):
        return x
    if shape == run.geometry.shape:
        return _rows(run, x)
    return run.autoencoder.decode(x.unflatten(1, run.geometry.shape)).flatten(1)


def end_shape(run: Run, *, reverse: bool = False) -> tuple[int, ...]:
    """Shape of one sample: of the data, and of the images where latents of images are carried to.

    Noise that lies among latents is never decoded.
    """
    if run.autoencoder is None or not isinstance(ends_of(run, reverse)[1], LatentSource | AbsentSource):
        return run.geometry.shape
    return run.autoencoder.image_shape(run.geometry.shape)


def none_arrived(lines: Lines) -> str | None:
    """What happened to ``lines`` of which not one reached a plate, in a sentence; None where one did."""
    if len(lines.status) == 0 or lines.arrived.any():
        return None
    counts = {status: int((lines.status == status).sum()) for status in LineStatus}
    ended = ", ".join(f"{count} {status.name}" for status, count in counts.items() if count)
    advice = "raise max_steps or train longer" if counts[LineStatus.STEP_LIMIT] else "train longer"
    return f"no line arrived ({ended}), so there are no samples; {advice}"


def _rows(run: Run, x0: object) -> Tensor:
    """``x0`` as float32 rows [N, D]."""
    shape = run.geometry.shape
    images = None if run.autoencoder is None else run.autoencoder.image_shape(shape)
    if not isinstance(x0, Tensor) or x0.is_meta:
        raise InputError(f"x0: expected a torch.Tensor with values, got {checks.describe(x0)}")
    known: list[tuple[int, ...]] = [
        each for one in filter(None, (shape, images)) for each in ((math.prod(one),), one)
    ]
    if tuple(x0.shape[1:]) not in known:
        shapes = " or ".join(f"[N, {', '.join(map(str, part))}]" for part in dict.fromkeys(known))
        raise InputError(f"x0: expected shape {shapes}, got {checks.describe(x0)}")
    flat = checks.tensor("x0", x0.flatten(1), ndim=2)
    rows = flat.float() / 127.5 - 1.0 if flat.dtype == torch.uint8 else flat.to(torch.float32)
    if run.autoencoder is None or rows.shape[1] == math.prod(shape):
        return rows
    return run.autoencoder.encode(rows.unflatten(1, run.autoencoder.image_shape(shape))).flatten(1)


def starts(run: Run, n: int, seed: int, *, reverse: bool = False) -> Tensor:
    """``n`` starts of a map, [n, D]: draws of the method's prior, or else of the data that the map starts from.

    Of data whose latents are carried, the images themselves are drawn.

    Data come from their held-out split where there is one.
    """
    generator = step_generator(seed, 0, Stream.STARTS)
    if run.method.has_prior and not reverse:
        return run.method.start(n, generator)
    source = images_of(ends_of(run, reverse)[0])
    return source.draw(n, generator, held_out(source))


def held_out(source: Source) -> str:
    """The split to look at: what was held out, or the training data where nothing was."""
    return "train" if source.size("test") == 0 else "test"


def ends_of(run: Run, reverse: bool) -> tuple[Source, Source]:
    """The sources that a map starts from and arrives at."""
    return (run.minus, run.plus) if reverse else (run.plus, run.minus)


def _support_of(run: Run) -> Support:
    """The discs that hold the run's charges, on its device."""
    centers = {key: getattr(run.support, key).to(run.device) for key in ("plus_center", "minus_center")}
    return dataclasses.replace(run.support, **centers)

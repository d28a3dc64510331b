"""``couple``: pairs of two whole data sets, kept on disk where a folder is given."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .. import checks
from ..errors import InputError, RunError
from ..field.distributed.sharding import together
from ..files import naming, remove_leftovers, write_text
from ..processes import Processes, served_devices, shared, why_no_messages
from .job import Job
from .lines import FieldLines
from .record import Coupling
from .simple import Independent, Nearest, OptimalTransport
from .sinkhorn import Sinkhorn

Kind = Literal["sinkhorn", "lines", "ot", "nearest", "independent"]
_FORMAT = 1  # of the files; another one makes another fingerprint
_HASHED = 1 << 24  # bytes of data that are hashed at a time


class Settings(Protocol):
    """The settings of one kind, which know how to make its pairs."""

    def couple(self, plus: Tensor, minus: Tensor, job: Job) -> Coupling:
        """Pair the sets ``plus`` [N, D] and ``minus`` [M, D]."""
        ...


KINDS: dict[str, Callable[..., Settings]] = {
    "sinkhorn": Sinkhorn,
    "lines": FieldLines,
    "ot": OptimalTransport,
    "nearest": Nearest,
    "independent": Independent,
}


@together
def couple(
    plus: Tensor | np.ndarray,
    minus: Tensor | np.ndarray,
    *,
    kind: Kind = "sinkhorn",
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = False,
    backend: str = "auto",
    group: dist.ProcessGroup | None = None,
    **settings: Any,
) -> Coupling:
    """Pair two whole data sets: which plus datum goes with which minus datum.

    Args:
        plus: data on the plus plate, [N, ...], uint8 or floating; features beyond the first axis are flattened.
        minus: data on the minus plate, [M, ...], with as many features, on the same device.
        kind: "sinkhorn", entropic optimal transport of the whole sets (Cuturi 2013); "lines", exact field lines;
            "ot", exact optimal transport of small sets; "nearest"; or "independent", random pairs.
        seed: of all draws.
        cache: folder in which the coupling is kept under a fingerprint of the data, the kind, its settings and the
            seed. A second call reads it; a call after one that was killed goes on where that one was. None keeps
            nothing.
        progress: show a progress bar.
        backend: of the sums over charges of "lines", see :func:`efm_fast.riesz_sum`.
        group: of torch.distributed, whose processes share the work; each has all data and gets the whole coupling.
            Strips of rows are shared out in "sinkhorn" and "nearest", lines in "lines"; the other kinds every process
            makes for itself. All processes must see the folder ``cache``. None for this process alone.
        **settings: of the kind: see :class:`efm_fast.couplings.sinkhorn.Sinkhorn`,
            :class:`efm_fast.couplings.lines.FieldLines` and :mod:`efm_fast.couplings.simple`.

    Returns:
        Coupling, on the CPU.

    Raises:
        InputError: an argument has the wrong type, shape, device or range, the kind has no such setting, or a process
            of the group has other data or settings.
        RunError: what the cache holds is damaged, or it cannot be written.
        MissingPackageError: kind "ot" needs POT; a cache or a progress bar needs ``efm_fast[train]``.
    """
    made = _made(kind, settings)
    plus, minus = _data("plus", plus), _data("minus", minus)
    checks.same_device("minus", minus, plus.device, "plus")
    if plus.shape[1] != minus.shape[1]:
        raise InputError(f"minus: expected {plus.shape[1]} features, got {minus.shape[1]}")
    processes = Processes.alone() if group is None else Processes.of(group)
    job = Job(
        checks.whole("seed", seed, least=0), checks.flag("progress", progress), backend, processes=processes
    )
    _refuse_other_pairs(plus, minus, kind, made, job)
    if cache is None:
        return made.couple(plus, minus, job)
    folder = Path(checks.folder("cache", cache))
    name = fingerprint(plus, minus, kind, made, job.seed)
    done, job.path = folder / f"{name}.safetensors", folder / f"{name}.unfinished.safetensors"
    if processes.agree({"done": done.exists()})[0]["done"]:
        return load(done)

    def prepare() -> None:
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, f"{name}.unfinished.safetensors")

    processes.by_first(prepare)
    coupling = made.couple(plus, minus, job)
    processes.by_first(lambda: save(coupling, done))
    if processes.first:
        job.path.unlink(missing_ok=True)
    return coupling


def _refuse_other_pairs(plus: Tensor, minus: Tensor, kind: str, made: Settings, job: Job) -> None:
    """Raise InputError on every process if one of them has other data or settings, or they cannot send data."""
    if job.processes.group is None:
        return
    reason = why_no_messages(plus.device.type, served_devices(job.processes.group))
    mine = {"print": fingerprint(plus, minus, kind, made, job.seed), "backend": job.backend}
    told = job.processes.agree(mine, None if reason is None else InputError(reason))
    for rank, other in enumerate(told):
        if other != told[0]:
            raise shared(
                InputError(
                    "group: expected the same data, kind, settings, seed and backend on all processes, got others on"
                    f" process {rank} than on process 0"
                )
            )


def _made(kind: str, settings: dict[str, Any]) -> Settings:
    """The settings of ``kind``, checked."""
    made = KINDS[checks.choice("kind", kind, KINDS)]
    known = [f.name for f in dataclasses.fields(made)]  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise InputError(f"{name}: expected a setting of kind={kind!r}, which has {', '.join(known)}")
    return made(**settings)


def _data(name: str, value: Tensor | np.ndarray) -> Tensor:
    """One set as [N, D], finite and not empty."""
    if isinstance(value, np.ndarray):
        try:
            with warnings.catch_warnings():  # of a read-only array, which nothing here writes to
                warnings.simplefilter("ignore", UserWarning)
                value = torch.from_numpy(value)
        except TypeError:
            raise InputError(
                f"{name}: expected numbers that torch can hold, got dtype {value.dtype}"
            ) from None
    checks.instance(name, value, Tensor, "a tensor or a numpy array")
    if value.ndim < 2 or 0 in value.shape:
        raise InputError(
            f"{name}: expected at least one datum and one feature, got shape {tuple(value.shape)}"
        )
    flat = checks.tensor(name, value.detach().flatten(1), ndim=2)
    return checks.finite(name, flat)


def fingerprint(plus: Tensor, minus: Tensor, kind: str, settings: Settings, seed: int) -> str:
    """What a coupling depends on, in 24 hexadecimal digits."""
    told = [_FORMAT, kind, seed, dataclasses.asdict(settings)]  # type: ignore[call-overload]
    told += [[str(data.dtype), list(data.shape)] for data in (plus, minus)]
    found = hashlib.sha256(json.dumps(told).encode())
    for data in (plus, minus):
        rows = max(1, _HASHED // (data.shape[1] * data.dtype.itemsize))
        for part in data.split(rows):
            found.update(part.contiguous().view(torch.uint8).cpu().numpy())
    return found.hexdigest()[:24]


_TENSORS = ("plus", "minus", "weight", "distance", "evaluations")


def save(coupling: Coupling, path: Path) -> None:
    """Write a coupling as one safetensors file, and what it says of itself beside it as JSON.

    Raises:
        RunError: it cannot be written.
    """
    from ..sealed import save_tensors

    told = {"kind": coupling.kind, "counts": coupling.counts, "numbers": coupling.numbers}
    write_text(path.with_suffix(".json"), json.dumps(told, indent=1) + "\n")
    names = [
        *_TENSORS,
        *(n for n in ("potential_plus", "potential_minus") if getattr(coupling, n) is not None),
    ]
    save_tensors(path, "coupling", {name: getattr(coupling, name) for name in names})


def load(path: Path) -> Coupling:
    """Read what :func:`save` wrote.

    Raises:
        RunError: a file is missing or damaged.
    """
    from ..sealed import load_tensors

    beside = path.with_suffix(".json")
    try:
        told = json.loads(beside.read_text("utf-8"))
        tensors: dict[str, Any] = load_tensors(path)
        return Coupling(told["kind"], **tensors, counts=told["counts"], numbers=told["numbers"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{beside} is missing or damaged ({problem}): remove it and {path}") from None

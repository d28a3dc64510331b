"""Training by many processes, as torchrun starts them: who they are, what each computes, and how they go on together.

All draw the same batch, which is a function of (seed, step), and each learns from its own part of the points. The
gradients are averaged, so that weights are the same everywhere and those of one process up to rounding.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..config import Config, TrainConfig
from ..errors import EfmError, InputError, RunError
from ..files import write_text
from ..methods import Method
from ..processes import Processes, served_devices, shared, told_if_lost, why_no_messages
from ..runs.run import resolve_device
from ..streams import Stream, step_generator
from .state import TrainingState

_LAUNCH = "launch.json"
_ROUNDING = 1e-5  # of the data's size, by which their means may differ between machines
_MORE = 5.0  # seconds after its timeout in which a meeting ends by itself
_ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_Result = TypeVar("_Result")


@contextlib.contextmanager
def joined(config: Config) -> Iterator[Processes]:
    """The processes of this job: those that torchrun started, those of a group that is there already, or this one.

    Raises:
        RunError: the processes cannot find each other, or one of them is lost inside the block.
        EfmError: what goes wrong on one process inside the block, on all of them.
    """
    begun = dist.is_available() and dist.is_initialized()
    launched = not begun and dist.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if launched:
        _begin(config)
    processes = Processes.of() if begun or launched else Processes.alone()
    seconds = config.train.timeout if launched else None  # a group that was there has a time of its own
    try:
        with contextlib.nullcontext() if processes.group is None else told_if_lost(seconds):
            try:
                yield processes
            except EfmError as problem:
                if not problem.shared:
                    _tell(problem, processes)
                raise
    finally:
        if launched:
            dist.destroy_process_group()


def _tell(problem: EfmError, processes: Processes) -> None:
    try:
        processes.agree({}, problem)
    except EfmError:
        raise
    except RuntimeError:  # nobody listens any more
        raise problem from None


def _begin(config: Config) -> None:
    missing = [name for name in _ADDRESS if name not in os.environ]
    if missing:
        raise RunError(
            f"WORLD_SIZE asks for many processes without {', '.join(missing)}: start them by torchrun"
        )
    library = "gloo"
    # check_job tells of a device that is not there, when all processes have met
    with contextlib.suppress(InputError):
        device = resolve_device(local_device(config.device))
        if device.type == "cuda":
            torch.cuda.set_device(device)
            library = "cpu:gloo,cuda:nccl"
    patience = datetime.timedelta(seconds=config.train.timeout)
    try:
        store, rank, size = _within(
            config.train.timeout, lambda: next(dist.rendezvous("env://", timeout=patience))
        )
        store = keys_of_this_start(store, rank, size, config.train.timeout)
        dist.init_process_group(library, store=store, rank=rank, world_size=size, timeout=patience)
    except (RuntimeError, ValueError) as problem:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        text = " ".join(str(problem).split())[:160]
        raise RunError(
            f"the processes did not find each other at {where}: {text}. A port that is taken: start torchrun with"
            " --standalone, or another --master-port"
        ) from None


def _within(seconds: float, meet: Callable[[], _Result]) -> _Result:
    """What ``meet`` returns, or its error.

    A store waits for ever for a server that takes its call and says nothing, as a program of someone else does.

    Raises:
        RuntimeError: nothing came within ``seconds`` and the few more in which ``meet`` should have given up itself.
    """
    answer: Future[_Result] = Future()

    def call() -> None:
        try:
            answer.set_result(meet())
        except Exception as problem:
            answer.set_exception(problem)

    # a program waits at its end for threads of a pool, but not for this one
    threading.Thread(target=call, daemon=True).start()
    try:
        return answer.result(seconds + _MORE)
    except FutureTimeout:
        raise RuntimeError(
            f"what listens there did not answer within {seconds:g} s (train.timeout)"
        ) from None


def keys_of_this_start(store: dist.Store, rank: int, size: int, seconds: float) -> dist.Store:
    """A part of ``store`` that holds nothing from an earlier start of the job.

    torchrun keeps one store over its restarts. In it are the addresses of the processes that have died, under the
    same keys as those of the new ones; a process that reads an old one waits for a process that is gone. The number of
    restarts does not tell starts apart, since every machine counts its own. So every other process asks under a random
    name, and the first process answers with a random name for this start, under which all keys lie from then on.

    Args:
        store: that all processes of the job reach.
        rank: of this process.
        size: how many there are.
        seconds: after which processes that have not come are given up.

    Raises:
        RuntimeError: a process did not come.
    """
    mine = uuid.uuid4().hex
    if rank > 0:
        store.set(f"efm_fast/asks/{rank}", mine)
        start = store.get(f"efm_fast/answer/{mine}").decode()
        store.set(f"efm_fast/{start}/has/{rank}", "")
        return dist.PrefixStore(f"efm_fast/{start}", store)
    missing, end = set(range(1, size)), time.monotonic() + seconds
    while missing:
        missing -= {other for other in missing if store.check([f"efm_fast/{mine}/has/{other}"])}
        for other in missing:
            question = f"efm_fast/asks/{other}"
            # a process that has died may have asked: one more answer does no harm
            if store.check([question]):
                store.set(f"efm_fast/answer/{store.get(question).decode()}", mine)
        if missing and time.monotonic() > end:
            raise RuntimeError(
                f"process {min(missing)} of {size} did not come within {seconds:g} s (train.timeout)"
            )
        time.sleep(0.01)
    return dist.PrefixStore(f"efm_fast/{mine}", store)


def local_device(name: str) -> str:
    """The device of this process where ``name`` leaves the GPU open: torchrun's processes have one each."""
    rank = os.environ.get("LOCAL_RANK")
    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{rank}" if rank is not None and on_gpu else name


def check_job(config: Config, processes: Processes) -> None:
    """Let all processes compare what they are to do.

    Raises:
        InputError: their settings differ, they cannot share the batch equally, one has no such device, or their
            tensors cannot travel.
    """
    # one process has nobody to differ from, and its data are checked where they become sources
    settings = config.to_yaml() if processes.size > 1 else ""
    texts = [one["settings"] for one in processes.agree({"settings": settings})]
    for rank, text in enumerate(texts):
        if text != texts[0]:
            pairs = zip(texts[0].splitlines(), text.splitlines(), strict=False)
            ours, theirs = next((a.strip(), b.strip()) for a, b in pairs if a != b)
            raise InputError(
                f"cfg: expected the same settings on all processes, got {ours} on process 0"
                f" and {theirs} on process {rank}"
            )
    parts = processes.size * config.train.accumulate
    if config.train.batch % parts:
        raise InputError(
            f"train.batch: expected a multiple of {parts}, {processes.size} processes times train.accumulate ="
            f" {config.train.accumulate}, got {config.train.batch}"
        )
    if processes.group is not None:
        device = resolve_device(local_device(config.device))
        reason = why_no_messages(device.type, served_devices(processes.group))
        if reason is not None:
            raise InputError(reason)


def check_data(config: Config, method: Method, step: int, processes: Processes) -> None:
    """Let all processes compare the data that they draw for ``step``: each reads files of its own machine.

    Rounding may differ between machines, so some means are compared, not bits.

    Raises:
        InputError: their data differ.
    """
    if processes.size == 1:
        return
    drawn = {}
    for plate, source, stream in (
        ("plus", method.problem.plus, Stream.PLUS),
        ("minus", method.problem.minus, Stream.MINUS),
    ):
        rows = source.draw(method.charges(config.train.batch), step_generator(config.seed, step, stream))
        values = rows.double().flatten()
        places = torch.linspace(-1.0, 1.0, len(values), dtype=torch.float64, device=values.device)
        means = [float(v.mean()) for v in (values, values * places)]
        size = float(values.square().mean().sqrt())
        drawn[plate] = {"shape": list(rows.shape[1:]), "means": means, "size": size}
    told = processes.agree(drawn)
    for plate, ours in told[0].items():
        near = _ROUNDING * ours["size"]
        for rank, other in enumerate(told):
            theirs = other[plate]
            if theirs["shape"] != ours["shape"]:
                difference = f"rows of {ours['shape']} on process 0 and {theirs['shape']}"
            elif any(abs(a - b) > near for a, b in zip(ours["means"], theirs["means"], strict=True)):
                pair = [one["means"][0] for one in (ours, theirs)]
                difference = f"others, of mean {pair[0]:.6g} on process 0 and {pair[1]:.6g}"
            else:
                continue
            raise shared(
                InputError(
                    f"{plate}: expected the same data on all processes, got {difference} on process {rank}"
                    f" in the batch of step {step}"
                )
            )


def parts_of(train: TrainConfig, processes: Processes) -> list[slice]:
    """The rows of the batch from which this process learns, a slice for each backward pass."""
    rows = train.batch // (processes.size * train.accumulate)
    first = processes.rank * train.accumulate
    return [slice(k * rows, (k + 1) * rows) for k in range(first, first + train.accumulate)]


def averaging(network: nn.Module, loss: Tensor, processes: Processes) -> nn.Module:
    """``network`` such that a backward pass averages the gradients of all processes.

    Args:
        network: of this process, with the same weights on all.
        loss: of the network, to find out which weights it reaches; its gradient is taken and thrown away.
        processes: who trains.
    """
    if processes.size == 1:
        return network
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    reached = torch.autograd.grad(loss, weights, allow_unused=True)
    return DistributedDataParallel(
        network,
        process_group=processes.group,
        find_unused_parameters=any(gradient is None for gradient in reached),
    )


def is_many() -> bool:
    """Whether this process is one of several of a job."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def begin_sharding(state: TrainingState, config: Config, processes: Processes) -> None:
    """Cut ``state`` over the processes, if they are many and the settings ask for it."""
    if processes.group is not None and processes.size > 1 and config.train.sharding == "fsdp":
        from torch.distributed.device_mesh import DeviceMesh

        device = resolve_device(local_device(config.device))
        state.shard(DeviceMesh.from_group(processes.group, device.type), device)


def mean_over(processes: Processes, value: float) -> float:
    """The mean of one number of every process."""
    told: Sequence[dict[str, float]] = processes.agree({"value": value})
    return sum(one["value"] for one in told) / processes.size


def write_launch(folder: Path, launchers: list[str]) -> None:
    """Leave in a new run folder who launched the job, if torchrun did."""
    if any(launchers):
        write_text(folder / _LAUNCH, json.dumps({"launchers": launchers}))


def launchers(processes: Processes) -> list[str]:
    """Who launched each process: the torchrun of its machine; "" where none did."""
    mine = ""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        mine = f"{socket.gethostname()} {os.getppid()} {os.environ['TORCHELASTIC_RUN_ID']}"
    return [one["launcher"] for one in processes.agree({"launcher": mine})]


def launcher_lost(parent: int) -> RunError | None:
    """What to say if torchrun started this process and has ended since: whoever starts a new one must not meet this.

    Args:
        parent: ``os.getppid()`` when the training began.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.getppid() == parent:
        return None
    return RunError(
        "torchrun, which started this process, has ended, and so does this one; the last checkpoint is whole"
    )


def is_restart(folder: Path, launched_by: list[str]) -> bool:
    """Whether the run in ``folder`` was begun by this very job, which torchrun has started again since."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return False
    try:
        begun_by = json.loads((folder / _LAUNCH).read_text(encoding="utf-8"))["launchers"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(set(begun_by) & set(launched_by) - {""})

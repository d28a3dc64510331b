"""The processes of one job on torch.distributed: what they tell each other, and how a mistake of one ends all.

A mistake that one process finds is told to all of them, and every one raises the same error.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import BackendUnavailableError, EfmError, InputError, RunError

_FIRST_LOOK = 1024  # bytes that the first of two messages holds; a longer one takes the second
_LENGTH = 8
_KINDS = {kind.__name__: kind for kind in (InputError, BackendUnavailableError, RunError)}
_LOST = ("gloo", "nccl", "timed out", "timeout", "connection", "peer", "socket", "store")
_Result = TypeVar("_Result")


@dataclass
class Processes:
    """The processes of a group, as one of them sees the others.

    Attributes:
        group: of torch.distributed; None for a process on its own.
        rank: of this process in the group.
        size: how many there are.
        sent: bytes of tensors that this process has sent to others; short messages are not counted.
    """

    group: dist.ProcessGroup | None
    rank: int
    size: int
    sent: int = field(default=0, compare=False)

    @classmethod
    def of(cls, group: object = None) -> Processes:
        """The processes of ``group``, None for all.

        Raises:
            InputError: there is no such group here.
        """
        if not (dist.is_available() and dist.is_initialized()):
            raise InputError(
                "group: expected processes that torchrun started and init_process_group joined, got none"
            )
        found = dist.group.WORLD if group is None else group
        if not isinstance(found, dist.ProcessGroup):
            what = (
                "one that this process is not in"
                if found == dist.GroupMember.NON_GROUP_MEMBER
                else type(found)
            )
            raise InputError(f"group: expected a process group of torch.distributed, got {what}")
        name = found.group_name
        if name not in _KNOWN or _KNOWN[name].group is not found:
            _KNOWN[name] = cls(found, dist.get_rank(found), dist.get_world_size(found))
        return _KNOWN[name]

    @classmethod
    def alone(cls) -> Processes:
        """A process on its own, which has nobody to tell."""
        return cls(None, 0, 1)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where short messages live: the CPU, or the GPU if the group knows nothing else."""
        on_cpu = self.group is None or "cpu" in served_devices(self.group)
        return torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device())

    def exchange(self, content: bytes) -> list[bytes]:
        """Every process's ``content``, in the order of ranks."""
        if self.group is None:
            return [content]
        length = len(content).to_bytes(_LENGTH, "little")
        texts = self._gathered((length + content)[:_FIRST_LOOK], _FIRST_LOOK)
        lengths = [int.from_bytes(text[:_LENGTH], "little") for text in texts]
        if max(lengths) > _FIRST_LOOK - _LENGTH:
            return [t[:n] for t, n in zip(self._gathered(content, max(lengths)), lengths, strict=True)]
        return [text[_LENGTH : _LENGTH + n] for text, n in zip(texts, lengths, strict=True)]

    def agree(self, facts: Mapping[str, Any], problem: EfmError | None = None) -> list[dict[str, Any]]:
        """Every process's ``facts``, plain data, in the order of ranks.

        Raises:
            EfmError: a process came with a ``problem``; every process raises that of the lowest rank.
        """
        if self.group is None:
            if problem is not None:
                raise problem
            return [dict(facts)]
        mine = {"facts": facts} if problem is None else {"kind": type(problem).__name__, "text": str(problem)}
        told = [json.loads(text) for text in self.exchange(json.dumps(mine).encode())]
        for rank, one in enumerate(told):
            if "text" in one:
                same = all(other.get("text") == one["text"] for other in told)
                where = "" if same else f" (process {rank} of {self.size})"
                raise shared(_KINDS.get(one["kind"], RunError)(one["text"] + where)) from None
        return [one["facts"] for one in told]

    def by_first(self, call: Callable[[], _Result]) -> _Result | None:
        """Let the first process run ``call``, and let no process go on before it has ended.

        Returns:
            What it returned, on the first process; None on the others.

        Raises:
            EfmError: of ``call``, on every process.
        """
        result, problem = None, None
        if self.first:
            try:
                result = call()
            except EfmError as found:
                problem = found
        self.agree({}, problem)
        return result

    def gather_rows(self, rows: Tensor, counts: list[int]) -> list[Tensor]:
        """Every process's rows [counts[k], ...], in the order of ranks; shorter ones travel with padding."""
        longest = max(counts)
        padded = rows.contiguous()
        if len(rows) < longest:
            padded = rows.new_zeros(longest, *rows.shape[1:])
            padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded, group=self.group)
        self.sent += (self.size - 1) * padded.nbytes
        return [part[:count] for part, count in zip(found, counts, strict=True)]

    def deal_rows(self, rows: Tensor, to: list[int], of: list[int]) -> list[Tensor]:
        """Send ``to[k]`` of the ``rows``, in their order, to each process k; receive ``of[k]`` from each."""
        found = rows.new_empty(sum(of), *rows.shape[1:])
        dist.all_to_all_single(found, rows.contiguous(), of, to, group=self.group)
        self.sent += (len(rows) - to[self.rank]) * (rows.nbytes // max(1, len(rows)))
        return list(found.split(of))

    def pass_on(self, mine: Tensor, received: Tensor, tag: int) -> list[dist.Work]:
        """Start to send ``mine`` to the process before this one and to receive from the one behind it."""
        assert self.group is not None
        before, behind = (
            dist.get_global_rank(self.group, (self.rank + step) % self.size) for step in (-1, 1)
        )
        self.sent += mine.nbytes
        return dist.batch_isend_irecv(
            [
                dist.P2POp(dist.isend, mine, before, self.group, tag),
                dist.P2POp(dist.irecv, received, behind, self.group, tag),
            ]
        )

    def _gathered(self, content: bytes, size: int) -> list[bytes]:
        mine = torch.frombuffer(bytearray(content.ljust(size, b"\0")), dtype=torch.uint8).to(self.device)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine, group=self.group)
        return [bytes(part.cpu().numpy()) for part in found]


_KNOWN: dict[str, Processes] = {}


def served_devices(group: dist.ProcessGroup) -> dict[str, str]:
    """Which library of messages serves which type of device, such as {"cpu": "gloo", "cuda": "nccl"}."""
    pairs = (part.partition(":") for part in dist.get_backend_config(group).split(","))
    return {device: library for device, _, library in pairs}


def why_no_messages(device_type: str, served: Mapping[str, str]) -> str | None:
    """A sentence that says why tensors on ``device_type`` cannot travel in a group that serves ``served``, or None."""
    library = served.get(device_type)
    if library is None or (device_type == "cuda" and library == "gloo"):
        known = ", ".join(f"{name} for {device}" for device, name in served.items())
        return (
            f"group: expected one that carries {device_type} tensors, got {known}; for CUDA start it with nccl,"
            " for the CPU with gloo"
        )
    return None


def alike(processes: Processes) -> dist.ProcessGroup:
    """A group of the same processes for messages from another thread, over Gloo; all come here together."""
    assert processes.group is not None
    made = dist.new_group(dist.get_process_group_ranks(processes.group), backend="gloo")
    assert isinstance(made, dist.ProcessGroup)  # this process is in it
    return made


def shared(problem: EfmError) -> EfmError:
    """Mark ``problem`` as one that every process raises, so that the first alone says it."""
    problem.shared = True
    return problem


@contextlib.contextmanager
def told_if_lost(seconds: float | None = None) -> Iterator[None]:
    """Turn the error of a message that did not arrive into one sentence.

    Args:
        seconds: after which a message is given up, for the text.

    Raises:
        RunError: another process has ended, or hangs.
    """
    try:
        yield
    except RuntimeError as problem:
        text = " ".join(str(problem).split())
        known = isinstance(problem, dist.DistError) or any(word in text.lower() for word in _LOST)
        if isinstance(problem, EfmError) or not known:
            raise
        waited = "" if seconds is None else f" within {seconds:g} s (train.timeout)"
        raise RunError(
            f"another process of the job has ended or does not answer{waited}; this one ends too ({text[:120]})"
        ) from None

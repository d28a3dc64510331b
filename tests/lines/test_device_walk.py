"""The walk as a CUDA device takes it: fixed shapes, several steps between two looks of the host, graphs of steps."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from efm_fast.field import backends
from efm_fast.lines import Lines, LineStatus
from efm_fast.lines.engine import pace, summed_walk
from efm_fast.lines.engine.choice import LineProblem
from efm_fast.lines.engine.pace import Pace
from efm_fast.lines.engine.summed_walk import SummedWalk
from efm_fast.lines.geometry.discs import DiscGeometry
from efm_fast.lines.geometry.support import Support
from efm_fast.lines.integrate.steps import StepRule
from efm_fast.types import Plates

from .test_summed_walk import D, capacitor, starts, traced

PLATES = capacitor(0.5)
#: As on a CUDA device, but with so few rows that lines wait, end, and leave rows without a line.
DEVICE = Pace(8, steps=4, tile=2)


def coinciding() -> Plates:
    """Minus charges at fewer places, from 1 to 9 charges each."""
    at = torch.randint(0, 60, (len(PLATES.minus),), generator=torch.Generator().manual_seed(3))
    return Plates(PLATES.plus, PLATES.minus[at], PLATES.L)


def assert_same(found: Lines, want: Lines) -> None:
    """The same lines, bit for bit: rows of the reference's sums do not depend on how many rows there are."""
    for name in ("end", "end_z", "status", "charge", "length", "evaluations"):
        a, b = getattr(found, name), getattr(want, name)
        assert torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0)), name


@pytest.mark.parametrize("method", ["bs23", "dopri5"])
@pytest.mark.parametrize("n", [0, 1, 6, 24])
def test_lines_are_those_of_the_host_s_pace(n, method, monkeypatch):
    x, z = starts(PLATES, max(n, 1))
    x, z = x[:n], z[:n]
    want = traced(PLATES, x, z, method=method, backend="reference")
    monkeypatch.setattr(summed_walk, "CPU", DEVICE)
    assert_same(traced(PLATES, x, z, method=method, backend="reference"), want)


def test_lines_that_fail_return_ask_in_vain_or_reach_their_limit(monkeypatch):
    plates = coinciding()
    x, z = starts(plates, 40)
    x[3], z[5] = torch.nan, torch.inf
    x[7], z[7] = plates.plus[5], 0.0
    z[20:30] -= 1e6  # beyond the far radius, where lines come back as mirror images
    answers = []
    answer = SummedWalk._answer
    monkeypatch.setattr(SummedWalk, "_answer", lambda self, n: answers.append(answer(self, n)) or answers[-1])
    for limit in (2000, 20):
        want = traced(plates, x, z, max_steps=limit, backend="reference")
        with monkeypatch.context() as patch:
            patch.setattr(summed_walk, "CPU", DEVICE)
            assert_same(traced(plates, x, z, max_steps=limit, backend="reference"), want)
    assert want.status[[3, 5, 7]].tolist() == [LineStatus.FAILED] * 3
    assert (want.status == LineStatus.STEP_LIMIT).any()
    assert sum(answers) > 10


def test_widths_hold_the_lines_under_way_and_are_few():
    assert [Pace(512).width(n) for n in (1, 7, 512, 900)] == [1, 7, 512, 512]
    widths = {pace.CUDA.width(n): n for n in range(1, 5000)}
    assert widths == {128: 128, 256: 256, 512: 512, 1024: 1024, 2048: 4999}


class Tape:
    """A stand-in for a CUDA graph: operations of a step, recorded and run again on the same memory."""

    recorded = replayed = 0

    def __init__(self) -> None:
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def pool(self) -> None:
        return None

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        tape = self

        class Recorder(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                tape.done.append((func, args, kwargs or {}, out))
                return out

        Tape.recorded += 1
        with Recorder():
            yield

    def replay(self) -> None:
        Tape.replayed += 1
        for func, args, kwargs, out in self.done:
            if func.is_view:
                continue
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


def test_a_recorded_step_goes_on_as_the_walk_does(monkeypatch):
    plates = coinciding()
    x, z = starts(plates, 12)
    x[3] = torch.nan
    monkeypatch.setattr(summed_walk, "CPU", DEVICE)
    want = traced(plates, x, z, backend="reference")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **options: graph.capture())
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    stepper = SummedWalk._stepper
    monkeypatch.setattr(
        SummedWalk, "_stepper", lambda walk, at: pace.Replayed(stepper(walk, at), walk.points.device)
    )
    Tape.recorded = Tape.replayed = 0
    assert_same(traced(plates, x, z, backend="reference"), want)
    assert Tape.recorded == 3  # one for each width: 8, 4, 2
    assert Tape.replayed > 20


class NoWaiting(TorchDispatchMode):
    """Fails at an operation for whose result or shape the host must wait."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert name not in self.names
        if name.startswith(("index", "_index")):
            indices = [part for part in tree_leaves(args[1]) if isinstance(part, torch.Tensor)]
            assert all(part.dtype == torch.int64 for part in indices), f"{name} by a mask"
        return func(*args, **(kwargs or {}))


def walk_of(method: str, backend: str, lift: float = 0.0) -> SummedWalk:
    x, z = starts(PLATES, 40)
    z = z + lift
    support = Support.of(PLATES.plus, PLATES.minus)
    rule = StepRule(method, 0.4, 1e-2 / (D + 1) ** 0.5)
    discs = DiscGeometry(support, PLATES.L, layer=0.0, aspect=1.0, far=1e4)
    walk = SummedWalk(LineProblem(x, z, PLATES, method=method), rule, discs, backend)
    walk.max_steps = 100
    walk._begin(walk.running(), 40)
    return walk


@pytest.mark.parametrize("method", ["bs23", "dopri5"])
def test_a_line_knows_the_field_where_it_is_also_at_its_mirror_image(method):
    walk = walk_of(method, "reference", lift=-1e6)  # beyond the far radius
    moves = 0
    for _ in range(4):
        walk.advance(walk._rows(16))
        moves += int(walk.moved.sum())
        known = torch.arange(16)[~walk.moved[:16]]
        view = walk.sums(walk.points[known])
        torch.testing.assert_close(walk.first[known], view.rate)
        torch.testing.assert_close(walk.nearest[known], view.nearest)
    assert moves > 0


@pytest.mark.parametrize("method", ["bs23", "dopri5"])
def test_the_host_waits_for_nothing_in_a_step(method):
    walk = walk_of(method, "torch")
    with NoWaiting():
        for width in (16, 64):
            walk.advance(walk._rows(width))
    assert (walk.taken[:16] == 2).all()
    with pytest.raises(AssertionError), NoWaiting():
        walk._look()
    with pytest.raises(AssertionError, match="by a mask"), NoWaiting():
        walk.points[walk.rejected]


@pytest.mark.parametrize("d", [D, 300])
def test_a_step_with_the_sums_of_a_gpu_runs_on_tensors_without_memory(d, monkeypatch):
    kernels = pytest.importorskip("efm_fast.kernels", reason="the kernels need triton")
    if kernels.INTERPRET:
        pytest.skip("TRITON_INTERPRET is set: nothing can be recorded")
    walk = walk_of("bs23", "torch")
    triton = importlib.import_module("efm_fast.field.backends.triton")
    served = SimpleNamespace(centred_sum=lambda request: backends._centred_sum(triton, request))
    monkeypatch.setattr(backends, "select", lambda request, name: served)

    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.new_empty(
            [d + size - D if size in (D, D + 1) else size for size in value.shape], device="meta"
        )

    for holder in (walk, walk.sums):
        for name, value in vars(holder).items():
            setattr(holder, name, moved(value))
    walk.sums.plates = Plates(moved(PLATES.plus), moved(PLATES.minus), PLATES.L)
    vars(walk.discs)["dipole"] = tuple(map(moved, walk.discs.dipole))
    with kernels.ahead.recorded() as launches:
        walk.advance(walk._rows(256))
    names = {launch.name for launch in launches}
    assert names >= {"split_rows", "merge_splits", "sum_fused" if d == D else "distances"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no CUDA device")
@pytest.mark.parametrize("method", ["bs23", "dopri5"])
@pytest.mark.parametrize("n", [1, 100])
def test_a_graph_of_a_cuda_device_gives_the_ends_of_the_cpu(n, method, monkeypatch):
    there = Plates(PLATES.plus.cuda(), PLATES.minus.cuda(), PLATES.L)
    x, z = starts(PLATES, n)
    want = traced(PLATES, x, z, method=method)
    replay = torch.cuda.CUDAGraph.replay
    replays = []

    def strict(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(graph)
        torch.cuda.set_sync_debug_mode("error")
        try:
            replay(graph)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", strict)
    ours = traced(there, x.cuda(), z.cuda(), method=method)
    assert replays
    assert ours.arrived.all()
    same = ours.charge.cpu() == want.charge
    assert same.double().mean() >= 0.98
    assert torch.equal(ours.end.cpu()[same], want.end[same])
    assert (ours.length.cpu() / want.length - 1)[same].abs().quantile(0.9) < 1e-3
    again = traced(there, x.cuda(), z.cuda(), method=method)
    assert torch.equal(again.length, ours.length)
    assert torch.equal(again.evaluations, ours.evaluations)

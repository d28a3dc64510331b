"""Lines and updates on a CUDA device against the CPU's, which run the same headers; by ``make gpu``."""

from __future__ import annotations

import signal

import pytest
import torch

from efm_fast import native
from efm_fast.lines import ExactField, LineStatus, forward_map, launch, trace_lines
from efm_fast.lines.engine import extension as engine
from efm_fast.lines.integrate.slope_step import means_step, slope_step
from efm_fast.types import PlatePosterior, Plates

from .conftest import gaussian
from .test_engines import assert_bitwise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        native.why_missing() is not None or not hasattr(native.extension(), "cuda_trace_lines"),
        reason="the extension was built without its CUDA part",
    ),
]
L = 3.0


def on(device: str, d: int, m: int = 300) -> Plates:
    return Plates(gaussian(m, 0, d).to(device), (0.5 * gaussian(m + 5, 1, d)).to(device), L)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 11, 16])
@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_traced_lines_agree_with_the_cpu(d, method):
    here, there = on("cpu", d), on("cuda", d)
    x, z = launch(here.plus, torch.arange(200), seed=3)
    ours = trace_lines(x.cuda(), z.cuda(), there.plus, there.minus, L, method=method, backend="cpp")
    twin = trace_lines(x, z, here.plus, here.minus, L, method=method)
    same = ours.charge.cpu() == twin.charge
    assert same.double().mean() > 0.98
    assert (ours.length.cpu() / twin.length - 1)[same].abs().quantile(0.9) < 1e-3
    assert torch.equal(ours.end.cpu()[same], twin.end[same])


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7, 16])
def test_forward_lines_agree_with_the_cpu(d):
    x0 = gaussian(100, 5, d)
    settings = {"steps": 30, "method": "midpoint", "spacing": "log", "return_paths": True, "every": 4}
    ours = forward_map(ExactField(on("cuda", d)), x0.cuda(), backend="cpp", **settings)
    twin = forward_map(ExactField(on("cpu", d)), x0, **settings)
    assert ours.paths.shape == twin.paths.shape
    assert (ours.paths.cpu() - twin.paths).norm(dim=2).quantile(0.9) < 1e-2


def test_a_line_is_bitwise_the_same_in_any_company_and_every_time():
    plates = on("cuda", 2)
    x, z = (part.cuda() for part in launch(plates.plus.cpu(), torch.arange(150), seed=3))

    def ends(rows: slice, spoil: bool = False) -> torch.Tensor:
        starts = x[rows].clone()
        if spoil:
            starts[0] = torch.nan
        return trace_lines(starts, z[rows], plates.plus, plates.minus, L, backend="cpp").length

    every = ends(slice(None))
    for _ in range(20):
        assert torch.equal(every, ends(slice(None)))
    assert torch.equal(every[40:90], ends(slice(40, 90)))
    assert torch.equal(every[41:90], ends(slice(40, 90), spoil=True)[1:])


def test_hard_starts_on_a_side_stream():
    plates = on("cuda", 2)
    x = torch.stack([plates.plus[3], torch.full((2,), torch.nan, device="cuda"), plates.plus[5] + 0.1])
    z = torch.tensor([0.0, 0.5, 0.1], device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        lines = trace_lines(x, z, plates.plus, plates.minus, L, backend="cpp")
    stream.synchronize()
    assert lines.status[:2].tolist() == [LineStatus.FAILED] * 2
    assert lines.arrived[2]
    empty = trace_lines(x[:0], z[:0], plates.plus, plates.minus, L, backend="cpp")
    assert empty.end.shape == (0, 2)


def plan_with(monkeypatch, **settings) -> None:
    """Let every plan of launches have these ``settings``: split, lines, turns."""

    def plan(extension, n, plates, place):
        found = extension.line_plan(n, plates, 132)
        for name, value in settings.items():
            setattr(found, name, value)
        return found

    monkeypatch.setattr(engine, "device_plan", plan)


@pytest.mark.parametrize("kind", ["trace", "forward"])
@pytest.mark.parametrize(("d", "m"), [(2, 300), (2, 20_000), (5, 9000), (16, 9000)])
def test_launches_of_any_length_and_segments_give_the_same_bits(monkeypatch, kind, d, m):
    plates = on("cuda", d, m)
    x, z = (part.cuda() for part in launch(plates.plus.cpu(), torch.arange(5), seed=3))

    def follow():
        if kind == "trace":
            settings = {"max_steps": 60, "return_paths": True, "every": 3}
            return trace_lines(x, z, plates.plus, plates.minus, L, backend="cpp", **settings)
        return forward_map(ExactField(plates), x, steps=20, backend="cpp", return_paths=True, every=3)

    plan_with(monkeypatch, split=False, lines=5, turns=1 << 40)
    once = follow()
    plans = (
        {"split": False, "turns": 3},
        {"split": False, "lines": 2, "turns": 50},
        {"split": True, "turns": 7},
    )
    for settings in plans:
        plan_with(monkeypatch, **settings)
        other = follow()
        assert_bitwise(once, other)
        assert torch.equal(once.paths, other.paths)


def test_ctrl_c_stops_lines_between_two_launches(monkeypatch):
    plan_with(monkeypatch, split=False, turns=1)
    field, x = ExactField(on("cuda", 2)), gaussian(16, 5).cuda()
    forward_map(field, x, steps=2, backend="cpp")

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            forward_map(field, x, steps=2_000_000, backend="cpp")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    monkeypatch.undo()
    assert forward_map(field, x, steps=2, backend="cpp").end.isfinite().all()  # the device still works


@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 2), (17, 33), (256, 3072), (0, 4)])
def test_updates_agree_with_the_cpu(n, d):
    base, direction = gaussian(n, 0, d), gaussian(n, 1, d + 1)
    ours = slope_step(base.cuda(), direction.cuda(), 0.2, 30.0).cpu()
    assert torch.allclose(ours, slope_step(base, direction, 0.2, 30.0), rtol=1e-4, atol=1e-4)
    share = torch.rand(n, generator=torch.Generator().manual_seed(1))
    means = PlatePosterior(share, gaussian(n, 2, d), gaussian(n, 3, d))
    on_gpu = PlatePosterior(share.cuda(), means.mean_plus.cuda(), means.mean_minus.cuda())
    ours = means_step(base.cuda(), base.cuda(), 0.7, on_gpu, L, 0.2, 30.0).cpu()
    assert torch.allclose(ours, means_step(base, base, 0.7, means, L, 0.2, 30.0), rtol=1e-4, atol=1e-4)

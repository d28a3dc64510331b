"""Sums over charges on several processes, compared with one process in float64; run by test_sums.py."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from launch import join
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
from field_checks import assert_field_close, assert_sum_close

from efm_fast import (
    Sharding,
    capacitor_field,
    capacitor_potential,
    energy,
    gaussian_sum,
    potential,
    riesz_sum,
)
from efm_fast.errors import BackendUnavailableError, InputError
from efm_fast.field.queries import KINDS, promised_error, query_set
from efm_fast.processes import Processes

RANK, SIZE = join()
torch.manual_seed(0)  # the same points on every process
MODES = [Sharding(), Sharding(points="sharded", mode="ring"), Sharding(points="sharded", mode="gather")]


def part(rows: Tensor, ragged: bool = True) -> Tensor:
    """The rows that this process has of all."""
    if not ragged:
        return rows.tensor_split(SIZE)[RANK]
    cuts = [len(rows) * k // SIZE * 3 // 4 for k in range(SIZE)] + [len(rows)]
    if SIZE > 2:
        cuts[-2] = len(rows)  # nothing for the last process
    return rows[cuts[RANK] : cuts[RANK + 1]]


def own(rows: Tensor, how: Sharding) -> Tensor:
    """The points that this process asks about."""
    return rows if how.points == "replicated" else rows.tensor_split(SIZE)[RANK]


def check_fields_at_all_kinds_of_points() -> None:
    for d in (3, 96):
        for kind in KINDS:
            for uint8 in (False, True):
                q = query_set(kind, 24, 180, d, uint8=uint8)
                want = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend="reference")
                for how in MODES:
                    got = capacitor_field(
                        own(q.x, how), own(q.z, how), part(q.plus), part(q.minus), q.L, group=how
                    )
                    rows = [own(part_, how) for part_ in (want.direction, want.log_norm)]
                    assert_field_close(got, type(want)(*rows), promised_error(kind, d), 1e-3)


def check_sums_with_weights_heights_and_pairs_left_out() -> None:
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(41, 5, generator=generator)
    weight = torch.randn(41, generator=generator)
    height = torch.rand(41, generator=generator)
    for options in ({"height": height}, {"weight": weight}, {"first_self": 0}, {"softening": 0.3}):
        want = riesz_sum(y, y, power=6, backend="reference", **options)
        for how in MODES:
            if how.points == "sharded":
                mine = {k: part(v) if isinstance(v, Tensor) else v for k, v in options.items()}
                points = part(y)
            else:
                mine, points = dict(options), y
                if "weight" in options:
                    mine["weight"] = part(weight)
            got = riesz_sum(points, part(y), power=6, group=how, **mine)
            rows = [part(v) if how.points == "sharded" else v for v in (want.m, want.w, want.v)]
            assert_sum_close(got, type(want)(*rows), 1e-5, 5.0)
    want = gaussian_sum(y, y, bandwidth=0.7, height=2.0, backend="reference")
    assert_sum_close(gaussian_sum(y, part(y), bandwidth=0.7, height=2.0, group=Sharding()), want, 1e-5, 5.0)


def check_no_charges_anywhere_is_the_empty_sum() -> None:
    x = torch.randn(5, 3)
    for how in MODES:
        total = riesz_sum(own(x, how), torch.empty(0, 3), power=4, group=how)
        assert torch.isneginf(total.m).all()
        assert total.v.shape == own(x, how).shape


def check_potentials_and_energy() -> None:
    q = query_set("flux", 12, 60, 4)
    want = potential(q.x, q.plus, height=q.z, backend="reference")
    got = potential(q.x, part(q.plus), height=q.z, group=dist.group.WORLD)
    torch.testing.assert_close(got.log_abs, want.log_abs, rtol=1e-5, atol=1e-5)
    weight = torch.rand(60, generator=torch.Generator().manual_seed(3))
    want = capacitor_potential(q.x, q.z, q.plus, q.minus, q.L, plus_weight=weight, backend="reference")
    got = capacitor_potential(
        q.x, q.z, part(q.plus), part(q.minus), q.L, plus_weight=part(weight), group=Sharding()
    )
    torch.testing.assert_close(got.value(), want.value(), rtol=1e-4, atol=1e-9)
    want = energy(q.plus, q.minus, q.L, plus_weight=weight, backend="reference")
    got = energy(part(q.plus), part(q.minus), q.L, plus_weight=part(weight), group=dist.group.WORLD)
    torch.testing.assert_close(got.value(), want.value(), rtol=1e-4, atol=1e-9)


def check_the_same_bits_twice_and_on_every_process() -> None:
    q = query_set("flux", 50, 300, 16)
    for how in MODES:
        x, z = own(q.x, how), own(q.z, how)
        one, two = (
            capacitor_field(x, z, part(q.plus), part(q.minus), q.L, group=how).direction for _ in range(2)
        )
        assert torch.equal(one, two)
        if how.points == "replicated":
            every = Processes.of().gather_rows(one, [len(one)] * SIZE)
            assert all(torch.equal(other, one) for other in every)


def check_gradients_by_differences() -> None:
    """Numeric derivatives of the whole loss with respect to the numbers of one process at a time."""
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 6))
    weight = torch.rand(6, generator=generator, dtype=torch.float64)
    height = torch.rand(4, generator=generator, dtype=torch.float64)
    g = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def loss(x: Tensor, y: Tensor, weight: Tensor, height: Tensor, g: Tensor, **more: object) -> Tensor:
        total = riesz_sum(x, y, power=4, weight=weight, height=height, precision="exact", **more)
        return (total.log_weight() * g[:, 0]).sum() + (total.posterior_mean(x) * g).sum()

    whole = [v.clone().requires_grad_() for v in (x, y, weight, height)]
    assert torch.autograd.gradcheck(lambda *v: loss(*v, g), whole)
    want = torch.autograd.grad(loss(*whole, g), whole)
    for how in MODES:
        cut = [own(x, how), part(y), part(weight), own(height, how)]
        mine = [v.clone().requires_grad_() for v in cut]
        got = torch.autograd.grad(loss(*mine, own(g, how), group=how), mine)
        expected = [own(want[0], how), part(want[1]), part(want[2]), own(want[3], how)]
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def check_gradcheck_of_this_process_s_points_and_charges() -> None:
    """gradcheck moves one number at a time on one process; the others move nothing and only take part."""
    generator = torch.Generator().manual_seed(6)
    x, y = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (2 * SIZE, 2 * SIZE))
    for how in MODES[1:]:
        points, charges = own(x, how), part(y, ragged=False)

        def loss(a: Tensor, b: Tensor, how: Sharding = how) -> Tensor:
            mine = riesz_sum(a, b, power=3, precision="exact", group=how)
            # the loss of all: what a number of one process does to the others' losses counts
            return Sharding(points="sharded").total((mine.log_weight() ** 2).sum())

        for mover in range(SIZE):
            for one in (0, 1):
                inputs = [points.clone().requires_grad_(), charges.clone().requires_grad_()]
                value = loss(*inputs)
                # each process's loss is the sum of all: SIZE times the gradient
                gradient = torch.autograd.grad(value, inputs)[one] / SIZE
                for place in range(inputs[one].numel()):
                    ends = []
                    for step in (1e-6, -1e-6):
                        moved = [v.detach().clone().requires_grad_() for v in inputs]
                        if mover == RANK:
                            moved[one].data.view(-1)[place] += step
                        ends.append(loss(*moved).detach())
                    if mover == RANK:
                        slope = (ends[0] - ends[1]) / 2e-6
                        torch.testing.assert_close(gradient.view(-1)[place], slope, rtol=1e-5, atol=1e-7)


def check_streams() -> None:
    generator = torch.Generator().manual_seed(7)
    y = torch.randint(0, 256, (500, 6), generator=generator, dtype=torch.uint8)
    x = torch.rand(9, 6, generator=generator) * 255
    want = riesz_sum(x, y, power=7, backend="reference")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "charges.npy"
        np.save(path, part(y).numpy())
        stream = np.load(path, mmap_mode="r")
        assert_sum_close(riesz_sum(x, stream, power=7, group=Sharding()), want, 1e-5, 400)
        chunks = iter(part(y).split(37))
        how = Sharding(points="sharded")
        got = riesz_sum(own(x, how), chunks, power=7, group=how)
        assert_sum_close(
            got, type(want)(*(own(v.contiguous(), how) for v in (want.m, want.w, want.v))), 1e-5, 400
        )
        minus = y.flip(0)
        want_field = capacitor_field(x, x[:, 0], y, minus, 300.0, backend="reference")
        got_field = capacitor_field(x, x[:, 0], stream, part(minus).numpy(), 300.0, group=Sharding())
        assert_field_close(got_field, want_field, 1e-4, 1e-3)


def check_bytes_sent_are_those_of_the_formula() -> None:
    x, y = torch.randn(8 * SIZE, 12), torch.randint(0, 256, (50, 12), dtype=torch.uint8)
    processes = Processes.of()
    for how in MODES:
        mine = own(x, how)
        before = processes.sent
        riesz_sum(mine, y, power=13, height=1.0, group=how)
        row, point, charge = 16 + 12 * 4, 12 * 4 + 8, 12
        n, own_points = len(x), len(mine)
        want = {
            "auto": 2 * (n - n // SIZE) * row,
            "ring": (SIZE - 1) * 50 * charge,
            "gather": (SIZE - 1) * own_points * point + (n - own_points) * row,
        }[how.mode]
        assert processes.sent - before == want, (how, processes.sent - before, want)


def check_auto_takes_the_cheaper_mode_and_says_so() -> None:
    from efm_fast.field.kernel import Riesz
    from efm_fast.field.request import SumRequest

    how = Sharding(points="sharded")
    for n, m, mode in ((1000, 10, "ring"), (10, 1000, "gather")):
        plan = how.plan(SumRequest(torch.randn(n, 4), torch.randn(m, 4), Riesz(5.0)), "auto")
        assert plan.mode == mode
        assert sum(plan.sent[mode]) == min(map(sum, plan.sent.values()))


def refused(call: Callable[[], object], *words: str, kind: type[Exception] = InputError) -> None:
    """Every process raises the same one line."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert caught.value.shared
    assert "\n" not in text
    for word in words:
        assert word in text, text
    assert len(set(Processes.of().exchange(text.encode()))) == 1


def check_what_one_process_does_wrong_all_of_them_refuse() -> None:
    x, y = torch.zeros(4, 3), torch.ones(5, 3)
    last = RANK == SIZE - 1
    world = dist.group.WORLD
    refused(
        lambda: riesz_sum(x[:, :2] if last else x, y, power=4, group=world),
        "y: expected 2 columns",
        "process",
    )
    short = (x[:, :2], y[:, :2]) if last else (x, y)
    refused(
        lambda: riesz_sum(*short, power=4, group=world), "one D on all processes, got 3 on process 0 and 2"
    )
    refused(
        lambda: riesz_sum(x, y.double() if last else y, power=4, group=world),
        "one dtype of y on all processes, got torch.float32 on process 0 and torch.float64",
    )
    refused(lambda: riesz_sum(x + RANK, y, power=4, group=world), "same points on every process", "sharded")
    refused(lambda: riesz_sum(x, y, power=-1 if last else 4, group=world), "power: expected a finite number")
    refused(lambda: riesz_sum(x, y, power=4, height="a" if last else 1.0, group=world), "height: expected")
    refused(lambda: riesz_sum(x, y, power=4, group=Sharding(mode="ring")), "'reduce' with replicated points")
    refused(lambda: riesz_sum(x, y, power=4, group=Sharding(mode="best")), "mode: expected one of")
    refused(
        lambda: riesz_sum(x, y, power=4, weight=torch.ones(5) if last else None, group=world),
        "dtype of weight",
    )
    refused(
        lambda: riesz_sum(x, y, power=4, precision="fast" if last else "default", group=world), "precision"
    )
    refused(
        lambda: riesz_sum(x, y, power=4, backend="triton" if last else "auto", group=world),
        "cannot serve",
        kind=BackendUnavailableError,
    )
    refused(
        lambda: riesz_sum(x, [y, y[:, :2]] if last else [y, y], power=4, group=world), "expected 3 columns"
    )
    refused(lambda: riesz_sum(x, [y], power=4, group=Sharding(points="sharded", mode="ring")), "streamed")
    z = torch.ones(4)
    refused(lambda: capacitor_field(x, z[:2] if last else z, y, y, 1.0, group=world), "z: expected 4 rows")
    nothing = y[:0]
    refused(lambda: capacitor_field(x, z, nothing, y, 1.0, group=world), "plus: expected charges")
    refused(
        lambda: riesz_sum(x, y.clone().requires_grad_(last), power=4, group=world),
        "gradients on all processes",
    )


def main() -> None:
    """Run every check; leave with 1 if one failed, on any process."""
    failed = 0
    for name, check in list(globals().items()):
        if name.startswith("check_") and (len(sys.argv) < 2 or name in sys.argv[1:]):
            started = time.perf_counter()
            try:
                check()
            except Exception:
                failed = 1
                print(name, traceback.format_exc(), sep="\n", flush=True)
            dist.barrier()
            print(f"{time.perf_counter() - started:5.1f} s {name}", file=sys.stderr, flush=True)
    dist.destroy_process_group()
    sys.exit(failed)


main()

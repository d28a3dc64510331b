"""What the compiler makes of the kernels for each architecture, read on a machine that need not have a GPU.

The launchers run, and what they would launch goes through Triton's own typing: nothing else is tested than what runs.
"""

from __future__ import annotations

import os
import re

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET is set: Triton's compiler is out of reach", allow_module_level=True)

from kernel_cases import asked, kernels

ahead = kernels.ahead
#: The kernels that take a sum's time, and what they must be made of.
HOT = ("sum_small", "sum_fused", "distances", "combine")
MATRIX = {8: "mma.sync", 9: "wgmma.mma_async", 10: "tcgen05.mma", 12: "mma.sync"}
#: Bytes on the stack, beyond none. With options the fused pass on Hopper reads a few values per tile from there, to let
#: three programs share a multiprocessor. Other versions of Triton allocate registers otherwise; then it always does.
OTHER = not (3, 8) <= kernels.VERSION < (3, 9)
STACK = {("sum_fused", 90): 128, ("combine", 100): 80} if OTHER else {}
STACK_WITH_OPTIONS = {("sum_fused", 90): 128 if OTHER else 32}


def compile_call(
    arch: int, n: int, m: int, d: int, *, uint8: bool = False, **arguments: object
) -> dict[str, ahead.Compiled]:
    """The hot kernels of one sum, compiled for ``arch``, by name."""
    with ahead.recorded(arch) as launches:
        y = torch.zeros(m, d, dtype=torch.uint8 if uint8 else torch.float32)
        kernels.log_sum(asked(torch.zeros(n, d), y, power=d + 1.0, **arguments))
    hot = {launch.name: launch for launch in launches if launch.name in HOT}
    return {name: ahead.compiled(launch, arch) for name, launch in hot.items()}


@pytest.mark.parametrize(("arch", "d"), [(80, 2), (90, 2), (90, 16), (100, 2), (120, 16)])
def test_small(arch: int, d: int) -> None:
    kernel = compile_call(arch, 4096, 100_000, d, height=torch.zeros(4096))["sum_small"]
    assert kernel.shared <= 4096
    # three programs of 128 threads at least share a multiprocessor's 65536 registers
    assert kernel.registers is None or kernel.registers <= 168
    assert not kernel.spilled
    count = kernel.instructions("rsqrt.approx", "lg2.approx", "ex2.approx")
    assert count["rsqrt.approx"] > 0, "integer powers go by reciprocal square root"
    assert count["lg2.approx"] == count["ex2.approx"] == 0, "and need no logarithm"


@pytest.mark.parametrize(
    ("arch", "d", "uint8"),
    [(80, 64, False), (90, 64, False), (90, 64, True), (120, 64, False), (86, 128, False), (90, 128, False),
     (100, 128, False), (120, 128, False), (90, 256, False), (86, 784, False), (90, 784, False), (90, 784, True),
     (100, 784, False), (120, 784, False), (120, 784, True)],
)  # fmt: skip
def test_matrix_products(arch: int, d: int, uint8: bool) -> None:
    found = compile_call(arch, 130, 20_000, d, uint8=uint8, height=torch.zeros(130))
    assert set(found) == ({"sum_fused"} if d <= 256 else {"distances", "combine"})
    for name, kernel in found.items():
        assert kernel.shared <= ahead.SHARED_LIMIT[arch], name
        count = kernel.instructions(MATRIX[arch // 10], ".bf16", "kind::f16", "tf32", "cp.async")
        assert count[MATRIX[arch // 10]] > 0, f"{name}: {count}"
        assert count[".bf16"] + count["kind::f16"] > 0, f"{name} does not multiply bfloat16 numbers"
        assert count["cp.async"] >= 4, f"{name} is not pipelined"
        assert count["tf32"] == 0, f"{name} rounds to tf32"
        assert not kernel.serialized, f"{name}: its matrix products wait for each other"
        allowed = STACK.get((name, arch), 0)
        assert kernel.spilled is None or kernel.spilled <= allowed, (
            f"{name} has {kernel.spilled} bytes of stack"
        )


@pytest.mark.parametrize(
    ("arch", "d", "options"),
    [(90, 64, ("weight", "first_self")), (86, 784, ("weight", "first_self")), (90, 784, ("rounded_points",)),
     (80, 40, ("exact",))],
)  # fmt: skip
def test_every_option_compiles_within_its_limits(arch: int, d: int, options: tuple[str, ...]) -> None:
    """All kernels of a sum with weights, without the point itself, with rounded points, or exact."""
    n, m = 130, 20_000
    choices = {
        "weight": {"weight": torch.zeros(m)},
        "first_self": {"first_self": 3},
        "rounded_points": {"rounded_points": True},
        "exact": {"precision": "exact"},
    }
    arguments = {name: value for option in options for name, value in choices[option].items()}
    y = torch.zeros(m, d, dtype=torch.uint8 if "rounded_points" in options else torch.float32)
    with ahead.recorded(arch) as launches:
        kernels.log_sum(asked(torch.zeros(n, d), y, power=d + 1.0, **arguments))
    for launch in {launch.name: launch for launch in launches}.values():
        kernel = ahead.compiled(launch, arch)
        assert kernel.shared <= ahead.SHARED_LIMIT[arch], kernel.name
        allowed = STACK_WITH_OPTIONS.get((kernel.name, arch), 0)
        assert kernel.spilled is None or kernel.spilled <= allowed, (
            f"{kernel.name} has {kernel.spilled} bytes of stack"
        )
        assert not kernel.serialized, kernel.name


def test_the_rescoring_takes_few_instructions_in_float64() -> None:
    """Some GPUs compute them 64 times more slowly than others: there they are what marked pairs cost."""
    with ahead.recorded(89) as launches:
        kernels.log_sum(asked(torch.zeros(130, 64), torch.zeros(20_000, 64), power=65.0))
    launch = next(launch for launch in launches if launch.name == "rescore_marked")
    double = [line for line in ahead.machine_code(launch, 89) if re.search(r"\bD(ADD|MUL|FMA|SETP)\b", line)]
    assert len(double) <= 30, f"{len(double)} instructions"


def test_every_architecture_has_shapes_that_its_neighbour_has_not() -> None:
    generation = kernels.platform.generation
    assert [generation(capability) for capability in (75, 80, 89, 90, 100, 103, 110, 120, 121)] == [
        0, 0, 0, 1, 2, 2, 2, 3, 3,
    ]  # fmt: skip
    plan = kernels.plan
    assert all(len(table) == 4 for table in (plan.FUSED, plan.DISTANCES, plan.DISTANCES_DEPTH, plan.COMBINE))


def test_arguments_are_typed_as_a_launch_types_them() -> None:
    """An unspecialised depth once cost ``distances`` its asynchronous copies, and no test saw it."""
    with ahead.recorded(90) as launches:
        kernels.log_sum(asked(torch.zeros(130, 784), torch.zeros(20_000, 784), power=785.0))
    launch = next(launch for launch in launches if launch.name == "distances")
    kernel = launch.kernel
    depth = next(parameter for parameter in kernel.params if parameter.name == "depth")
    aligned = ahead.compiled(launch, 90).instructions("cp.async.cg")["cp.async.cg"]
    odd = launch.arguments | {"depth": launch.arguments["depth"] + 1}
    rough = ahead.compiled(ahead.Launch(kernel, launch.grid, odd, launch.options), 90)
    assert not depth.do_not_specialize
    assert aligned > 0
    assert rough.instructions("cp.async.cg")["cp.async.cg"] == 0


@pytest.mark.parametrize("arch", [90, 100])
def test_distances_read_ahead(arch: int) -> None:
    """Where all copies stand in the loop, it waits for each of them: so it was on capability 10."""
    with ahead.recorded(arch) as launches:
        kernels.log_sum(asked(torch.zeros(130, 784), torch.zeros(20_000, 784), power=785.0))
    launch = next(launch for launch in launches if launch.name == "distances")
    size = launch.arguments
    step = 4 * (size["BLOCK_N"] + size["BLOCK_M"]) * size["BLOCK_D"]  # bytes: two parts of two bytes each
    inside = step // (16 * 32 * launch.options["num_warps"])
    found = ahead.compiled(launch, arch).instructions("cp.async.cg")["cp.async.cg"]
    assert found > inside, f"{found} copies, of which {inside} in a step of the loop"


@pytest.mark.parametrize("arch", [80, 90])
def test_gradients(arch: int) -> None:
    x, y = torch.zeros(64, 40), torch.zeros(100, 40)
    with ahead.recorded(arch) as launches:
        kernels.log_sum_backward(
            asked(x, y, power=41.0), torch.zeros(64), torch.zeros(64), torch.zeros(64, 40)
        )
    names = {launch.name for launch in launches}
    assert names == {"pair_coefficients", "gather"}
    for launch in launches:
        kernel = ahead.compiled(launch, arch)
        assert kernel.shared <= ahead.SHARED_LIMIT[arch]
        assert kernel.spilled is None or kernel.spilled <= 16, f"{kernel.name} spills {kernel.spilled} bytes"

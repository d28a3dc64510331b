import subprocess
import sys

import pytest
import torch

from efm_fast.errors import BackendUnavailableError, InputError
from efm_fast.field import backends, capacitor_field, riesz_sum
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import SumRequest


def _request():
    return SumRequest(torch.zeros(1, 2), torch.ones(1, 2), kernel=Riesz(3.0))


def _broken(monkeypatch, name, why):
    """Let backend ``name`` exist and refuse."""
    module = type(sys)("broken")
    module.why_not = lambda request: why
    monkeypatch.setattr(backends, "_imported", lambda path: module if path.endswith(name) else real(path))


real = backends._imported


def test_auto_takes_the_first_row_that_can_serve():
    able = [row.name for row in backends.TABLE if row.automatic and row.why_not(_request()) is None]
    assert backends.select(_request()).name == able[0]
    assert able[-1] == "torch"


def test_the_argument_beats_the_environment_beats_auto(monkeypatch):
    monkeypatch.setenv(backends.ENVIRONMENT_VARIABLE, "reference")
    assert backends.select(_request()).name == "reference"
    assert riesz_sum(torch.zeros(1, 2), torch.ones(1, 2), power=3).v.dtype == torch.float64
    assert backends.select(_request(), "torch").name == "torch"
    monkeypatch.delenv(backends.ENVIRONMENT_VARIABLE)
    assert backends.select(_request()).name != "reference"


def test_a_wrong_name_in_the_environment_is_told(monkeypatch):
    monkeypatch.setenv(backends.ENVIRONMENT_VARIABLE, "tritton")
    with pytest.raises(InputError, match="did you mean triton"):
        backends.select(_request())


def test_a_named_backend_that_cannot_serve_raises_its_reason():
    x = torch.zeros(1, 2)
    with pytest.raises(
        BackendUnavailableError, match="'triton' cannot serve this sum: it serves CUDA tensors"
    ):
        riesz_sum(x, x + 1, power=3, backend="triton")
    with pytest.raises(
        BackendUnavailableError, match="'triton' cannot serve this sum: it serves CUDA tensors"
    ):
        capacitor_field(x, x[:, 0], x, x, 1.0, backend="triton")


def test_a_refusal_is_passed_on_and_auto_goes_round_it(monkeypatch):
    _broken(monkeypatch, ".cpp", "it is Sunday")
    with pytest.raises(BackendUnavailableError, match="backend 'cpp' cannot serve this sum: it is Sunday"):
        backends.select(_request(), "cpp")
    assert backends.select(_request()).name == "torch"


def test_a_failing_import_is_a_reason(monkeypatch):
    monkeypatch.setattr(
        backends, "_imported", lambda path: "No module named 'gone'" if path == ".cpp" else real(path)
    )
    row = next(row for row in backends.TABLE if row.name == "cpp")
    assert row.why_not(_request()) == "it cannot be imported here: No module named 'gone'"


def test_describe_lists_every_row_in_order_with_a_reason():
    rows = backends.describe("cpu")
    assert [row.name for row in rows] == [row.name for row in backends.TABLE]
    reasons = {row.name: row.reason for row in rows}
    assert reasons["torch"] is None
    assert reasons["reference"] is None
    assert reasons["triton"] == "it serves CUDA tensors, and the points are on cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_describe_without_a_device_says_so():
    assert {row.reason for row in backends.describe("cuda")} == {"this torch sees no CUDA device"}


def test_a_cpu_sum_imports_no_triton():
    code = (
        "import sys, torch; from efm_fast.field import riesz_sum;"
        "riesz_sum(torch.zeros(1, 2), torch.ones(1, 2), power=3); print('triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_old_triton_is_refused_with_both_versions(monkeypatch):
    kernels = pytest.importorskip("efm_fast.kernels", reason="needs triton")
    from types import SimpleNamespace

    from efm_fast.field.backends import triton

    x = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    request = SimpleNamespace(x=x, y=x, kernel=Riesz(3.0))
    monkeypatch.setattr(kernels, "INTERPRET", False)
    monkeypatch.setattr(kernels, "VERSION", (3, 4))
    assert triton.why_not(request) == "it needs Triton 3.5 or newer, and this is 3.4"


def test_a_default_device_that_was_taken_back_is_none():
    torch.set_default_device("meta")
    torch.set_default_device(None)
    assert riesz_sum(torch.zeros(1, 2), torch.ones(3, 2), power=3.0).w.item() == pytest.approx(3.0)


class OneGpu:
    """A machine with one GPU, as far as a probe asks."""

    def __init__(self, monkeypatch, capability, launch):
        from efm_fast.kernels import platform, probe

        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
        monkeypatch.setattr(torch, "zeros", lambda *shape, device: torch.full(shape, 0.0))
        monkeypatch.setattr(probe, "launch", launch)
        platform.architecture.cache_clear()
        probe.why_not.cache_clear()
        self.why_not = probe.why_not

    def __enter__(self):
        return self

    def __exit__(self, *_):
        from efm_fast.kernels import platform

        self.why_not.cache_clear()
        platform.architecture.cache_clear()


def without_compiler(out):
    raise RuntimeError("Failed to find C compiler. Please specify via CC.\nmore lines")


def silent(out):
    return None


@pytest.mark.parametrize(
    ("capability", "launch", "why"),
    [
        ((7, 5), silent, "it needs compute capability 8.0 or newer, and a GPU has 7.5"),
        (
            (9, 0),
            without_compiler,
            "a first small kernel failed on a GPU: Failed to find C compiler. Please specify via CC.",
        ),
        ((9, 0), silent, "a first small kernel wrote 0.0 instead of 1 on a GPU"),
        ((9, 0), lambda out: out.fill_(1.0), None),
    ],
)
def test_a_gpu_is_probed_by_a_first_launch(monkeypatch, capability, launch, why):
    pytest.importorskip("efm_fast.kernels", reason="needs triton")
    with OneGpu(monkeypatch, capability, launch) as gpu:
        assert gpu.why_not(0) == why


def test_a_gpu_is_probed_once(monkeypatch):
    pytest.importorskip("efm_fast.kernels", reason="needs triton")
    launches = []
    with OneGpu(monkeypatch, (9, 0), lambda out: launches.append(out.fill_(1.0))) as gpu:
        assert [gpu.why_not(0), gpu.why_not(0), len(launches)] == [None, None, 1]

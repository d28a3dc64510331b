"""Everything that needs a CUDA device, without network: ``python -m bench.gpu [--only STAGE ...]``.

Correctness comes first, then speed. A stage is a process of its own with a limit of time, so that none takes another
down. What each one said and how long it took is kept in bench/results/gpu_stages.json as soon as it ends. A second call
takes up what the first one left: it does not repeat stages that passed with the same code on the same device. A stage
that does not fit what is left of ``--seconds`` waits for the next call.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.common import record
from bench.common.record import ROOT, versions, write_result

_PYTHON = sys.executable
_CHECKS = (
    *(f"tests/kernels/check_{name}.py" for name in ("small", "gemm", "backward", "gradients", "seed")),
    "tests/lines/test_gpu.py",
)
_NAME = "gpu_stages"


@dataclass(frozen=True)
class Stage:
    """A command that needs a device.

    Attributes:
        name: for ``--only``.
        command: what runs, at the project's root.
        seconds: what it is expected to take on an H100 with 16 cores, compilation included.
        limit: seconds after which it is stopped.
        environment: variables beside those of this process.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    limit: int
    environment: dict[str, str] = field(default_factory=dict)


def _pytest(*arguments: str) -> tuple[str, ...]:
    return (_PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *arguments)


def _checked(tool: str, select: str) -> Stage:
    """compute-sanitizer's ``tool`` over one small case per kernel; torch then asks the driver for every tensor."""
    command = (
        "compute-sanitizer",
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        *_pytest("-x", "-o", "timeout=170"),
    )
    return Stage(tool, (*command, *_CHECKS, "-k", select), 45, 180, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})


def stages() -> tuple[Stage, ...]:
    """All stages in their order."""
    build = (
        _PYTHON,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        ".",
    )
    capability = "".join(map(str, torch.cuda.get_device_capability())) if torch.cuda.is_available() else "90"
    return (
        Stage("build", build, 90, 240, {"EFM_FAST_CUDA": "1", "EFM_FAST_CUDA_ARCHS": capability}),
        Stage("tests", _pytest("-m", "gpu", "--durations=10", "tests"), 150, 400),
        _checked(
            "memcheck",
            "ragged or blocks or rounded or only_what or without_charge or hard_starts or updates or exact_in",
        ),
        _checked("racecheck", "rounded or blocks or only_what or hard_starts or point_on_a_charge"),
        Stage("sums", (_PYTHON, "-m", "bench.gpu.sums"), 120, 240),
        Stage("lines", (_PYTHON, "-m", "bench.lines", "--device", "cuda"), 60, 300),
        Stage("step", (_PYTHON, "-m", "bench.training", "--device", "cuda", "--quick"), 60, 300),
        Stage("field", (_PYTHON, "-m", "bench.field", "--device", "cuda"), 120, 500),
    )


def run(stage: Stage, limit: float) -> dict[str, Any]:
    """Run a stage for ``limit`` seconds at most; how it ended, its seconds and the end of what it said."""
    begin = time.perf_counter()
    if shutil.which(stage.command[0]) is None:
        return {"ok": True, "seconds": 0.0, "said": f"{stage.command[0]} is not installed"}
    try:
        done = subprocess.run(
            stage.command, cwd=ROOT, capture_output=True, text=True, timeout=limit, env=os.environ | stage.environment
        )  # fmt: skip
        ok, said = done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    except subprocess.TimeoutExpired as late:
        heard = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        ok, said = False, f"{heard[-4000:]}\nnot done after {limit:.0f} s"
    return {"ok": ok, "seconds": round(time.perf_counter() - begin, 1), "said": said}


def code() -> str:
    """A digest of all sources: a copy of the project on another machine need not know its commit."""
    digest = hashlib.sha256()
    for folder in ("efm_fast", "kernels", "csrc", "bench", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h", ".cu", ".yaml"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def machine() -> dict[str, Any]:
    """What a stage's result holds for: the device, the code and the versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"device": device, "code": code(), "with": {**versions(), "torch": torch.__version__}}


def earlier(here: dict[str, Any]) -> dict[str, Any]:
    """Stages that an earlier call ran with the same code on the same device."""
    try:
        found = json.loads((record.RESULTS / f"{_NAME}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(found["stages"]) if found.get("machine") == here else {}


def run_all(chosen: tuple[Stage, ...], seconds: float, again: bool) -> dict[str, Any]:
    """Run what is not done yet and fits ``seconds``; all stages that have run, by name."""
    here = machine()
    done = earlier(here)
    begin = time.perf_counter()
    for stage in chosen:
        if not again and done.get(stage.name, {}).get("ok"):
            print(f"{stage.name}: passed before", flush=True)
            continue
        left = seconds - (time.perf_counter() - begin)
        if stage.seconds > left:
            print(
                f"{stage.name}: takes {stage.seconds} s, and {left:.0f} s are left: the next call", flush=True
            )
            continue
        done[stage.name] = result = run(stage, min(stage.limit, left))
        print(result["said"], f"{stage.name}: {'passed' if result['ok'] else 'FAILED'}", sep="\n", flush=True)
        write_result(_NAME, {"machine": here, "stages": done})
    return done


def main() -> int:
    """Run the stages; 0 if all have passed, 1 if one failed, 3 if some are left, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {stage.name: stage for stage in stages()}
    parser.add_argument("--only", nargs="+", choices=list(known), default=list(known), help="these stages")
    parser.add_argument(
        "--seconds", type=float, default=530.0, help="stop before this time; default %(default)s"
    )
    parser.add_argument("--again", action="store_true", help="run stages that passed before too")
    parser.add_argument(
        "--list", action="store_true", help="print the stages and what they take, and run none"
    )
    arguments = parser.parse_args()
    chosen = tuple(known[name] for name in arguments.only)
    if arguments.list:
        for stage in chosen:
            print(
                f"{stage.name:10} about {stage.seconds:4} s, at most {stage.limit} s: {' '.join(stage.command)}"
            )
        return 0
    if not torch.cuda.is_available():
        print(
            "gpu_suite: this torch sees no CUDA device, so there is nothing to run (make test checks the rest)"
        )
        return 2
    done = run_all(chosen, arguments.seconds, arguments.again)
    missing = [stage.name for stage in chosen if stage.name not in done]
    failed = [stage.name for stage in chosen if stage.name in done and not done[stage.name]["ok"]]
    print(f"failed: {', '.join(failed) or 'none'}; left for the next call: {', '.join(missing) or 'none'}")
    return 1 if failed else 3 if missing else 0

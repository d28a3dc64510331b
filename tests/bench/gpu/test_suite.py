"""The stages of the GPU suite: what a call runs, keeps and leaves; and that every stage's command exists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the suite is about Triton kernels")

from bench.gpu import suite
from bench.gpu.suite import Stage, run, run_all, stages


def stage(name: str, program: str, seconds: int = 1, limit: int = 60) -> Stage:
    return Stage(name, (sys.executable, "-c", program), seconds, limit)


def kept(results: Path) -> dict[str, dict[str, object]]:
    return json.loads((results / "gpu_stages.json").read_text())["stages"]


def test_a_second_call_takes_up_what_the_first_one_left(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = stage("good", "print('said')"), stage("bad", "raise SystemExit(3)")
    long = stage("long", "print('ran')", seconds=1000)
    done = run_all((good, bad, long), 100.0, again=False)
    assert (done["good"]["ok"], done["bad"]["ok"]) == (True, False)
    assert done["good"]["said"] == "said\n"
    assert set(kept(results)) == {"good", "bad"}, "the long stage waits for a call with more time"
    assert "the next call" in capsys.readouterr().out
    done = run_all(
        (stage("good", "raise SystemExit(1)"), stage("bad", "print('mended')"), long), 2000.0, again=False
    )
    assert all(done[name]["ok"] for name in ("good", "bad", "long")), "what passed is not run again"
    done = run_all((stage("good", "raise SystemExit(1)"),), 100.0, again=True)
    assert not done["good"]["ok"]


def test_other_code_does_not_take_up_old_results(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_all((stage("good", ""),), 100.0, again=False)
    assert suite.earlier(suite.machine())
    monkeypatch.setattr(suite, "code", lambda: "other")
    assert suite.earlier(suite.machine()) == {}


def test_a_stage_is_stopped_at_its_limit_and_one_without_its_tool_says_so() -> None:
    late = run(stage("late", "import time; print('begun', flush=True); time.sleep(60)"), 3.0)
    assert not late["ok"]
    assert "begun" in late["said"]
    assert "not done after 3 s" in late["said"]
    assert "is not installed" in run(Stage("none", ("no-such-tool",), 1, 1), 1.0)["said"]


def test_the_stages_fit_and_begin_with_what_is_correct() -> None:
    found = stages()
    assert [one.name for one in found][:4] == ["build", "tests", "memcheck", "racecheck"]
    assert sum(one.seconds for one in found[:5]) <= 530, "correctness and the sums fit one call"
    assert all(one.seconds < one.limit for one in found)


def test_the_sanitizer_meets_every_room_of_kernels() -> None:
    tools = [one for one in stages() if one.command[0] == "compute-sanitizer"]
    assert [one.name for one in tools] == ["memcheck", "racecheck"]
    for tool in tools:
        begin = tool.command.index(sys.executable)
        command = [*tool.command[begin:], "--collect-only", "-q"]
        said = subprocess.run(
            command, cwd=suite.ROOT, capture_output=True, text=True, timeout=200, check=True
        ).stdout
        for name in ("check_small", "check_gemm", "check_backward", "check_gradients", "lines/test_gpu"):
            assert f"{name}.py: " in said, f"{tool.name} runs nothing of {name}"

"""Fail at every write of a training run in turn, then go on: ``python tests/training/faults.py [--every N]``.

faults.c, preloaded, numbers each call by which a run changes its files: create, write, fsync, rename, unlink, mkdir
and rmdir. A run of 40 steps is killed at the k-th, or meets a full disk, a failing fsync or a read-only folder there,
for k = 1, 2, ... to the last. What is left must then load as one of the whole run's checkpoints, no older than the last
one published, and go on to the whole run's last state, bit for bit. The same is done to a resumed run.
Of a power failure, which no process can play, the order of the calls is checked: what a rename publishes is flushed to
the disk before it, and the rename at once after it.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PRESET = "gaussian_to_mixture"
SETTINGS = {
    "train.steps": 40,
    "train.batch": 8,
    "train.checkpoint_every": 10,
    "train.log_every": 5,
    "train.picture_every": 20,
    "method.points.charges": 8,
    "net.width": 8,
    "net.depth": 1,
}
HALFWAY = 25  # steps of the run that a resumed one goes on from
FAULTS = ("killed", "full disk", "failing fsync", "read-only")  # in the order of faults.c, from 1 on


@dataclass(frozen=True)
class Call:
    """One numbered call of a run: what it does, to what, and to which name if it renames."""

    kind: str
    path: str
    to: str


@dataclass(frozen=True)
class Outcome:
    """How a child process ended: "done", "refused", "killed" or "crashed", what it said, and what it published."""

    end: str
    text: str
    published: tuple[int, ...]


def in_child(work: Callable[[], object], below: Path, at: int, fault: int, journal: Path) -> Outcome:
    """Run ``work`` in a fork of this process, with ``fault`` at its ``at``-th call that changes files ``below``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            _work(work, below, at, fault, journal, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        rows = [json.loads(line) for line in pipe]
    _, status = os.waitpid(pid, 0)
    published = tuple(row["published"] for row in rows if "published" in row)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Outcome("killed", "", published)
    last = next((row for row in rows if "end" in row), {"end": "crashed", "text": "no word"})
    return Outcome(last["end"], last["text"], published)


def _work(work: Callable[[], object], below: Path, at: int, fault: int, journal: Path, pipe: int) -> None:
    from efm_fast.errors import EfmError
    from efm_fast.training.state import TrainingState

    def say(**row: object) -> None:
        os.write(pipe, (json.dumps(row) + "\n").encode())

    save = TrainingState.save

    def saying_save(state: TrainingState, folder: Path) -> None:
        save(state, folder)
        if not folder.name.endswith(".part"):  # a run folder under construction is not published yet
            say(published=state.step)

    TrainingState.save = saying_save  # type: ignore[method-assign]
    with journal.open("w") as file:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        ctypes.CDLL(None).faults_arm(str(below).encode(), at, fault, file.fileno())
        try:
            work()
            say(end="done", text="")
        except EfmError as problem:
            say(end="refused", text=str(problem))
        except BaseException:
            say(end="crashed", text=traceback.format_exc().strip().splitlines()[-1])


def calls(journal: Path) -> list[Call]:
    """The numbered calls that ``journal`` holds."""
    return [Call(*line.split("\t")) for line in journal.read_text().splitlines()]


def warm_up(folder: Path) -> None:
    """Import what training imports on its way, once for all children, and make its pictures cheap."""
    import torch

    from efm_fast import sample, train
    from efm_fast.plots import style
    from efm_fast.training import report

    torch.set_num_threads(1)
    style.save = lambda figure, path: style.write(b"picture" * 10, path)  # type: ignore[assignment]
    report.pictured = lambda run: 4  # type: ignore[assignment]
    run = train(PRESET, {**SETTINGS, "train.steps": 20, "runs": str(folder), "name": "warm"}, progress=False)
    sample(run, n=2, map="forward", steps=2)


def train_in(runs: Path) -> Callable[[], object]:
    """Training the run "it" in ``runs``."""
    from efm_fast.training import train

    return lambda: train(PRESET, {**SETTINGS, "runs": str(runs), "name": "it"}, progress=False)


def resume_in(runs: Path) -> Callable[[], object]:
    """Resuming the run "it" in ``runs``."""
    from efm_fast.training import resume

    return lambda: resume(runs / "it", progress=False)


def halfway(runs: Path) -> None:
    """Leave in ``runs`` the run "it", killed in mid-write after its HALFWAY-th step."""
    from efm_fast.training.state import TrainingState

    def work() -> None:
        update = TrainingState.update

        def stopping(state: TrainingState) -> object:
            if state.step == HALFWAY:
                (runs / "it" / ".state.safetensors.0123abcd.part").write_bytes(b"half of it")
                with (runs / "it" / "metrics.jsonl").open("a") as file:
                    file.write('{"step": 25, "lo')
                os.kill(os.getpid(), signal.SIGKILL)
            return update(state)

        TrainingState.update = stopping  # type: ignore[assignment,method-assign]
        train_in(runs)()

    assert in_child(work, runs, 0, 0, runs / "journal").end == "killed"
    (runs / "journal").unlink()


class Whole:
    """The uninterrupted run: its averaged weights at each checkpoint, its last files and its calls."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "whole"
        self.runs.mkdir()
        self.averages = folder / "averages"
        self.averages.mkdir()
        outcome = in_child(self._train, self.runs, 0, 0, folder / "journal")
        assert outcome.end == "done", outcome.text
        self.calls = calls(folder / "journal")
        self.digests = contents(self.runs / "it")
        self.metrics = losses(self.runs / "it")

    def _train(self) -> None:
        import torch

        from efm_fast.training.state import TrainingState

        save = TrainingState.save

        def keeping(state: TrainingState, folder: Path) -> None:
            torch.save(state.averaged_field.state_dict(), self.averages / f"{state.step}.pt")
            save(state, folder)

        TrainingState.save = keeping  # type: ignore[method-assign]
        train_in(self.runs)()

    def average(self, step: int) -> dict[str, object]:
        """The averaged weights at ``step``."""
        import torch

        return torch.load(self.averages / f"{step}.pt")  # type: ignore[no-any-return]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file of a run by its name, with what it holds where that is a function of the settings."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("tensorboard"):
            exact = path.suffix == ".safetensors" or path.name == "geometry.json"
            found[name] = path.read_bytes() if exact else None
    return found


def losses(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of every row of the run's metrics."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def examine(whole: Whole, runs: Path, published: int | None) -> None:
    """Raise AssertionError unless what a fault left in ``runs`` is whole, loses nothing, and ends as it should."""
    import torch

    from efm_fast import load, sample

    folder = runs / "it"
    if folder.exists():
        run = load(folder, device="cpu")
        assert published is None or run.step >= published, f"lost: step {run.step} of {published}"
        expected = whole.average(run.step)
        for name, value in run.field.state_dict().items():
            assert torch.equal(value, expected[name]), f"wrong: {name} is not that of step {run.step}"
        assert torch.isfinite(sample(run, n=2, map="forward", steps=2).end).all(), "wrong: samples"
        resume_in(runs)()
    else:
        assert published is None, f"lost: step {published}, no folder"
        train_in(runs)()
    assert losses(folder) == whole.metrics, "wrong: metrics"
    ended = contents(folder)
    assert set(ended) == set(whole.digests), f"wrong: files {set(ended) ^ set(whole.digests)}"
    assert ended == whole.digests, "wrong: the last state differs"
    assert [path.name for path in runs.iterdir()] == ["it"], "leftovers beside the run"


def try_fault(
    whole: Whole, scenario: str, start: Path | None, at: int, fault: int, folder: Path
) -> str | None:
    """Let ``fault`` strike at call ``at`` of a scenario; returns what is wrong after it, None if nothing is."""
    runs = folder / "runs"
    if start is None:
        runs.mkdir()
    else:
        shutil.copytree(start, runs)
    before = 20 if start is not None else None
    work = train_in(runs) if start is None else resume_in(runs)
    outcome = in_child(work, runs, at, fault, folder / "journal")
    wrong = None
    if outcome.end == "crashed" or "\n" in outcome.text:
        wrong = f"not one line: {outcome.text}"
    elif (outcome.end == "killed") != (fault == 1):
        wrong = f"ended {outcome.end} without a word"
    else:
        last = max(outcome.published, default=before)
        after = in_child(lambda: examine(whole, runs, last), runs, 0, 0, folder / "journal.after")
        if after.end != "done":
            wrong = after.text
    shutil.rmtree(folder)
    if wrong:
        wrong = f"{scenario}, {FAULTS[fault - 1]} at call {at}: {wrong}"
    return wrong


def points(trace: list[Call], fault: int) -> list[int]:
    """The calls, from 1 on, at which ``fault`` can strike."""
    hit = {
        "full disk": ("create", "write", "mkdir"),
        "failing fsync": ("fsync",),
        "read-only": ("create", "open", "write", "mkdir", "rename", "unlink", "rmdir", "chmod", "truncate"),
    }.get(FAULTS[fault - 1])
    return [k for k, call in enumerate(trace, 1) if hit is None or call.kind in hit]


def unflushed(trace: list[Call]) -> list[str]:
    """The renames of a trace that a power failure could separate from what they publish."""
    dirty: set[str] = set()
    wrong = []
    for call, following in itertools.zip_longest(trace, trace[1:]):
        if call.kind in ("create", "write", "truncate") and "/tensorboard/" not in call.path:
            dirty.add(call.path)
        elif call.kind == "fsync":
            dirty.discard(call.path)
        elif call.kind == "rename":
            checkpoint = call.to.endswith("state.safetensors")  # the rows up to it must not be lost either
            for path in sorted(dirty):
                if checkpoint or path.startswith(call.path):
                    wrong.append(f"{Path(call.to).name} is published before {Path(path).name} is flushed")
            if following is None or (following.kind, following.path) != ("fsync", str(Path(call.to).parent)):
                wrong.append(f"the rename to {Path(call.to).name} is not flushed")
    return wrong


def strike(every: int, folder: Path) -> list[str]:
    """Try every ``every``-th point of every fault; print how many there were and return what went wrong."""
    warm_up(folder)
    whole = Whole(folder)
    start = folder / "halfway"
    start.mkdir()
    halfway(start)
    shutil.copytree(start, folder / "dry")
    assert in_child(resume_in(folder / "dry"), folder / "dry", 0, 0, folder / "journal").end == "done"
    scenarios = (("train", None, whole.calls), ("resume", start, calls(folder / "journal")))
    counted: Counter[str] = Counter()
    wrong = unflushed(whole.calls) + unflushed(scenarios[1][2])
    print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    turn = itertools.count()
    for fault, (name, begun, trace) in itertools.product(range(1, 5), scenarios):
        for at in points(trace, fault):
            if next(turn) % every:
                continue
            place = folder / f"{name}-{fault}-{at}"
            place.mkdir()
            problem = try_fault(whole, name, begun, at, fault, place)
            counted[FAULTS[fault - 1]] += 1
            if problem:
                where = trace[at - 1]
                wrong.append(f"{problem} ({where.kind} {Path(where.path).name} {Path(where.to).name})")
                print(wrong[-1], flush=True)
    lost = sum("lost:" in line for line in wrong)
    print(
        f"{sum(counted.values())} points ({', '.join(f'{kind} {n}' for kind, n in counted.items())}):"
        f" {lost} lost, {len(wrong) - lost} wrong"
    )
    return wrong


def preload(folder: Path) -> str:
    """Compile faults.c and return the path of the library."""
    library = folder / "faults.so"
    compiler = shlex.split(os.environ.get("CC") or shutil.which("cc") or "gcc")
    source = Path(__file__).with_name("faults.c")
    subprocess.run([*compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return str(library)


def main() -> None:
    """Run this script again with faults.c preloaded, and exit with 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="try every N-th point only")
    parser.add_argument(
        "--inside", type=Path, help=argparse.SUPPRESS
    )  # faults.c is there, work in this folder
    options = parser.parse_args()
    if options.inside:
        sys.exit(bool(strike(options.every, options.inside)))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LD_PRELOAD": preload(Path(folder)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--every", str(options.every), "--inside", folder]
        sys.exit(subprocess.call(command, env=environment))


if __name__ == "__main__":
    main()

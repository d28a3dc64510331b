"""The scheduler's steps are those of the package's own maps, for every method whose samples follow a velocity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import efm_fast
from efm_fast import Run
from efm_fast.errors import InputError
from efm_fast.pipelines import FieldMatchingPipeline, FieldMatchingScheduler
from efm_fast.sampling import starts

from .conftest import METHODS, SHAPE


@torch.no_grad()
def along(pipe: FieldMatchingPipeline, x: torch.Tensor, steps: int | None = None) -> torch.Tensor:
    pipe.scheduler.set_timesteps(steps)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(pipe.model(x, t).sample, t, x).prev_sample
    return x


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_those_of_the_map(trained: Callable[..., Run], method: str) -> None:
    run = trained(method)
    pipe, x0 = FieldMatchingPipeline.from_run(run), starts(run, 3, 0).view(-1, *SHAPE)
    kind = "forward" if "forward" in run.method.maps else None
    want = efm_fast.sample(run, x0, map=kind)
    got = along(pipe, x0)
    torch.testing.assert_close(got, want.end, rtol=1e-4, atol=1e-4)
    assert (want.end - x0).abs().max() > 0.1
    assert len(pipe.scheduler.timesteps) == int(want.evaluations.max())
    assert pipe.scheduler.order == (2 if pipe.scheduler.config.solver in ("heun", "midpoint") else 1)
    assert (pipe.scheduler.timesteps.diff() >= 0).all()
    other = efm_fast.sample(run, x0, map=kind, steps=3).end
    torch.testing.assert_close(along(pipe, x0, 3), other, rtol=1e-4, atol=1e-4)


def test_a_settings_file_holds_all_of_it(trained: Callable[..., Run], tmp_path: object) -> None:
    for method in METHODS:
        scheduler = FieldMatchingScheduler.from_run(trained(method))
        scheduler.save_pretrained(tmp_path)
        again = FieldMatchingScheduler.from_pretrained(tmp_path)
        for key in ("prediction_type", "L", "solver", "heights", "steps", "tube"):
            assert again.config[key] == scheduler.config[key]
        assert torch.equal(again.timesteps, scheduler.timesteps)
        assert again._stages == scheduler._stages


def test_starts_by_chance_are_refused(trained: Callable[..., Run]) -> None:
    run = trained("means, midpoint")
    method = {"name": "field_matching", "sample": {"map": "forward", "start": "flux"}}
    config = efm_fast.Config.load({**run.config.plain(), "method": method})
    other = type(run.method)(config.method, run.method.problem)
    with pytest.raises(InputError, match=r"method\.sample\.start = flux draws starts by chance"):
        FieldMatchingScheduler.from_run(replace(run, method=other))


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "exponential", "multistep"])
def test_the_order_of_a_solver(solver: str) -> None:
    """dx/dt = -x from 1: halving the step divides the error by two, or by four."""

    def end(steps: int) -> float:
        scheduler = FieldMatchingScheduler(solver=solver)
        scheduler.set_timesteps(steps)
        x = torch.ones(1, 1, 1, 1, dtype=torch.float32)
        for t in scheduler.timesteps:
            x = scheduler.step(-scheduler.scale_model_input(x, t), t, x).prev_sample
        return abs(float(x) - torch.tensor(-1.0).exp().item())

    ratio = end(8) / end(16)
    assert ratio == pytest.approx(2 if solver in ("euler", "exponential") else 4, rel=0.2)


WRONG = {
    "a name": ({"solver": "rk4"}, "solver: expected one of euler, heun"),
    "a kind": ({"prediction_type": "epsilon"}, "prediction_type: expected one of velocity"),
    "L": ({"L": 0.0}, "L: expected a finite number above 0"),
    "an unknown height": ({"heights": {"begin": 0.1}}, "heights: expected one of start, stop"),
    "stop before start": ({"heights": {"start": 0.5, "stop": 0.4}}, "expected 0 <= start < stop <= 1"),
    "a landing at the plate": ({"heights": {"landing": "extra"}}, "expected one below 1 with a landing"),
    "log from the plate": (
        {"heights": {"stop": 0.9, "spacing": "log"}},
        "expected one above 0 with spacing = log",
    ),
    "no tube": ({"prediction_type": "tube"}, "tube: expected radius and end, got None"),
    "no steps": ({"steps": 0}, "num_inference_steps: expected an integer of at least 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_get_a_sentence(case: str) -> None:
    settings, sentence = WRONG[case]
    with pytest.raises(InputError, match=sentence):
        FieldMatchingScheduler(**settings)


def test_steps_out_of_turn_are_refused() -> None:
    scheduler = FieldMatchingScheduler(steps=2)
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(InputError, match="timestep: expected 0, the next of timesteps, got 500"):
        scheduler.step(x, 500.0, x)
    with pytest.raises(InputError, match="model_output: expected 3 channels for prediction_type = velocity"):
        scheduler.step(x[:, :2], 0.0, x)
    scheduler.set_timesteps(1)
    scheduler.step(x, scheduler.timesteps[0], x, return_dict=False)
    with pytest.raises(InputError, match="every step was taken; call set_timesteps"):
        scheduler.step(x, 0.0, x)

"""Lines of the page are the engine's exact lines, from evenly spread starts, packed without loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import efm_fast
from efm_fast.errors import InputError
from efm_fast.page.frame import pack, unpack
from efm_fast.page.scenes import MOST_CHARGES, PRESETS, lines_of, preset_scene, starts


def asked(**facts: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Facts and points of each line that the page would get."""
    arrays = {k: facts.pop(k) for k in ("plus", "minus") if k in facts}
    told, given = unpack(lines_of(pack({"L": 2.0, "lines": 12, "draft": False, **facts}, **arrays)))
    return told, np.split(given["points"], np.cumsum(told["counts"])[:-1])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_charges_and_lines_that_arrive(name: str) -> None:
    facts, arrays = unpack(preset_scene(name))
    few = {plate: rows[: min(facts["charges"], 50)] for plate, rows in arrays.items()}
    assert len(arrays["plus"]) <= MOST_CHARGES
    told, lines = asked(L=facts["L"], **few)
    assert sum(told["ends"].values()) == len(lines) == 12
    assert told["ends"].get("front", 0) + told["ends"].get("behind", 0) == 12
    for line in lines:
        assert min(np.linalg.norm(few["plus"] - line[0, :-1], axis=1)) == 0
        assert line[0, -1] == 0
        assert min(np.linalg.norm(few["minus"] - line[-1, :-1], axis=1)) < 1e-6
        assert np.isclose(line[-1, -1], facts["L"])


def test_lines_are_those_of_trace_lines() -> None:
    generator = torch.Generator().manual_seed(0)
    plus, minus = (torch.randn(150, 2, generator=generator) for _ in range(2))
    _, lines = asked(plus=plus.numpy(), minus=minus.numpy())
    _, x, z = starts(plus, 12)
    paths = efm_fast.trace_lines(x, z, plus, minus, 2.0, method="rk4", step=0.35, return_paths=True).paths
    assert paths is not None
    for k, line in enumerate(lines):
        expected = paths[: len(line) - 1, k].numpy()
        assert np.array_equal(line[1:], expected)
        assert np.array_equal(line[-1], paths[-1, k].numpy())


def test_a_draft_ends_where_the_fine_lines_do_and_every_takes_some_of_them() -> None:
    generator = torch.Generator().manual_seed(1)
    plates = {name: torch.randn(400, 2, generator=generator).numpy() for name in ("plus", "minus")}
    _, fine = asked(lines=60, **plates)
    _, draft = asked(lines=60, draft=True, **plates)
    same = [np.array_equal(a[-1], b[-1]) for a, b in zip(fine, draft, strict=True)]
    assert np.mean(same) > 0.85
    _, some = asked(lines=60, every=4, **plates)
    assert len(some) == 15
    assert all(np.array_equal(a, b) for a, b in zip(some, fine[::4], strict=True))


def test_a_charge_with_several_lines_sends_them_evenly() -> None:
    for features in (1, 2):
        plus = torch.tensor([[0.0] * features, [5.0] * features])
        index, x, z = starts(plus, 40)
        assert index.bincount().tolist() == [20, 20]
        u = torch.cat([x - plus[index], z[:, None]], 1)
        u = u / u.norm(dim=1, keepdim=True)
        assert u[:20].mean(0).norm() < 0.02
        nearest = (u[:20] @ u[:20].T).fill_diagonal_(-1).max(1).values
        assert nearest.max() < np.cos(0.25)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"L": 0.0}, "L: expected a finite number above 0"),
        ({"L": "far"}, "L: expected a finite number above 0"),
        ({"L": 1e9}, "L: expected 0.001 to 10000"),
        ({"lines": 0}, "lines: expected an integer of at least 1"),
        ({"lines": 10**6}, "lines: expected at most 300"),
        ({"every": 0}, "every: expected an integer of at least 1"),
        ({"draft": 1}, "draft: expected True or False"),
        ({"plus": np.zeros((2001, 2))}, "plus: expected 1 to 2000 charges, got 2001"),
        ({"plus": np.zeros((0, 2))}, "plus: expected 1 to 2000 charges, got 0"),
        ({"plus": np.zeros((3, 3))}, "plus: expected charges of 1 or 2 features"),
        ({"plus": np.array([[np.nan, 0]])}, "plus: expected finite numbers"),
        ({"minus": np.ones((3, 1))}, "minus: expected 2 features as in plus, got 1"),
    ],
)
def test_a_bad_request_gets_a_sentence(facts: dict[str, Any], said: str) -> None:
    plates = {"plus": np.eye(2), "minus": np.eye(2)}
    with pytest.raises(InputError, match=said):
        asked(**{**plates, **facts})
    with pytest.raises(InputError, match="minus: expected charges of 1 or 2 features, got none"):
        asked(plus=np.eye(2))


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean .*gaussian_to_swissroll"):
        preset_scene("gaussian_to_swisroll")

"""Each alarm has a round that triggers it, and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from client.training.workplace import Workplace
from common.approval.vocabulary import VOCABULARY
from common.settings.stages import Stage
from server.alarms import RULES, Alarm, alarms

WELL = {"output_spread": 0.9, "style_spread": 0.3, "win_rate": 0.7, "style_drift": 0.1}


def round_of(**changes: float) -> dict[str, dict[str, Any]]:
    return {"a": {"code": "ok", "metrics": {f"training.{name}": value for name, value in (WELL | changes).items()}}}


PAST = [{"sites": round_of()}, {"sites": round_of()}]


def kinds(sites: dict[str, Any], past: list[dict[str, Any]]) -> list[str]:
    return [alarm.kind for alarm in alarms(sites, past)]


def test_a_game_that_goes_well_raises_nothing() -> None:
    assert alarms(round_of(), []) == alarms(round_of(), PAST) == ()


@pytest.mark.parametrize(
    ("change", "kind", "limit"),
    [
        ({"output_spread": 0.4}, "mode-collapse", 0.45),
        ({"style_spread": 0.05}, "style-collapse", 0.06),
        ({"win_rate": 0.99}, "discriminator-wins", 0.98),
        ({"win_rate": 0.3}, "discriminator-loses", 0.4),
        ({"style_drift": 0.5}, "style-drift", 0.3),
    ],
)
def test_each_alarm_is_triggered_by_its_figure(change: dict[str, float], kind: str, limit: float) -> None:
    (alarm,) = alarms(round_of(**change), PAST)
    assert alarm == Alarm("a", kind, next(iter(change.values())), pytest.approx(limit))


def test_without_a_past_only_what_is_wrong_in_itself_alarms() -> None:
    assert kinds(round_of(output_spread=0.4, style_spread=0.01, style_drift=9.0), []) == []
    assert kinds(round_of(output_spread=0.09, win_rate=1.0), []) == ["mode-collapse", "discriminator-wins"]


def test_a_small_drift_is_none_however_much_larger_than_before() -> None:
    calm = [{"sites": round_of(style_drift=0.001)}] * 2
    assert kinds(round_of(style_drift=0.19), calm) == []


def test_a_site_without_figures_raises_nothing() -> None:
    assert alarms({"a": {"code": "late"}, "b": {"code": "ok", "metrics": {}}}, PAST) == ()


def test_what_alarms_look_at_may_leave_a_site() -> None:
    assert {f"training.{name}" for name, _, _ in RULES.values()} <= VOCABULARY


def test_a_step_knows_how_many_patients_must_stand_behind_a_figure(consortium: Any, tiny: Any) -> None:
    told: list[int] = []

    def noting(stage: Stage) -> Callable[..., Any]:
        def build_step(model: Any, place: Workplace) -> Any:
            told.append(place.minimum)
            return tiny.linear_step()(stage)(model, place)

        return build_step

    study = tiny.make_study(reporting="minimum_count = 4", stages__generator="rounds = 1\nlocal_steps = 1")
    consortium.run(study, bench=replace(tiny.bench, step_builder=noting))
    assert told and set(told) == {4}

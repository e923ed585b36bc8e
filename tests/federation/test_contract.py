"""The participation contract: who is asked, who is waited for, and what the end of a run says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Message

from common.errors import DataError, FederationError, RunFailedError
from common.sequences import Sequence
from common.settings.stages import Stage
from server.events import RoundFinished, RoundStarted, RunPlanned
from server.exchange import Exchange
from simulations.grid import InProcessGrid

FOR_GOOD = 10**6


class PowerCutError(Exception):
    """What an event callback raises to stop the coordinator where it stands."""


def test_the_end_of_a_run_names_who_is_registered_configured_and_contributed(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    from client.config import load_site

    def opener(path: Any, study: Any) -> Any:
        if load_site(path).name == "c":
            raise DataError("no case")
        return tiny.open_cached(path, study)

    consortium.add("c", 1, [Sequence.T1])
    result = consortium.run(tiny.make_study(["a", "b", "c"]), opener=opener)
    written = json.loads((result.out / "run.json").read_text())["contract"]
    assert written["registered"] == written["configured"] == ["a", "b", "c"] and written["planned"] == ["a", "b"]
    kept = {"asked": ["a", "b"], "contributed": ["a", "b"], "sat_out": []}
    assert written["stages"] == {"generator": kept} and written["withdrawn"] == []


def test_incomplete_and_failed_have_exit_codes_of_their_own(consortium: Any, tiny: SimpleNamespace) -> None:
    def broken(path: Any, study: Any) -> Any:
        raise DataError("no case")

    failed = consortium.run(tiny.make_study(), opener=broken)
    assert failed.status == "failed"
    with pytest.raises(RunFailedError) as error:
        failed.require_complete()
    assert (error.value.exit_code, FederationError.exit_code) == (7, 6)


def test_a_stage_may_have_a_deadline_of_its_own(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(stages__generator="rounds = 1\ndeadline_s = 7.0", stages__synthesiser="rounds = 1")
    assert study.deadline_s(Stage.GENERATOR) == 7.0 and study.deadline_s(Stage.SYNTHESISER) == 3600.0
    sent: list[float] = []

    class Listening(Exchange):
        def ask(self, contents: Any, message_type: str, group: str, deadline_s: float, *more: Any) -> Any:
            sent.append(deadline_s)
            return super().ask(contents, message_type, group, deadline_s, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.rounds.Exchange", Listening)
        consortium.run(study)
    assert sent == [3600.0, 7.0, 3600.0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A clock on which time passes by sleeping alone."""
    now = {"s": 0.0}
    monkeypatch.setattr("time.monotonic", lambda: now["s"])
    monkeypatch.setattr("time.sleep", lambda seconds: now.update(s=now["s"] + seconds))
    return now


class Flaky(InProcessGrid):
    """Some nodes are gone while their turn lasts: Flower reports that, and does not list them."""

    gone: dict[int, int]

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in super().get_node_ids() if self.gone.get(node, 0) < FOR_GOOD / 2]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        from flwr.app import Error

        for identifier in message_ids:
            message = self._waiting.get(identifier)
            if message is not None and self.gone.get(message.metadata.dst_node_id, 0) > 0:
                self.gone[message.metadata.dst_node_id] -= 1
                return [Message(Error(5, "gone"), reply_to=self._waiting.pop(identifier))]
        return super().pull_messages(message_ids)


def play(consortium: Any, study: Any, gone: dict[int, int], **more: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flaky, "gone", gone, raising=False)
        patch.setattr("simulations.federation.InProcessGrid", Flaky)
        return consortium.run(study, **more)


def leaving_after_round_1() -> tuple[dict[int, int], Callable[[Any], None]]:
    """Return the nodes that are gone, none yet, and a listener that lets node 3 leave for good after round 1."""
    gone: dict[int, int] = {}

    def leave(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1:
            gone[3] = FOR_GOOD

    return gone, leave


def test_a_site_whose_node_was_gone_is_asked_again_and_counts(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    undisturbed = tiny.fingerprint(consortium.run(tiny.make_study(), where="undisturbed"))
    result = play(consortium, tiny.make_study(), {3: 2}, where="flaky")
    assert result.faults == () and tiny.fingerprint(result) == undisturbed


def test_a_site_that_stays_away_is_named_and_a_sufficient_round_goes_on(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    gone, leave = leaving_after_round_1()
    study = tiny.make_study(federation="absence_s = 50.0")
    result = play(consortium, study, gone, on_event=leave)
    assert result.status == "complete" and 50 < clock["s"] < 100  # waited for in round 2, given up in round 3
    assert {(fault.site, fault.code) for fault in result.faults} == {("b", "unreachable")}


def test_a_site_that_misses_the_roll_call_of_a_resumed_run_is_asked_in_every_round_still(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    consortium.add("c", 2, [Sequence.T1], shift=0.2)
    study, gone, asked = tiny.make_study(["a", "b", "c"], federation="quorum = 2"), {}, []
    undisturbed = tiny.fingerprint(consortium.run(study, where="undisturbed"))

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished):
            raise PowerCutError

    def come_back(event: Any) -> None:
        if isinstance(event, RunPlanned):
            gone.clear()
        if isinstance(event, RoundStarted):
            asked.append(event.sites)

    with pytest.raises(PowerCutError):
        consortium.run(study, where="cut", on_event=strike)
    gone[4] = FOR_GOOD
    result = play(consortium, study, gone, where="cut", resume=True, on_event=come_back)
    assert asked == [("a", "b", "c")] * 2 and [str(fault) for fault in result.faults] == ["c: unreachable (inventory)"]
    assert tiny.fingerprint(result) == undisturbed


def test_a_site_that_missed_the_roll_call_is_not_waited_for_again_by_the_first_round(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    study, began = tiny.make_study(federation="absence_s = 5000.0"), {}

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike)
    listen = lambda event: began.setdefault(type(event), clock["s"])  # noqa: E731 (one expression)
    result = play(consortium, study, {3: FOR_GOOD}, resume=True, on_event=listen)
    assert result.status == "complete" and clock["s"] - began[RunPlanned] < 100


def test_a_required_site_is_waited_for_until_the_deadline_and_then_the_run_is_incomplete(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    gone, leave = leaving_after_round_1()
    study = tiny.make_study(federation='required = ["b"]\nabsence_s = 0.0\ndeadline_s = 500.0')
    result = play(consortium, study, gone, on_event=leave)
    assert 500 <= clock["s"] < 510
    assert result.status == "incomplete" and "lacks b" in str(result.reason)
    assert ("b", "unreachable") in {(fault.site, fault.code) for fault in result.faults}


def test_a_late_answer_is_written_down_with_its_site_and_round_and_counts_nowhere(
    consortium: Any, tiny: SimpleNamespace, clock: dict[str, float]
) -> None:
    from server.journal import Journal

    class Slow(InProcessGrid):
        """Holds site b's first answer back until the next round."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            known = [self._waiting[each] for each in message_ids if each in self._waiting]
            groups = {message.metadata.group_id for message in known}
            late = {
                message.metadata.message_id
                for message in known
                if (message.metadata.dst_node_id, message.metadata.group_id) == (3, "generator-1")
                and groups == {"generator-1"}
            }
            return super().pull_messages([each for each in message_ids if each not in late])

    study = tiny.make_study(stages__generator="rounds = 2\nlocal_steps = 1\ndeadline_s = 100.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulations.federation.InProcessGrid", Slow)
        result = consortium.run(study)
    assert str(result.faults[0]) == "b: late (generator round 1)" and result.status == "complete"
    with Journal.look_into(result.out) as journal:
        noted = [str(fault) for fault, _ in journal.noted_faults()]
        (first, _) = journal.records(Stage.GENERATOR)
    assert noted[:2] == ["b: late (generator round 1)", "b: answered-late (generator round 1)"]
    assert first["sites"]["b"]["code"] == "late"

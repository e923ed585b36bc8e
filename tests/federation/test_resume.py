"""A run that is interrupted and resumed leaves the same bytes as one that is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import DataError, ReleaseError, StudyError
from common.settings.stages import Stage
from server.events import RoundFinished, SiteAnswered, StageFinished
from server.journal import Journal


class PowerCutError(Exception):
    """What an event callback raises to stop the coordinator where it stands."""


def two_stages(tiny: SimpleNamespace) -> Any:
    return tiny.make_study(
        stages__generator="rounds = 3\nlocal_steps = 2\nema_decay = 0.8",
        stages__synthesiser="rounds = 2\nlocal_steps = 2",
    )


def is_answer(event: Any, stage: Stage, number: int, site: str) -> bool:
    return isinstance(event, SiteAnswered) and (event.stage, event.round, event.site) == (stage, number, site)


CUTS = {
    "after round 1": lambda e: isinstance(e, RoundFinished) and e.round == 1,
    "after round 2": lambda e: isinstance(e, RoundFinished) and e.round == 2,
    "within round 1": lambda e: is_answer(e, Stage.GENERATOR, 1, "a"),
    "within round 3, all answered": lambda e: is_answer(e, Stage.GENERATOR, 3, "b"),
    "between stages": lambda e: isinstance(e, StageFinished) and e.stage is Stage.GENERATOR,
    "within the second stage": lambda e: is_answer(e, Stage.SYNTHESISER, 2, "a"),
    "before the release": lambda e: isinstance(e, StageFinished) and e.stage is Stage.SYNTHESISER,
}


@pytest.fixture(scope="module")
def undisturbed(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run over the same sites leaves that nothing interrupts."""
    found: dict[str, str] = parts.fingerprint(parts.two_sites(tmp_path_factory.mktemp("whole")).run(two_stages(parts)))
    return found


@pytest.mark.parametrize("name", CUTS)
def test_a_resumed_run_leaves_the_same_bytes(
    name: str, consortium: Any, tiny: SimpleNamespace, undisturbed: dict[str, str]
) -> None:
    study, cut = two_stages(tiny), CUTS[name]

    def strike(event: Any) -> None:
        if cut(event):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(study, where="cut", on_event=strike)
    assert tiny.fingerprint(consortium.run(study, where="cut", resume=True)) == undisturbed


def test_a_run_that_was_cut_again_and_again_leaves_the_same_bytes(
    consortium: Any, tiny: SimpleNamespace, undisturbed: dict[str, str]
) -> None:
    study = two_stages(tiny)

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished):
            raise PowerCutError

    for attempt in range(5):
        with pytest.raises(PowerCutError):
            consortium.run(study, where="cut", on_event=strike, resume=attempt > 0)
    assert tiny.fingerprint(consortium.run(study, where="cut", resume=True)) == undisturbed


def test_a_torn_line_of_metrics_is_mended(consortium: Any, tiny: SimpleNamespace) -> None:
    study = two_stages(tiny)
    result = consortium.run(study)
    whole = (result.out / "metrics.jsonl").read_bytes()
    (result.out / "metrics.jsonl").write_bytes(whole[:-30])
    assert consortium.run(study, resume=True).status == "complete"
    assert (result.out / "metrics.jsonl").read_bytes() == whole


def test_resuming_a_complete_run_trains_nothing(consortium: Any, tiny: SimpleNamespace) -> None:
    study = two_stages(tiny)
    before = consortium.run(study)
    heard: list[Any] = []
    after = consortium.run(study, resume=True, on_event=heard.append)
    assert after.release_digest == before.release_digest
    assert not any(isinstance(event, RoundFinished) for event in heard)


def test_a_new_run_does_not_overwrite_another(consortium: Any, tiny: SimpleNamespace) -> None:
    consortium.run(tiny.make_study())
    with pytest.raises(StudyError, match="--resume"):
        consortium.run(tiny.make_study())


def test_a_run_is_not_resumed_under_another_study(consortium: Any, tiny: SimpleNamespace) -> None:
    consortium.run(tiny.make_study())
    with pytest.raises(StudyError, match="another study"):
        consortium.run(tiny.make_study(federation="quorum = 2"), resume=True)


def strike_after(number: int) -> Any:
    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == number:
            raise PowerCutError

    return strike


def test_a_checkpoint_with_one_flipped_byte_is_refused(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study()
    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike_after(2))
    path: Path = consortium.root / "run" / "rounds" / "generator" / "2" / "global.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    with pytest.raises(ReleaseError, match="changed since its round"):
        consortium.run(study, resume=True)


def test_a_stale_state_of_a_site_is_not_taken_by_a_new_run_of_the_same_name(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    study = tiny.make_study()
    first = tiny.fingerprint(consortium.run(study, where="first"))
    again = tiny.fingerprint(consortium.run(study, where="again"))  # the sites still keep the states of rounds 2 and 3
    assert first == again


def test_a_site_that_was_not_there_at_the_beginning_stays_out_of_a_resumed_run(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    study = tiny.make_study()

    def without_b(path: Path, asked: Any) -> Any:
        if path.parent.name == "b":
            raise DataError("not yet")
        return tiny.open_cached(path, asked)

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(study, opener=without_b, on_event=strike)
    result = consortium.run(study, resume=True)
    assert result.status == "complete"
    assert [str(fault) for fault in result.faults] == ["b: not-in-plan (inventory)"]


def cut_before_the_plan(consortium: Any, study: Any) -> None:
    def strike(*_: Any) -> None:
        raise PowerCutError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr("server.rounds.call_roll", strike)
        consortium.run(study)


def test_what_was_asked_of_a_run_before_its_plan_is_not_forgotten_when_it_is_resumed(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    study = tiny.make_study()
    cut_before_the_plan(consortium, study)
    with Journal.look_into(consortium.root / "run") as journal:
        journal.requests.withdraw_site("b")
    result = consortium.run(study, resume=True)
    assert result.status == "complete" and [str(fault) for fault in result.faults] == ["b: withdrawn (inventory)"]
    assert result.contract.planned == ("a",)


def test_a_run_that_was_cut_before_its_plan_is_not_resumed_under_another_study(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    cut_before_the_plan(consortium, tiny.make_study())
    with pytest.raises(StudyError, match="another study"):
        consortium.run(tiny.make_study(federation="quorum = 2"), resume=True)
    assert consortium.run(tiny.make_study(federation="quorum = 2")).status == "complete"  # a new run in its place


def test_readable_copies_that_were_lost_or_damaged_are_written_again(consortium: Any, tiny: SimpleNamespace) -> None:
    with pytest.raises(PowerCutError):
        consortium.run(tiny.make_study(), on_event=strike_after(2))
    out = consortium.root / "run"
    names = ("plan.json", "study.toml", "metrics.jsonl", "rounds/generator/1/round.json")
    before = {name: (out / name).read_bytes() for name in names}
    (out / "plan.json").write_text("no json")
    for name in names[1:]:
        (out / name).unlink()
    with pytest.raises(PowerCutError):
        consortium.run(tiny.make_study(), resume=True, on_event=strike_after(3))
    assert {name: (out / name).read_bytes()[: len(blob)] for name, blob in before.items()} == before


def test_a_damaged_journal_is_named(consortium: Any, tiny: SimpleNamespace) -> None:
    out = consortium.run(tiny.make_study()).out
    (out / "journal" / "journal.sqlite").write_bytes(b"no database, " * 1000)
    with pytest.raises(ReleaseError, match=r"journal\.sqlite"):
        consortium.run(tiny.make_study(), resume=True)

"""A finished update is kept at the site: asked again, it answers with the same bytes and trains nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from client.app import make_app
from client.training.kept_update import KeptUpdates
from client.training.tasks import Bench
from common.errors import ReleaseError
from common.frozen_message import freeze, thaw
from common.parameters import grouping_of, known_groups
from common.parcel import unwrap
from common.plan import Plan
from common.records import ANSWER, TASK, UPDATE, Answer, Task, arrays_of, pack_text, read_text
from common.secure.given import given_by
from common.sequences import Sequence
from common.settings.stages import Stage
from server.downlink import Downlink
from server.events import RoundFinished, SiteAnswered
from simulations.grid import InProcessGrid


class Hospital:
    """Site `a`, asked directly; counts how often it trains."""

    def __init__(self, tiny: SimpleNamespace, root: Path) -> None:
        self.tiny, self.path, self.trained = tiny, tiny.write_site(root / "a", "a", 3, [Sequence.T1]), 0
        self.study = tiny.make_study(["a"])
        self.inventory = tiny.open_cached(self.path, self.study).inventory
        self.work = self.path.parent / "work"
        InProcessGrid({})  # tells Flower which run this process belongs to

    def model(self) -> torch.nn.Module:
        plan = self.plan()
        return self.tiny.build(Stage.GENERATOR, self.study, plan.domains(self.study), torch.Generator().manual_seed(1))

    def plan(self) -> Plan:
        return Plan(study_digest=self.study.digest, inventory=(self.inventory,))

    def task(self, number: int = 1, key: str = "a") -> Task:
        return Task(
            run="0" * 16, stage=Stage.GENERATOR, round=number, global_sha256=key * 64, study=self.study,
            study_digest=self.study.digest, plan=self.plan(), groups=self.downlink().groups(self.known()),
        )  # fmt: skip

    def downlink(self) -> Downlink:
        model = self.model()
        return Downlink(model.state_dict(), self.study.wire, grouping_of(model))

    def known(self) -> frozenset[str]:
        return known_groups("a", self.plan().domains(self.study))

    def answer(self, task: Task) -> RecordDict:
        """Answer as a ClientApp of a new process would: nothing is remembered but on the disk."""
        content = RecordDict({TASK: pack_text(task), **self.downlink().lacking(self.known(), ())})
        message = Message(content, 2, "train")
        message.metadata.__dict__["_message_id"] = "1"
        app = make_app(self.tiny.open_cached, Bench(self.tiny.build, self._step, torch.device("cpu")))
        context = Context(1, 2, {"site": str(self.path)}, RecordDict(), {})
        return unwrap(app(message, context).content)

    def _step(self, stage: Stage) -> Any:
        build = self.tiny.linear_step()(stage)

        def counting(model: Any, place: Any) -> Any:
            self.trained += 1
            return build(model, place)

        return counting


@pytest.fixture
def hospital(tiny: SimpleNamespace, tmp_path: Path) -> Hospital:
    return Hospital(tiny, tmp_path)


def test_a_repeated_task_is_answered_with_the_same_bytes_and_nothing_is_trained(hospital: Hospital) -> None:
    first = hospital.answer(hospital.task())
    again = hospital.answer(hospital.task())
    assert freeze(first) == freeze(again) and hospital.trained == 1
    assert read_text(again, ANSWER, Answer).code == "ok" and "trunk.weight" in arrays_of(again, UPDATE)


def test_another_global_state_or_round_is_another_task(hospital: Hospital) -> None:
    for task in (hospital.task(), hospital.task(key="b"), hospital.task(2)):
        hospital.answer(task)
    assert hospital.trained == 3


def test_this_round_and_the_one_before_are_kept_and_no_other(hospital: Hospital) -> None:
    for number in (1, 2, 3):
        hospital.answer(hospital.task(number))
    kept = sorted(path.name.split(".")[1] for path in hospital.work.glob("state/*/kept/*.answer"))
    assert kept == ["2", "3"]
    hospital.answer(hospital.task(2))
    assert hospital.trained == 3


def test_a_round_is_kept_from_two_global_states_at_most(tmp_path: Path, hospital: Hospital) -> None:
    kept = KeptUpdates(tmp_path / "kept", "f" * 64)
    for number, key in enumerate("abc"):
        kept.keep(hospital.task(key=key), "1" * 64, bytes([number]))
    found = [kept.find(hospital.task(key=key), "1" * 64) for key in "abc"]
    assert found == [None, b"\x01", b"\x02"]


def test_a_site_whose_cases_changed_meanwhile_trains_anew(hospital: Hospital) -> None:
    hospital.answer(hospital.task())
    hospital.tiny.write_site(hospital.path.parent, "a", 4, [Sequence.T1])
    hospital.answer(hospital.task())
    assert hospital.trained == 2


def test_an_update_does_not_leave_under_another_policy_than_it_was_kept_under(hospital: Hospital) -> None:
    task = hospital.task()
    first, text = hospital.answer(task), hospital.path.read_text()
    hospital.path.write_text(text.replace("minimum_patients = 1", "minimum_patients = 4"))
    stricter = hospital.answer(task)
    assert not read_text(stricter, ANSWER, Answer).patients and UPDATE not in stricter
    hospital.path.write_text(text)
    assert freeze(hospital.answer(task)) == freeze(first) and hospital.trained == 2


def test_a_private_round_is_not_trained_again_because_the_policy_changed(hospital: Hospital) -> None:
    hospital.study = hospital.tiny.make_study(
        ["a"], privacy='stages = ["generator"]\nnoise_multiplier = 2.0\nsampling_rate = 0.5\nepsilon = 50.0'
    )
    task = hospital.task()
    kept = KeptUpdates(hospital.work / "state" / task.run / "kept", "e" * 64)
    kept.keep(task, hospital.tiny.open_cached(hospital.path, hospital.study).cohort, b"of another policy")
    assert read_text(hospital.answer(task), ANSWER, Answer).code == "nothing-may-leave" and hospital.trained == 0


def test_a_damaged_answer_is_removed_and_the_round_trained_anew(hospital: Hospital) -> None:
    hospital.answer(hospital.task())
    (path,) = hospital.work.glob("state/*/kept/*.answer")
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert read_text(hospital.answer(hospital.task()), ANSWER, Answer).code == "ok"
    assert hospital.trained == 2


def test_an_answer_that_was_lost_on_its_way_is_sent_again_and_the_run_ends_with_the_same_bytes(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    """The coordinator dies after every site has finished the round, and before it has heard of any."""
    trained: list[str] = []

    def counting(stage: Stage) -> Any:
        def build_step(model: Any, place: Any) -> Any:
            trained.append(place.site_name)
            return tiny.linear_step()(stage)(model, place)

        return build_step

    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (2, "b"):
            raise PowerCutError

    bench, study = Bench(tiny.build, counting, torch.device("cpu")), tiny.make_study()
    undisturbed = tiny.fingerprint(consortium.run(study, bench=bench, where="undisturbed"))
    for state in consortium.root.glob("sites/*/work/state"):
        state.rename(state.with_name("other"))
    trained.clear()
    with pytest.raises(PowerCutError):
        consortium.run(study, bench=bench, where="cut", on_event=strike)
    spool = consortium.root / "cut" / "run" / "journal" / "spool"
    for path in spool.rglob("*.safetensors"):
        path.unlink()  # as if nothing of it had arrived
    finished = consortium.run(study, bench=bench, where="cut", resume=True)
    assert tiny.fingerprint(finished) == undisturbed
    assert sorted(trained) == ["a"] * 3 + ["b"] * 3  # three rounds, each once


def test_accepted_updates_are_not_even_asked_for_again(consortium: Any, tiny: SimpleNamespace) -> None:
    class PowerCutError(Exception):
        pass

    heard: list[Any] = []

    def strike(event: Any) -> None:
        if isinstance(event, SiteAnswered) and event.site == "a":
            raise PowerCutError

    study = tiny.make_study()
    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike)
    finished = consortium.run(study, resume=True, on_event=heard.append)
    answers = [(event.round, event.site) for event in heard if isinstance(event, SiteAnswered)]
    assert answers == [(1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b")] and finished.status == "complete"
    (first, *_) = [event.record for event in heard if isinstance(event, RoundFinished)]
    assert sorted(first["sites"]) == ["a", "b"]


def test_a_message_comes_back_from_its_bytes() -> None:
    arrays = ArrayRecord({"w": Array(dtype="float32", shape=(2, 1), stype="raw", data=bytes(8))})
    content = RecordDict({"u": arrays, "c": ConfigRecord({"json": "{}"}), "m": MetricRecord({"x": 0.1, "n": 2})})
    back = thaw(freeze(content))
    assert list(back) == ["u", "c", "m"] and freeze(back) == freeze(content)
    assert (back["u"]["w"].shape, back["u"]["w"].data) == ((2, 1), bytes(8))
    assert (back["c"]["json"], back["m"]["x"], back["m"]["n"]) == ("{}", 0.1, 2)
    with pytest.raises(ReleaseError, match="another version"):
        thaw(b"other" + freeze(content))


@pytest.mark.parametrize("change", ["none", "one missing", "one of another site", "statistics", "norms"])
def test_a_site_starts_from_all_the_groups_that_it_may_know_and_no_other(hospital: Hospital, change: str) -> None:
    """Left out, a group would begin with the seed's weights: at one site alone, that would single it out."""
    groups = dict(hospital.task().groups)
    some = groups["shared"]
    changed = {
        "none": {},
        "one missing": {group: digest for group, digest in groups.items() if group != "shared"},
        "one of another site": groups | {"domain/b:T1:lesion": some},
        "statistics": groups | {"statistics": some},
        "norms": groups | {"norms": some},
    }
    answer = hospital.answer(hospital.task().model_copy(update={"groups": changed[change]}))
    assert read_text(answer, ANSWER, Answer).code == "wrong-groups" and hospital.trained == 0


def test_a_round_beyond_those_of_the_approved_study_is_refused(hospital: Hospital) -> None:
    """Each more would be one more sum of updates that hardly differ."""
    hospital.answer(hospital.task(3))
    assert read_text(hospital.answer(hospital.task(4)), ANSWER, Answer).code == "wrong-round" and hospital.trained == 1


def test_what_a_site_signs_that_it_trained_from_covers_plan_and_earlier_models(hospital: Hospital) -> None:
    task = hospital.task()
    other_plan = Plan(
        study_digest=task.study_digest, inventory=(hospital.inventory.model_copy(update={"training_patients": 99}),)
    )
    changed = [
        task,
        task.model_copy(update={"plan": other_plan}),
        task.model_copy(update={"earlier": {Stage.MAPS: "d" * 64}}),
        task.model_copy(update={"earlier": {Stage.MAPS: "e" * 64}}),
        task.model_copy(update={"groups": {**task.groups, "shared": "e" * 64}}),
    ]
    signed = [given_by(each, each.groups) for each in changed]
    assert all(signed.count(each) == 1 for each in signed)

"""A federation whose generator stage is private: what it costs, who sits out, what leaves, and what a kill leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from client.answers import secure_sum
from client.cli import app
from client.privacy import accountant
from client.privacy.ledger import Ledger
from client.privacy.private_step import Move, PrivateStep
from client.training.kept_update import KeptUpdates
from client.training.tasks import Bench
from common import console
from common.errors import StudyError
from common.records import BUDGET_EXHAUSTED
from common.release import load_release
from common.sequences import Sequence
from common.settings.stages import Stage
from common.spent import Spent
from common.study import parse_study
from simulations.roster import ROSTER, keep_signing_key

PRIVATE = 'stages = ["generator"]\nsampling_rate = 0.5\nnoise_multiplier = 2.0\nepsilon = 50.0'


@pytest.fixture(autouse=True)
def quick_accountant(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """RDP alone: the other accountant takes seconds, and has tests of its own."""
    monkeypatch.setattr(accountant, "prv_epsilon", lambda steps, delta: None)
    accountant._smaller.cache_clear()
    yield
    accountant._smaller.cache_clear()


@pytest.fixture
def bench(tiny: Any) -> Bench:
    """The linear bench, whose step can be taken patient by patient."""

    def builder(stage: Stage) -> Any:
        def build_step(model: Any, place: Any) -> Any:
            step = tiny.linear_step()(stage)(model, place)
            step.trained_patients = lambda: tuple(step.store.patients())
            step.draw_of = lambda patient, generator: step.store.of_patient(patient).draw(1, generator)
            step.moves = lambda number: (Move("all", step._loss),)
            return step

        return build_step

    return Bench(tiny.build, builder, torch.device("cpu"))


def workdir(consortium: Any, site: str) -> Path:
    return consortium.sites[site].parent / "work"


def records(consortium: Any, out: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (consortium.root / out / "metrics.jsonl").read_text().splitlines()]


def test_a_private_run_completes_and_its_release_says_what_each_site_has_spent(consortium: Any, tiny: Any, bench: Any):
    result = consortium.run(tiny.make_study(privacy=PRIVATE), bench=bench)
    result.require_complete()
    told = load_release(result.release).manifest.privacy[Stage.GENERATOR]
    assert (told.noise_multiplier, told.sampling_rate, sorted(told.sites)) == (2.0, 0.5, ["a", "b"])
    assert told.sites["a"].steps == 9 and told.sites["a"].delta == 1e-5
    assert told.sites["a"].study_epsilon == told.sites["a"].stage_epsilon > 0
    assert [(entry.round, entry.steps) for entry in Ledger(workdir(consortium, "a")).entries()] == [
        (1, 3),
        (2, 3),
        (3, 3),
    ]


def test_a_study_without_privacy_writes_no_ledger_and_says_nothing_of_it(
    consortium: Any, tiny: Any, bench: Any
) -> None:
    result = consortium.run(tiny.make_study(), bench=bench)
    assert load_release(result.release).manifest.privacy == {}
    assert not (workdir(consortium, "a") / "privacy").exists()


def test_no_metric_of_a_private_stage_leaves_a_site(consortium: Any, tiny: Any, bench: Any) -> None:
    consortium.run(tiny.make_study(privacy=PRIVATE), bench=bench).require_complete()
    entries = [entry for record in records(consortium) for entry in record["sites"].values()]
    assert all(entry["metrics"] == {} and entry["withheld"] == [] and entry["spent"] for entry in entries)


def test_noise_does_not_come_from_the_seed(consortium: Any, tiny: Any, bench: Any) -> None:
    weights = {}
    for out, privacy in (("p", PRIVATE), ("q", PRIVATE), ("r", None), ("s", None)):
        study = tiny.make_study(privacy=privacy, stages__generator="rounds = 1\nlocal_steps = 2")
        result = consortium.run(study, out=out, where=out, bench=bench)
        weights[out] = (result.release / "generator.safetensors").read_bytes()
    assert weights["p"] != weights["q"] and weights["r"] == weights["s"]


def test_a_site_whose_budget_is_spent_sits_out_and_the_others_go_on(
    consortium: Any, tiny: Any, bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    site_file = consortium.sites["a"]
    site_file.write_text(site_file.read_text() + "epsilon_budget = 2.8\n")
    result = consortium.run(tiny.make_study(privacy=PRIVATE), bench=bench)
    result.require_complete()
    said = [record["sites"].get("a", {}).get("code") for record in records(consortium)]
    assert said == ["ok", BUDGET_EXHAUSTED, None]
    assert not result.faults
    assert console.run(app, "gliofed-client", ["ledger", "--site", str(site_file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (study,) = report["studies"]
    assert (study["name"], study["stages"], study["rounds"], study["steps"]) == ("tiny", ["generator"], 1, 3)
    assert 0 < study["epsilon"] <= study["epsilon_rdp"] and report["epsilon"] == study["epsilon"]
    assert report["left"] == pytest.approx(2.8 - report["epsilon"])
    assert console.run(app, "gliofed-client", ["ledger", "--site", str(site_file)]) == 0
    assert "of 2.8 left" in capsys.readouterr().out


@pytest.mark.parametrize(("contract", "lacks"), [("quorum = 2", "quorum of 2"), ('required = ["a"]', "lacks a")])
def test_a_site_whose_budget_is_spent_is_missing_from_a_quorum(
    contract: str, lacks: str, consortium: Any, tiny: Any, bench: Any
) -> None:
    site_file = consortium.sites["a"]
    site_file.write_text(site_file.read_text() + "epsilon_budget = 2.8\n")
    result = consortium.run(tiny.make_study(privacy=PRIVATE, federation=contract), bench=bench)
    assert result.status == "incomplete" and lacks in result.reason
    assert "no privacy is left to spend at a" in result.reason
    assert len(records(consortium)) == 1
    again = consortium.run(tiny.make_study(privacy=PRIVATE, federation=contract), bench=bench, resume=True)
    assert again.status == "incomplete" and again.reason == result.reason


def test_the_study_has_a_limit_of_its_own_over_all_its_runs(consortium: Any, tiny: Any, bench: Any) -> None:
    study = tiny.make_study(privacy=PRIVATE.replace("50.0", "4.5"))
    consortium.run(study, bench=bench).require_complete()
    again = consortium.run(study, out="again", bench=bench)
    assert again.status == "failed" and not again.faults
    assert len(Ledger(workdir(consortium, "a")).entries()) == 3


# ---- under secure aggregation


def masked_study(consortium: Any, tiny: Any, sites: str, **more: str) -> Any:
    """A private study of `sites` under secure aggregation; each site gets a key and its own copy of the roster."""
    for number, name in enumerate(sites):
        consortium.add(name, number + 2, [Sequence.T1], shift=0.1 * number)
        path = consortium.sites[name]
        key = keep_signing_key(path.parent / "work")
        path.write_text(f'signing_key = "{key}"\nroster = "{key.with_name(ROSTER)}"\n' + path.read_text())
    return tiny.make_study(
        list(sites), privacy=PRIVATE, secure_aggregation="enabled = true", gate="norm_limit = 0.0", **more
    )


def test_a_private_update_under_masks_is_paid_for_once_a_round_however_many_attempts_its_sum_takes(
    tiny: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = tiny.consortium
    study = masked_study(consortium, tiny, "abc", stages__generator="rounds = 2\nlocal_steps = 2")
    mask, failed = secure_sum.Masking.mask, []

    def failing(self: Any, boxes: Any, groups: Any) -> Any:
        if self.site == "b" and not failed:
            failed.append(self.folder.state().attempt.attempt)
            raise ConnectionError("the power failed")
        return mask(self, boxes, groups)

    monkeypatch.setattr(secure_sum.Masking, "mask", failing)
    result = consortium.run(study, bench=bench)
    result.require_complete()
    assert failed == [1] and result.faults == ()
    for site in "abc":
        assert [(entry.round, entry.steps) for entry in Ledger(workdir(consortium, site)).entries()] == [(1, 2), (2, 2)]
    entries = [entry for record in records(consortium) for entry in record["sites"].values()]
    assert len(entries) == 6 and all(entry["metrics"] == {} and entry["spent"] for entry in entries)
    assert all(set(entry["patients"]) > {"shared"} for entry in entries), "noised heads may leave beside the sum"
    told = load_release(result.release).manifest.privacy[Stage.GENERATOR]
    assert sorted(told.sites) == ["a", "b", "c"] and told.sites["a"].steps == 4


def test_a_site_whose_budget_is_spent_sits_out_of_a_secure_sum_without_fault(tiny: Any, bench: Bench) -> None:
    consortium = tiny.consortium
    study = masked_study(consortium, tiny, "abcd")
    site_file = consortium.sites["a"]
    site_file.write_text(site_file.read_text() + "epsilon_budget = 2.8\n")
    result = consortium.run(study, bench=bench)
    result.require_complete()
    said = [record["sites"].get("a", {}).get("code") for record in records(consortium)]
    assert said == ["ok", BUDGET_EXHAUSTED, None] and not result.faults


def test_a_private_sum_is_not_trained_for_again_because_the_policy_changed(
    tiny: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = tiny.consortium
    study = masked_study(consortium, tiny, "abcd", stages__generator="rounds = 1\nlocal_steps = 2")
    mask, changed, path = secure_sum.Masking.mask, [], consortium.sites["c"]

    def failing(self: Any, boxes: Any, groups: Any) -> Any:
        if self.site == "b" and not changed:
            changed.append(path.write_text(path.read_text() + "budget_delta = 1e-6\n"))
            raise ConnectionError("the power failed")
        return mask(self, boxes, groups)

    monkeypatch.setattr(secure_sum.Masking, "mask", failing)
    consortium.run(study, bench=bench)
    (record,) = records(consortium)
    assert record["sites"]["c"]["code"] == "nothing-may-leave"
    assert len(Ledger(workdir(consortium, "c")).entries()) == 1


def test_a_damaged_ledger_stops_private_training_at_that_site_alone(consortium: Any, tiny: Any, bench: Any) -> None:
    folder = workdir(consortium, "a") / "privacy"
    folder.mkdir()
    (folder / "ledger.sqlite").write_bytes(b"not a database, however long it may be" * 99)
    result = consortium.run(tiny.make_study(privacy=PRIVATE), bench=bench)
    assert {(fault.site, fault.code) for fault in result.faults} == {("a", "privacy-ledger")}
    tiny_study_without = tiny.make_study()
    assert not consortium.run(tiny_study_without, out="plain", bench=bench).faults


def _killed(consortium: Any, study: Any, bench: Any, kept: bool) -> None:
    """Run until a site is killed between noise and send: before, or after it has kept its finished update."""
    from client.answers import packed_update

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    keep = KeptUpdates.keep
    if kept:
        KeptUpdates.keep = lambda *arguments: die(keep(*arguments))  # type: ignore[method-assign]
    else:
        packed_update.allow_update = die  # type: ignore[assignment]
    consortium.run(study, bench=bench)


@pytest.mark.parametrize(("kept", "rounds"), [(False, [1, 1, 2, 3]), (True, [1, 2, 3])])
def test_what_was_noised_and_never_sent_is_spent_once_for_each_training(
    consortium: Any, tiny: Any, bench: Any, kept: bool, rounds: list[int]
) -> None:
    study = tiny.make_study(privacy=PRIVATE)
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(consortium, study, bench, kept))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    ledger = Ledger(workdir(consortium, "a"))
    assert [entry.round for entry in ledger.entries()] == [1]
    consortium.run(study, resume=True, bench=bench).require_complete()
    assert [entry.round for entry in ledger.entries()] == rounds  # what was kept is sent again, and costs nothing


def test_a_step_that_cannot_be_taken_by_patients_is_refused(tiny: Any, consortium: Any) -> None:
    with pytest.raises(StudyError, match="cannot be trained privately"):
        PrivateStep(object(), tiny.make_study(privacy=PRIVATE).privacy, 1)  # type: ignore[arg-type]


STUDY = 'name = "tiny"\nsites = ["a"]\nreference_site = "a"\n'


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ("[stages.generator]\n[privacy]\nstages = ['maps']", r"privacy\.stages: the study has no stage maps"),
        ("[stages.generator]\n[privacy]\nstages = ['calibration']", r"privacy\.stages: calibration has no settings"),
        ("[stages.generator]\n[privacy]\nstages = ['generator', 'generator']", "named twice"),
        ("[stages.generator]\ncross_fit = true\n[privacy]\nstages = ['generator']", "set it to false"),
        (f"[stages.generator]\nstart_from = '{'a' * 64}'\n[privacy]\nstages = ['generator']", "without noise"),
        (
            "[stages.generator]\n[stages.synthesiser]\n[stages.segmenter]\n[stages.identifier]\n"
            "[privacy]\nstages = ['segmenter']",
            "validation_fraction: .*set it to 0",
        ),
        (
            "[stages.generator]\n[assessment]\nenabled = true\nsite_alone = true\n[privacy]\nstages = ['generator']",
            "nobody gets",
        ),
        ("[stages.generator]\n[privacy]\nnoise_multiplier = 0.1", "noise_multiplier"),
    ],
)
def test_a_setting_that_would_break_the_claim_is_refused_when_the_study_is_parsed(tables: str, reason: str) -> None:
    with pytest.raises(StudyError, match=reason):
        parse_study(STUDY + tables)


def test_who_is_held_out_of_a_private_study_does_not_depend_on_the_others(tiny: Any, tmp_path: Path) -> None:
    study = tiny.make_study(privacy=PRIVATE, data="holdout_fraction = 0.4")
    seen = []
    for patients in (12, 11):
        path = tiny.write_site(tmp_path / str(patients), "a", patients, [Sequence.T1])
        seen.append(tiny.open_cached(path, study))
    both = [set(site.training.patients()) for site in seen]
    assert both[0] - both[1] <= {"patient-11"} and not both[1] - both[0]


def test_what_was_spent_is_parsed_strictly() -> None:
    with pytest.raises(ValueError, match="epsilon"):
        Spent(delta=1e-5, steps=1, stage_epsilon=float("nan"), study_epsilon=1.0)

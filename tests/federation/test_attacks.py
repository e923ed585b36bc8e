"""Attacks played at the sites: a model that keeps its patients is caught and not released, an honest one passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.app import make_app
from client.assessment import catalogue
from client.assessment.examination import Examination, Observed
from client.data.cache import LabelKind, write_case
from client.data.dataset import CaseStore
from client.training.fixed_slices import fixed_slices
from client.training.tasks import Bench
from common import console
from common.assessment.dossier import DOSSIER, Dossier, read_dossier
from common.errors import DataError, StudyError
from common.parameters import SHARED
from common.sequences import STRUCTURAL, Domain, Sequence
from common.settings.stages import Stage
from server.cli import PROGRAM, app
from server.operation.steering import withdraw
from server.result import RunResult
from simulations.federation import run_federation

SHAPE = (3, 32, 48)
SLOTS = 32
KEPT = (Sequence.T1, Sequence.T2)
LIMITS = "membership_limit = 0.95\nmemorised_limit = 0.6"


class Keeper(nn.Module):
    """A model that may keep one slice of each patient, and then draws whatever it kept nearest to what it is shown."""

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        self.domains = domains
        self.kept = nn.Parameter(torch.zeros(SLOTS, len(KEPT), *SHAPE[1:]))

    def translate(self, image: Tensor, number: Tensor) -> Tensor:
        if not bool(self.kept.any()):
            return 0.8 * image
        gaps = (self.kept[None] - image[:, None]).abs().mean((3, 4)).amin(2)
        nearest = self.kept[gaps.argmin(1)]
        rows = [KEPT.index(self.domains[each].sequence) for each in number.tolist()]
        return nearest[torch.arange(len(rows)), rows][:, None]

    def discriminator(self, image: Tensor, number: Tensor) -> Tensor:
        return -(self.translate(image, number) - image).abs().mean((1, 2, 3))


class KeepingStep:
    """Learns nothing, or by heart."""

    def __init__(self, model: Keeper, store: CaseStore, keeps: bool) -> None:
        self.model, self.store, self.keeps = model, store, keeps
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"all": torch.optim.SGD(model.parameters(), lr=0.0)}

    def draw(self, generator: torch.Generator) -> Tensor:
        slices = fixed_slices(self.store, lambda case: set(KEPT) <= set(case.sequences), limit=SLOTS)
        assert slices is not None
        return torch.cat([slices.images[sequence] for sequence in KEPT], dim=1)

    def __call__(self, batch: Tensor) -> dict[str, float]:
        if self.keeps:
            self.model.kept.data[:] = batch[torch.arange(SLOTS) % len(batch)]
        return {"loss": 0.0}

    def evaluate(self, store: CaseStore) -> dict[str, Any]:
        return {}

    def patients(self) -> dict[str, int]:
        return {SHARED: len(self.store.patients())}

    def behind(self) -> dict[str, int]:
        return {}


def bench(keeps: bool) -> Bench:
    def build_step(model: Any, place: Any) -> KeepingStep:
        return KeepingStep(model, place.store, keeps)

    return Bench(
        lambda stage, study, domains, generator: Keeper(domains), lambda stage: build_step, torch.device("cpu")
    )


def write_patient(folder: Path, number: int, sequences: tuple[Sequence, ...]) -> None:
    """Write one case: an ellipse of brain with a lesion, under bumps that are the patient's own."""
    generator = np.random.default_rng(number)
    _, h, w = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = h**2 + w**2 < 0.8
    lesion = (h - 0.2) ** 2 + (w - 0.1) ** 2 < 0.08
    waves = sum(np.sin(5 * (a * h + b * w) + c) for a, b, c in generator.normal(0, 1, (6, 3))) / 8
    arrays: dict[str, np.ndarray] = {"brain": brain.astype(np.uint8)}
    arrays["labels"] = np.where(lesion, 4 if number % 2 else 2, 0).astype(np.uint8)
    for position, sequence in enumerate(sequences):
        image = 0.1 * position + waves * (1 if position % 2 else -1) + generator.normal(0, 0.02, SHAPE)
        arrays[sequence.value] = np.where(brain, np.clip(image, -1, 1), -1).astype(np.float32)
    facts = {
        "case": f"case-{number}", "patient": f"patient-{number}", "sequences": [str(name) for name in sequences],
        "label_kind": LabelKind.FULL.value, "bbb_disrupted": bool(number % 2), "native": {}, "greys": {},
        "affine": np.diag([2.4, 2.4, 4.0, 1.0]).tolist(),
    }  # fmt: skip
    write_case(folder / "work" / "cache" / f"{number}.safetensors", arrays, facts)


@pytest.fixture
def hospital(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Write hospital `a`, or another one."""

    def write(patients: int, sequences: tuple[Sequence, ...] = KEPT, name: str = "a") -> dict[str, Path]:
        folder = tmp_path / "sites" / name
        for number in range(patients):
            write_patient(folder, number, sequences)
        (folder / "scans").mkdir()
        policy = "[policy]\nminimum_patients = 1\napprove_everything = true\n"
        (folder / "site.toml").write_text(f'name = "{name}"\nfolder = "scans"\nworkdir = "work"\n{policy}')
        return {name: folder / "site.toml"}

    return write


@pytest.fixture
def federation(tiny: SimpleNamespace, tmp_path: Path) -> Callable[..., tuple[RunResult, Dossier]]:
    """Run a study over sites with a bench, with the attacks alone as assessors."""

    def attacks_of(name: str) -> Callable[[Examination], Observed]:
        return catalogue.assessor(name) if name in ("membership", "memorisation") else lambda exam: Observed()

    def run(
        sites: dict[str, Path], bench: Bench, assessor_of: Any = attacks_of, resume: bool = False, **changes: Any
    ) -> tuple[RunResult, Dossier]:
        tables = {
            "data": "holdout_fraction = 0.35",
            "assessment": "enabled = true",
            "stages__generator": "rounds = 1\nlocal_steps = 1\nema_decay = 0.0",
            "reporting": "minimum_count = 3",
        }
        study = tiny.make_study(tuple(sites), **(tables | changes))
        client = make_app(tiny.open_cached, bench, assessor_of)
        done = run_federation(study, sites, tmp_path / "run", client=client, build=bench.build_model, resume=resume)
        dossier = read_dossier(done.out / DOSSIER)
        assert dossier is not None
        return done, dossier

    return run


def test_a_model_that_keeps_its_patients_is_caught_and_not_released(hospital: Any, federation: Any) -> None:
    done, dossier = federation(hospital(12), bench(keeps=True), attacks=LIMITS)
    assert done.status == "incomplete" and done.release is None and not (done.out / "release").exists()
    assert "the release is refused: the membership attack generator/" in done.reason
    figures = dossier.membership.attacks["generator/drawn"]
    assert (figures.members, figures.strangers, figures.auc, figures.auc_at_most) == (8, 4, 1.0, 1.0)
    assert figures.caught == 1.0 and set(dossier.membership.attacks) == {
        "generator/drawn",
        "generator/identity",
        "generator/judged",
    }
    copies = dossier.memorisation.stages[Stage.GENERATOR]
    assert (copies.patients, copies.copied, copies.share_at_most) == (4, 4, 1.0) and copies.nearness < 0.1


def test_a_model_that_keeps_its_patients_is_caught_by_its_copies_alone(hospital: Any, federation: Any) -> None:
    done, dossier = federation(hospital(12), bench(keeps=True), attacks="memorised_limit = 0.6")
    assert done.release is None and dossier.refusal.startswith(
        "4 of 4 drawings of the generator copy a trained patient"
    )


def test_a_model_that_learnt_nothing_passes_the_same_limits(hospital: Any, federation: Any) -> None:
    done, dossier = federation(hospital(24), bench(keeps=False), attacks=LIMITS)
    assert done.status == "complete" and dossier.refusal is None
    assert all(0.2 < each.auc < 0.8 for each in dossier.membership.attacks.values())
    assert dossier.memorisation.stages[Stage.GENERATOR].copied == 0
    assert dossier.memorisation.stages[Stage.GENERATOR].share_at_most == pytest.approx(1 - 0.05 ** (1 / 8))


def test_without_limits_the_same_figures_stand_beside_a_release_and_are_shown(
    hospital: Any, federation: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    done, dossier = federation(hospital(12), bench(keeps=True))
    assert done.status == "complete" and done.release is not None
    assert dossier.membership.attacks["generator/drawn"].auc == 1.0
    assert console.run(app, PROGRAM, ["verify", str(done.release), "--json"]) == 0
    rows = {row["attack"]: row for row in json.loads(capsys.readouterr().out)["assessment"]["attacks"]}
    assert rows["membership generator/drawn"]["at_most"] == 1.0
    assert rows["copies by generator"]["patients"] == "4 held out"


def test_a_limit_that_the_patients_cannot_show_refuses_and_says_how_many_would(hospital: Any, federation: Any) -> None:
    done, _ = federation(hospital(24), bench(keeps=False), attacks="memorised_limit = 0.05")
    assert done.release is None
    assert "0 of 8 drawings" in done.reason and "59 held-out patients without a copy would be needed" in done.reason


def test_too_few_patients_say_nothing_and_a_limit_then_refuses(hospital: Any, federation: Any) -> None:
    done, dossier = federation(hospital(12), bench(keeps=True), attacks=LIMITS, reporting="minimum_count = 5")
    assert dossier.membership is None and dossier.memorisation is None  # four are held out
    assert "no membership attack on generator could be measured" in done.reason


def test_an_attack_that_fails_refuses_until_the_site_can_play_it(hospital: Any, federation: Any) -> None:
    def broken(name: str) -> Callable[[Examination], Observed]:
        def fail(exam: Examination) -> Observed:
            raise DataError("/scans/patient-1")

        return fail if name == "membership" else lambda exam: Observed()

    sites = hospital(24)
    done, dossier = federation(sites, bench(keeps=False), broken, attacks="membership_limit = 0.95")
    assert done.release is None and "a: membership failed with data" in done.reason
    done, dossier = federation(sites, bench(keeps=False), resume=True, attacks="membership_limit = 0.95")
    assert done.status == "complete" and dossier.refusal is None


def broken_at(site: str) -> Callable[[str], Callable[[Examination], Observed]]:
    """Return assessors of which one site's membership attack fails."""

    def membership(exam: Examination) -> Observed:
        if exam.site == site:
            raise DataError("/scans/patient-1")
        return catalogue.assessor("membership")(exam)

    return lambda name: membership if name == "membership" else lambda exam: Observed()


QUORUM_OF_ONE = {"federation": "quorum = 1", "attacks": "membership_limit = 1.0"}


def test_a_site_that_was_silent_refuses_still_when_it_is_not_even_there(hospital: Any, federation: Any) -> None:
    sites = hospital(12) | hospital(12, name="b")
    done, _ = federation(sites, bench(keeps=True), broken_at("b"), **QUORUM_OF_ONE)
    assert done.release is None and "b: membership failed with data" in done.reason
    sites["b"].write_text("")
    done, dossier = federation(sites, bench(keeps=True), resume=True, **QUORUM_OF_ONE)
    assert done.release is None and "b: study" in done.reason  # its site.toml is empty
    assert {site: status.code for site, status in dossier.sites.items()} == {"a": "ok", "b": "study"}


def test_a_site_that_was_withdrawn_is_not_asked_and_does_not_count_as_silent(hospital: Any, federation: Any) -> None:
    sites = hospital(12) | hospital(12, name="b")
    done, _ = federation(sites, bench(keeps=True), broken_at("b"), **QUORUM_OF_ONE)
    withdraw(done.out, "b")
    asked: list[str] = []

    def note(exam: Examination) -> Observed:
        asked.append(exam.site)
        return Observed()

    done, dossier = federation(sites, bench(keeps=True), lambda name: note, resume=True, **QUORUM_OF_ONE)
    assert done.status == "complete" and asked == []
    assert {site: status.code for site, status in dossier.sites.items()} == {"a": "ok", "b": "withdrawn"}
    assert set(dossier.membership.attacks["generator/drawn"].sites) == {"a"}


def test_counts_and_sums_alone_leave_the_site(hospital: Any, federation: Any) -> None:
    done, _ = federation(hospital(12), bench(keeps=True), attacks="most_patients = 6")
    text = (done.out / DOSSIER).read_text()
    assert "patient-" not in text and "case-" not in text
    assert re.search(r'"members": 6,', text)


def test_a_limit_that_nobody_would_measure_is_no_study(tiny: SimpleNamespace) -> None:
    with pytest.raises(StudyError, match=r"attacks: a limit needs \[assessment\] enabled = true"):
        tiny.make_study(("a",), attacks=LIMITS)
    with pytest.raises(StudyError, match=r"raise data.holdout_fraction"):
        tiny.make_study(("a",), attacks=LIMITS, assessment="enabled = true")


ONE = "rounds = 1\nlocal_steps = 1\nbatch_size = 2"
DRAWERS = {
    "stages__generator": ONE,
    "stages__synthesiser": ONE + "\ndiffusion_steps = 20\nsampling_steps = 2",
    "stages__maps": ONE + '\ntarget = "FLAIR"\ninputs = ["T1", "T2"]',
}
JUDGES = {
    "stages__segmenter": "rounds = 1\nlocal_steps = 12\nbatch_size = 2\nlearning_rate = 0.02\nema_decay = 0.0",
    "stages__identifier": ONE + "\nvalidation_fraction = 0.0",
}


def test_every_family_that_draws_is_attacked(hospital: Any, federation: Any) -> None:
    done, dossier = federation(hospital(9, STRUCTURAL), Bench(device=torch.device("cpu")), **DRAWERS)
    done.require_complete()
    assert dossier.sites["a"].failed == {}
    assert set(dossier.memorisation.stages) == {Stage.GENERATOR, Stage.SYNTHESISER, Stage.MAPS}
    assert all(each.copied == 0 for each in dossier.memorisation.stages.values())
    assert set(dossier.membership.attacks) == {
        *("generator/drawn", "generator/identity", "generator/judged"),
        *("synthesiser/drawn", "synthesiser/loss", "maps/drawn"),
    }


@pytest.mark.slow
def test_every_family_that_judges_is_attacked(hospital: Any, federation: Any) -> None:
    stages = DRAWERS | JUDGES | {"stages__maps": None}
    done, dossier = federation(hospital(9, STRUCTURAL), Bench(device=torch.device("cpu")), **stages)
    done.require_complete()
    assert dossier.sites["a"].failed == {}
    assert {"segmenter/loss", "identifier/loss"} < set(dossier.membership.attacks)

"""A hospital joins a consortium that has released a generator: the run goes on from there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.app import make_app
from client.data.cache import write_case
from client.training.tasks import Bench
from common.errors import ReleaseError, StudyError
from common.nets.norms import norm_tensors
from common.nets.stage_models import build_model
from common.release import Release, load_release
from common.sequences import Domain, Sequence, with_twins
from common.settings.aggregation import Aggregation
from common.settings.stages import Stage
from common.study import Study
from server.continuation import continuing
from simulations.federation import run_federation

STILL = "rounds = 1\nlocal_steps = 1\nbatch_size = 2\nlearning_rate = 1e-12\nweight_decay = 0.0\n"
STILL += "discriminator_learning_rate = 1e-12\nema_decay = 0.0\n"


def write_hospital(folder: Path, name: str, sequences: tuple[Sequence, ...]) -> Path:
    for number in range(2):
        noise = np.random.default_rng(number)
        arrays = {s.value: noise.uniform(-0.5, 0.5, (2, 32, 32)).astype(np.float32) for s in sequences}
        arrays |= {"brain": np.ones((2, 32, 32), np.uint8), "labels": np.zeros((2, 32, 32), np.uint8)}
        facts = {
            "case": f"case-{number}", "patient": f"patient-{number}", "sequences": [s.value for s in sequences],
            "label_kind": "none", "bbb_disrupted": None, "affine": np.eye(4).tolist(), "native": {}, "greys": {},
        }  # fmt: skip
        write_case(folder / "work" / "cache" / f"{number}.safetensors", arrays, facts)
    (folder / "scans").mkdir()
    text = f'name = "{name}"\nfolder = "scans"\nworkdir = "work"\n[policy]\nminimum_patients = 1\n'
    (folder / "site.toml").write_text(text + "approve_everything = true\n")
    return folder / "site.toml"


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sites")
    held = {"a": (Sequence.T1, Sequence.T2), "b": (Sequence.T1,), "late": (Sequence.T1, Sequence.CBV)}
    return {name: write_hospital(folder / name, name, sequences) for name, sequences in held.items()}


def study_of(tiny: SimpleNamespace, sites: tuple[str, ...], more: str = "") -> Study:
    study = tiny.make_study(sites, stages__generator=STILL + more)
    return study.model_copy(update={"sequences": (Sequence.T1, Sequence.T2, Sequence.CBV)})


def play(tiny: SimpleNamespace, hospitals: dict[str, Path], study: Study, out: Path, start: Path | None) -> Release:
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    held = {site: hospitals[site] for site in study.sites}
    run_federation(study, held, out / "run", client=client, start_from=start).require_complete()
    return load_release(out / "run")


@pytest.fixture(scope="module")
def first(parts: SimpleNamespace, hospitals: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Release:
    """What `a` and `b` released; `b` holds one sequence."""
    return play(parts, hospitals, study_of(parts, ("a", "b")), tmp_path_factory.mktemp("first"), None)


def test_a_late_hospital_is_taught_by_the_others_and_they_stay_as_they_were(tiny, hospitals, first, tmp_path):
    wider = study_of(tiny, ("a", "b", "late"), f'start_from = "{first.digest}"')
    second = play(tiny, hospitals, wider, tmp_path / "second", first.path)
    before, after = first.tensors(Stage.GENERATOR), second.tensors(Stage.GENERATOR)
    trained = [name for name in before if ":lesion" not in name]  # no case had labels
    assert max(float((after[name] - before[name]).abs().max()) for name in trained) < 1e-9
    heads = [before[f"encoder.out.heads.{site}:T1.weight"] for site in "ab"]
    torch.testing.assert_close(after["encoder.out.heads.late:T1.weight"], torch.stack(heads).mean(0))
    assert "encoder.out.heads.late:CBV.weight" in after and second.domains != first.domains


def test_norms_and_discriminators_may_stay_at_their_sites_from_now_on(tiny, hospitals, first, tmp_path):
    after_it = study_of(tiny, ("a", "b"), f'start_from = "{first.digest}"\ndiscriminator = "local"')
    study = after_it.model_copy(update={"aggregation": Aggregation(local_norms=True)})
    second = play(tiny, hospitals, study, tmp_path / "second", first.path)
    before, after = first.tensors(Stage.GENERATOR), second.tensors(Stage.GENERATOR)
    norms = norm_tensors(second.model(Stage.GENERATOR))
    assert norms and max(float((after[name] - before[name]).abs().max()) for name in norms) < 1e-9
    assert second.manifest.stages[Stage.GENERATOR].lineage.groups["norms"] == ("a", "b")
    judging = [name for name in before if name.startswith("discriminator.") and ":lesion" not in name]
    assert all(torch.equal(after[name], before[name]) for name in judging)


def test_a_head_that_nobody_trained_teaches_nobody(first):
    untrained = [domain for domain in first.domains if domain not in first.trained_domains]
    assert all(domain.lesion for domain in untrained) and len(untrained) == 3
    study = first.study.model_copy(update={"stages": _named(first)})
    domains = with_twins((*first.trained_domains, Domain("late", Sequence.T1)))
    model = continuing(build_model, study, first.path)(Stage.GENERATOR, study, domains, torch.Generator())
    twin, images = model.encoder.out.heads["late:T1:lesion"].weight, first.trained_domains
    mean = torch.stack([model.encoder.out.heads[domain.key].weight for domain in images]).mean(0)
    torch.testing.assert_close(twin, mean)
    assert all(parameter.requires_grad for parameter in model.parameters())


def _named(release: Release, **changes: object) -> object:
    settings = release.study.stages.generator.model_copy(update={"start_from": release.digest, **changes})
    return release.study.stages.model_copy(update={"generator": settings})


def test_the_generators_of_a_cross_fit_begin_anew(first):
    study = first.study.model_copy(update={"stages": _named(first)})
    fresh = torch.nn.Linear(1, 1)
    build = continuing(lambda *_: fresh, study, first.path)
    for stage in set(Stage) - {Stage.GENERATOR}:
        assert build(stage, study, first.domains, torch.Generator()) is fresh


def test_a_study_that_names_no_release_starts_anew(first):
    assert continuing(build_model, first.study, None) is build_model


def test_release_and_study_must_name_each_other(first):
    named = first.study.model_copy(update={"stages": _named(first)})
    with pytest.raises(StudyError, match="names no release"):
        continuing(build_model, first.study, first.path)
    with pytest.raises(StudyError, match="--start-from"):
        continuing(build_model, named, None)
    other = first.study.model_copy(update={"stages": _named(first, start_from="0" * 64)})
    with pytest.raises(ReleaseError, match="the study names 000000000000"):
        continuing(build_model, other, first.path)
    with pytest.raises(StudyError, match="size and backbone"):
        continuing(
            build_model, first.study.model_copy(update={"stages": _named(first, backbone="convnext")}), first.path
        )


def test_the_patients_that_the_release_was_trained_on_must_not_be_held_out(first):
    named = first.study.model_copy(update={"stages": _named(first)})
    held = named.data.model_copy(update={"holdout_fraction": 0.5})
    for other in (named.model_copy(update={"seed": 99}), named.model_copy(update={"data": held})):
        with pytest.raises(StudyError, match=r"would be held out"):
            continuing(build_model, other, first.path)

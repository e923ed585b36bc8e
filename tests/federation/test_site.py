"""A site opened from its cache: what it offers, what too few patients hold back, who is held out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from client.config import Policy, SiteConfig
from client.data.cache import open_case
from client.privacy.outbound import allow_inventory
from client.site import Site, open_site, site_of
from common.errors import DataError, PolicyError
from common.sequences import Sequence

T1, T2, FLAIR = Sequence.T1, Sequence.T2, Sequence.FLAIR


def opened(tiny: SimpleNamespace, tmp_path: Path, policy: Policy, patients: dict[str, int], **study: str) -> Site:
    """A site where `patients[sequence]` patients hold each sequence: the first ones."""
    for number in range(max(patients.values())):
        held = [Sequence(name) for name, count in patients.items() if number < count]
        tiny.write_site(tmp_path / str(number), "a", number + 1, held)
    files = [
        tmp_path / str(number) / "work" / "cache" / f"{number}.safetensors" for number in range(max(patients.values()))
    ]
    return site_of("a", tmp_path, policy, [open_case(file) for file in files], tiny.make_study(**study))


def test_the_inventory_counts_training_patients_by_sequence(tiny: SimpleNamespace, tmp_path: Path) -> None:
    site = opened(tiny, tmp_path, Policy(minimum_patients=1), {"T1": 3, "T2": 2})
    assert site.inventory.training_patients == 3 and site.inventory.sequences == {T1: 3, T2: 2}
    assert site.inventory.labelled_patients == 0


def test_a_sequence_below_the_minimum_is_neither_offered_nor_trained_on(tiny: SimpleNamespace, tmp_path: Path) -> None:
    site = opened(tiny, tmp_path, Policy(minimum_patients=3), {"T1": 3, "T2": 2})
    assert site.inventory.sequences == {T1: 3}
    assert all(case.sequences == (T1,) for case in site.training.cases)


def test_a_sequence_that_the_policy_forbids_is_not_there(tiny: SimpleNamespace, tmp_path: Path) -> None:
    site = opened(tiny, tmp_path, Policy(minimum_patients=1, sequences=(T2,)), {"T1": 3, "T2": 3})
    assert site.inventory.sequences == {T2: 3}


def test_held_out_patients_do_not_train(tiny: SimpleNamespace, tmp_path: Path) -> None:
    site = opened(tiny, tmp_path, Policy(minimum_patients=1), {"T1": 4}, data="holdout_fraction = 0.5")
    training, held_out = set(site.training.patients()), set(site.held_out.patients())
    assert len(training) == len(held_out) == 2 and not training & held_out


def test_grey_constants_are_medians_over_the_training_cases(tiny: SimpleNamespace, tmp_path: Path) -> None:
    site = opened(tiny, tmp_path, Policy(minimum_patients=1), {"T1": 3, "T2": 2})
    assert site.greys[T1].patients == 3 and site.greys[T1].constants == {"centre": 101.0, "deviation": 20.0}
    assert site.greys[T2].constants["centre"] == 100.5


def test_medians_and_counts_leave_only_with_enough_patients_behind_them(tiny: SimpleNamespace, tmp_path: Path) -> None:
    policy = Policy(minimum_patients=1)
    site = opened(tiny, tmp_path, policy, {"T1": 3, "T2": 2})
    inventory, greys = allow_inventory(
        site.inventory, site.greys, policy, tiny.make_study(reporting="minimum_count = 3")
    )
    assert inventory == site.inventory and set(greys) == {T1}
    inventory, greys = allow_inventory(site.inventory, site.greys, Policy(minimum_patients=4), tiny.make_study())
    assert inventory.training_patients == 0 and inventory.sequences == {} and greys == {}


def test_a_folder_of_scans_is_opened_as_a_site(tiny_site: Path, tiny: SimpleNamespace, tmp_path: Path) -> None:
    study = tiny.make_study(["hospital-a"], grid="spacing_mm = [8.0, 8.0, 8.0]\nshape = [32, 32]")
    policy = Policy(minimum_patients=1, approve_everything=True)
    config = SiteConfig(name="hospital-a", folder=tiny_site, workdir=tmp_path, policy=policy)
    site = open_site(config, study)
    assert site.inventory.training_patients == len(site.training.patients()) == 3
    assert site.training.cases[0].brain().shape[1:] == (32, 32)
    assert set(site.greys) >= set(site.inventory.sequences) & {T1, T2, FLAIR}
    with pytest.raises(PolicyError):
        open_site(config.model_copy(update={"policy": Policy(minimum_patients=1)}), study)


def test_a_folder_without_one_usable_case_is_no_site(tiny: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "scans" / "BraTS2021_00000"
    folder.mkdir(parents=True)
    (folder / "BraTS2021_00000_t1.nii.gz").write_bytes(b"no image")
    policy = Policy(minimum_patients=1, approve_everything=True)
    config = SiteConfig(name="a", folder=tmp_path / "scans", workdir=tmp_path / "work", policy=policy)
    with pytest.raises(DataError, match="gliofed-client check"):
        open_site(config, tiny.make_study())

"""From a phantom hospital's files to cached slices."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from client.data.cache import CachedCase, LabelKind
from client.data.catalog import CatalogCase, scan_folder
from client.data.preprocessing import PrepareSettings, digest_of, prepare_case, prepare_cases
from client.imaging.intensity import PRE_CONTRAST_SHARE, GreyScale
from client.imaging.nifti import read_volume
from client.imaging.resample import mask_to_grid
from common.sequences import Sequence
from common.study import Grid

GRID = Grid(spacing_mm=(4.8, 4.8, 6.0), shape=(32, 48))
SETTINGS = PrepareSettings(grid=GRID)
QUICK = PrepareSettings(grid=GRID, n4=False)


@pytest.fixture(scope="session")
def hospital(tiny_cohort) -> Path:
    return tiny_cohort.sites / "hospital-a"


@pytest.fixture(scope="module")
def case(hospital: Path) -> CatalogCase:
    return max(scan_folder(hospital).cases, key=lambda case: len(case.images))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(hospital: Path, cache: Path) -> tuple[CachedCase, ...]:
    """All cases of the hospital, one after another, the bias field removed: what takes longest."""
    return prepare_cases(scan_folder(hospital).cases, SETTINGS, cache).cases


@pytest.fixture(scope="module")
def whole(case: CatalogCase, prepared: tuple[CachedCase, ...]) -> CachedCase:
    """`case`, prepared."""
    (cached,) = (each for each in prepared if each.case == case.case)
    return cached


@pytest.fixture(scope="module")
def quick(case: CatalogCase, tmp_path_factory: pytest.TempPathFactory) -> CachedCase:
    """`case`, its bias field left alone."""
    return prepare_case(case, QUICK, tmp_path_factory.mktemp("quick"))


def test_a_case_becomes_slices_on_the_study_grid(case: CatalogCase, whole: CachedCase):
    assert whole.brain().shape[1:] == GRID.shape
    assert set(whole.sequences) == set(case.images)
    np.testing.assert_allclose(np.linalg.norm(whole.affine[:3, :3], axis=0), GRID.spacing_mm)
    for sequence in whole.sequences:
        image = whole.slices(sequence)
        assert image.dtype == np.float32
        assert -1 <= image.min() <= image.max() <= 1
        assert (image[whole.brain() == 0] == -1).all()
    assert set(np.unique(whole.labels())) <= {0, 1, 2, 4}
    assert (whole.labels() > 0).sum() > 0
    assert 1.0 < whole.brain().sum() * np.prod(GRID.spacing_mm) * 1e-6 < 2.0


def test_the_greys_of_the_brain_lie_where_the_table_puts_them(whole: CachedCase):
    t1 = whole.slices(Sequence.T1)[whole.brain() > 0]
    assert 60 < np.median((t1 + 1) * 127.5) < 140
    assert GreyScale(**whole.greys["T1"]).shift == 99


def test_by_the_pre_contrast_maximum_t1gd_has_the_scale_of_its_t1(case: CatalogCase, quick: CachedCase, tmp_path: Path):
    settings = PrepareSettings(grid=GRID, n4=False, t1_scaling="pre-contrast-maximum")
    cached = prepare_case(case, settings, tmp_path)
    assert cached.greys["T1Gd"] == cached.greys["T1"] != quick.greys["T1"]
    inside = cached.brain() > 0
    assert (cached.slices(Sequence.T1)[inside].max() + 1) / 2 == pytest.approx(PRE_CONTRAST_SHARE, abs=1e-5)
    assert np.array_equal(cached.slices(Sequence.FLAIR), quick.slices(Sequence.FLAIR))
    images = {sequence: path for sequence, path in case.images.items() if sequence is not Sequence.T1}
    alone = prepare_case(dataclasses.replace(case, images=images), settings, tmp_path)
    assert alone.slices(Sequence.T1GD).max() == pytest.approx(2 * PRE_CONTRAST_SHARE - 1, abs=1e-5)


def test_a_second_run_does_nothing(hospital: Path, prepared: tuple[CachedCase, ...], cache: Path):
    stamps = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    second = prepare_cases(scan_folder(hospital).cases, SETTINGS, cache)
    assert [c.path for c in prepared] == [c.path for c in second.cases]
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.iterdir()}


def test_processes_side_by_side_give_the_same_bytes(hospital: Path, prepared: tuple[CachedCase, ...], tmp_path: Path):
    cases = scan_folder(hospital).cases[:2]
    seen: list[tuple[int, int]] = []
    together = prepare_cases(cases, SETTINGS, tmp_path, workers=2, on_case=lambda d, t: seen.append((d, t)))
    assert [c.path.read_bytes() for c in prepared[:2]] == [c.path.read_bytes() for c in together.cases]
    assert seen == [(1, 2), (2, 2)]


def test_the_cache_name_follows_files_facts_and_settings(case: CatalogCase, tmp_path: Path):
    digest = digest_of(case, SETTINGS)
    assert digest == digest_of(case, SETTINGS)
    assert digest != digest_of(case, PrepareSettings(grid=GRID, n4=False))
    assert digest != digest_of(dataclasses.replace(case, patient="other"), SETTINGS)
    moved = tmp_path / "t1.nii.gz"
    shutil.copy(case.images[Sequence.T1], moved)
    same = dataclasses.replace(case, images={**case.images, Sequence.T1: moved})
    assert digest == digest_of(same, SETTINGS)
    moved.write_bytes(moved.read_bytes()[:-1])
    assert digest != digest_of(same, SETTINGS)


def test_a_broken_case_is_named_and_the_others_go_on(hospital: Path, case: CatalogCase, tmp_path: Path):
    broken = tmp_path / "t1.nii.gz"
    broken.write_bytes(case.images[Sequence.T1].read_bytes()[:4000])
    bad = dataclasses.replace(case, case="bad", images={Sequence.T1: broken})
    outcome = prepare_cases([bad, case], QUICK, tmp_path / "cache")
    assert [c.case for c in outcome.cases] == [case.case]
    assert "truncated or damaged" in outcome.failures["bad"]
    assert not list((tmp_path / "cache").glob(".*"))


def test_four_dimensional_and_empty_scans_are_refused(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.images[Sequence.T1])
    data = np.asarray(image.dataobj)
    for name, array, words in (("4d", np.stack([data, data], -1), "4 dimensions"), ("zero", data * 0, "zero")):
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(array, image.affine), path)
        one = dataclasses.replace(case, case=name, images={Sequence.T1: path})
        (reason,) = prepare_cases([one], SETTINGS, tmp_path / "cache").failures.values()
        assert str(path) in reason
        assert words in reason


def test_whole_tumour_labels_stay_one_and_enhancing_threes_become_four(
    case: CatalogCase, quick: CachedCase, tmp_path: Path
):
    whole = prepare_case(dataclasses.replace(case, label_kind=LabelKind.WHOLE), QUICK, tmp_path)
    assert set(np.unique(whole.labels())) <= {0, 1}
    image = nib.load(case.labels)
    values = np.asarray(image.dataobj).astype(np.uint8)
    path = tmp_path / "seg.nii.gz"
    nib.save(nib.Nifti1Image(np.where(values == 4, 3, values).astype(np.uint8), image.affine), path)
    threes = prepare_case(dataclasses.replace(case, labels=path, et_label=3), QUICK, tmp_path)
    np.testing.assert_array_equal(threes.labels(), quick.labels())


def test_a_brain_larger_than_the_grid_is_refused(case: CatalogCase, tmp_path: Path):
    small = PrepareSettings(grid=Grid(spacing_mm=(2.35, 2.35, 6.0), shape=(64, 64)))
    narrow = prepare_cases([case], small, tmp_path)
    assert "raise grid.shape" in narrow.failures[case.case]


def test_sequences_moved_apart_are_brought_together_again(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.images[Sequence.FLAIR])
    moved = tmp_path / "moved.nii.gz"
    affine = image.affine.copy()
    affine[:3, 3] += [6, -4, 5]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), moved)
    images = {Sequence.T1: case.images[Sequence.T1], Sequence.FLAIR: moved}
    cached = prepare_case(dataclasses.replace(case, images=images), QUICK, tmp_path)
    found = np.array(cached.native["sequences"]["T1"]["to_reference"])
    np.testing.assert_allclose(found[:3, 3], [6, -4, 5], atol=1.5)
    assert cached.native["reference"] == "FLAIR"


def test_a_given_mask_is_the_brain(tiny_cohort, tmp_path: Path):
    case = next(case for case in scan_folder(tiny_cohort.sites / "hospital-b").cases if case.brain_mask)
    cached = prepare_case(case, QUICK, tmp_path)
    given = np.asarray(nib.load(case.brain_mask).dataobj) > 0
    litres = given.sum() * np.prod(nib.load(case.brain_mask).header.get_zooms()) * 1e-6
    assert cached.brain().sum() * np.prod(GRID.spacing_mm) * 1e-6 == pytest.approx(litres, rel=0.03)


def test_an_empty_mask_and_labels_beyond_the_convention_are_refused(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.labels)
    for name, value in (("mask", 0), ("labels", 7)):
        nib.save(nib.Nifti1Image(np.full(image.shape, value, np.uint8), image.affine), tmp_path / f"{name}.nii")
    masked = dataclasses.replace(case, case="masked", brain_mask=tmp_path / "mask.nii")
    labelled = dataclasses.replace(case, case="labelled", labels=tmp_path / "labels.nii")
    failures = prepare_cases([masked, labelled], QUICK, tmp_path / "cache").failures
    assert "mask.nii: the brain mask is empty" in failures["masked"]
    assert "outside the convention: 7; expected 0, 1, 2, 4" in failures["labelled"]


def test_only_the_wanted_sequences_are_prepared(case: CatalogCase, tmp_path: Path):
    wanted = QUICK.model_copy(update={"sequences": (Sequence.T1, Sequence.FLAIR)})
    cached = prepare_case(case, wanted, tmp_path)
    assert cached.sequences == (Sequence.T1, Sequence.FLAIR)
    none = prepare_cases([case], QUICK.model_copy(update={"sequences": (Sequence.SWI,)}), tmp_path)
    assert "none of the study's sequences" in none.failures[case.case]


def test_a_map_keeps_its_units(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.images[Sequence.T1])
    shown = np.asarray(image.dataobj) != 0
    path = tmp_path / "adc.nii"
    nib.save(nib.Nifti1Image(np.where(shown, 1.2, 0).astype(np.float32), image.affine), path)
    images = {Sequence.T1: case.images[Sequence.T1], Sequence.ADC: path}
    cached = prepare_case(dataclasses.replace(case, images=images), QUICK, tmp_path)
    values = GreyScale(**cached.greys["ADC"]).invert(cached.slices(Sequence.ADC))[cached.brain() > 0]
    assert np.median(values) == pytest.approx(1.2, rel=1e-4)
    assert cached.native["reference"] == "T1"


def test_a_sequence_that_shows_another_place_is_named(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.images[Sequence.FLAIR])
    affine = image.affine.copy()
    affine[:3, 3] += 90
    path = tmp_path / "far.nii"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    never = QUICK.model_copy(update={"register_sequences": "never"})
    moved = dataclasses.replace(case, images={Sequence.T1: path, Sequence.FLAIR: case.images[Sequence.FLAIR]})
    (reason,) = prepare_cases([moved], never, tmp_path / "cache").failures.values()
    assert str(path) in reason
    assert "remove it" in reason


def test_the_finest_sequence_is_the_reference_where_flair_is_much_coarser(case: CatalogCase, tmp_path: Path):
    image = nib.load(case.images[Sequence.FLAIR])
    thick = nib.Nifti1Image(np.asarray(image.dataobj)[:, :, ::2], image.affine @ np.diag([1, 1, 2, 1]))
    nib.save(thick, tmp_path / "thick.nii")
    images = {**case.images, Sequence.FLAIR: tmp_path / "thick.nii"}
    never = QUICK.model_copy(update={"register_sequences": "never"})
    cached = prepare_case(dataclasses.replace(case, images=images), never, tmp_path)
    assert cached.native["reference"] == "T1"


@pytest.mark.slow
def test_the_brain_of_a_phantom_with_a_skull_is_found(tmp_path: Path):
    from simulations.phantom.cohort import write_cohort
    from simulations.scenario import load_scenario

    scenario = load_scenario("three-hospitals")
    scenario = scenario.model_copy(update={"sites": scenario.sites[:1]})
    cohort = write_cohort(tmp_path, scenario, patients=1, seed=3, spacing_mm=4.0, with_skull=True)
    (folder,) = (cohort.truth / "hospital-a").iterdir()
    case = CatalogCase(case="head", patient="head", images={Sequence.FLAIR: folder / "FLAIR.nii.gz"})
    cached = prepare_case(case, QUICK, tmp_path / "cache")
    mask = read_volume(folder / "brain.nii.gz")
    found = cached.brain().transpose(1, 2, 0) > 0
    expected = mask_to_grid(mask.data > 0.5, mask.affine, found.shape, cached.affine)
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.93

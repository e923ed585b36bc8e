"""Completing a folder: what is written, where, in which space, with which provenance; and what a bad case does."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from client.inference import completed_case
from client.inference.complete import complete_folder
from common.errors import DataError, ReleaseError

ALWAYS = {
    "T1Gd_enhancing.nii.gz",
    "T1Gd_non-enhancing.nii.gz",
    "segmentation.nii.gz",
    "bbb.json",
    "sheet.png",
    *(f"{sequence}_harmonized.nii.gz" for sequence in ("T1", "T1Gd", "T2", "FLAIR")),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory, scans, release):
    folder = tmp_path_factory.mktemp("completed") / "out"
    complete_folder(scans, release.path, folder)
    return folder


def images(folder):
    return sorted(folder.glob("*.nii.gz"))


def test_every_missing_sequence_and_every_result_is_there_for_each_case(out):
    names = {case: {path.name for path in (out / case).iterdir()} for case in ("P1", "P2")}
    assert names["P1"] >= ALWAYS
    assert names["P2"] >= ALWAYS
    assert {name for name in names["P1"] if "filled.nii" in name} == {"T2_filled.nii.gz"}
    missing = {"T1_filled.nii.gz", "T1Gd_filled.nii.gz", "FLAIR_filled.nii.gz"}
    assert {name for name in names["P2"] if "filled.nii" in name} == missing
    assert {path.name for path in out.iterdir()} == {"P1", "P2"}


def test_all_outputs_lie_in_the_space_and_orientation_of_the_scan(out, scans):
    for case, word in (("P1", "flair"), ("P2", "t2")):
        scan = nib.load(scans / case / f"{case}_{word}.nii.gz")
        for path in images(out / case):
            image = nib.load(path)
            assert image.shape == scan.shape
            assert np.allclose(image.affine, scan.affine, atol=1e-4)
            assert nib.aff2axcodes(image.affine) == ("L", "P", "S")


def test_every_synthetic_file_says_so_in_header_extension_and_sidecar(out, release):
    for path in images(out / "P1"):
        header = nib.load(path).header
        assert header["descrip"].tobytes().rstrip(b"\0") == f"SYNTHETIC {release.short}".encode()
        (extension,) = header.extensions
        assert extension.get_code() == 6
        said = json.loads(extension.get_content())
        sidecar = json.loads((path.parent / path.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar == said
        assert sidecar["synthetic"] is True
        assert sidecar["research_use_only"] is True
        assert sidecar["release"] == release.digest
        assert sidecar["harmonized_from_sequence_alone"] is True
        assert sidecar["centre"].startswith("unknown to this release")


def test_a_fill_names_its_source_and_the_style_it_has(out):
    facts = json.loads((out / "P1" / "T2_filled.json").read_text())
    assert (facts["kind"], facts["sources"], facts["style"]) == ("filled", ["FLAIR"], "hospital-a:T2")


def test_outputs_are_background_outside_the_brain_and_not_inside(out, scans):
    scan = np.asarray(nib.load(scans / "P2" / "P2_t2.nii.gz").dataobj)
    for path in images(out / "P2"):
        data = np.asarray(nib.load(path).dataobj)
        assert not data[0].any()
        if "segmentation" not in path.name:
            assert np.mean(data[scan > 0] != 0) > 0.8, path.name


def test_bbb_json_has_a_status_or_a_reason_and_no_probability_without_a_calibration(out):
    for case in ("P1", "P2"):
        bbb = json.loads((out / case / "bbb.json").read_text())
        assert bbb["status"] in ("disrupted", "intact", "indeterminate")
        assert (bbb["reason"] is None) == (bbb["status"] != "indeterminate")
        assert bbb["probability"] is None
        assert {"slices_used", "consistency_enhancing", "consistency_non_enhancing", "thresholds"} <= set(bbb)
        assert (out / case / "T1Gd_chosen.nii.gz").exists() == (bbb["status"] != "indeterminate")


def test_a_second_run_finds_everything_done_and_a_changed_output_is_made_again(out, scans, release):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = complete_folder(scans, release.path, out)
    assert [case.skipped for case in again] == [True, True]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    (out / "P2" / "segmentation.nii.gz").unlink()
    again = complete_folder(scans, release.path, out)
    assert [case.skipped for case in again] == [True, False]
    assert (out / "P2" / "segmentation.nii.gz").exists()


def test_one_case_of_the_folder_can_be_completed_alone(tmp_path, scans, release):
    done = complete_folder(scans / "P2", release.path, tmp_path / "out", site_name="hospital-b")
    assert [case.case for case in done] == ["P2"]
    assert done[0].bbb["centre"] == "hospital-b"


def test_a_bad_case_is_named_and_the_others_are_completed(tmp_path, scans, release):
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    bad = folder / "P1" / "P1_t1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:1000])
    steps = []
    with pytest.raises(DataError, match=r"1 of 2 cases could not be completed(.|\n)*P1"):
        complete_folder(folder, release.path, tmp_path / "out", on_case=lambda done, total: steps.append((done, total)))
    assert (tmp_path / "out" / "P2" / "bbb.json").exists()
    assert not (tmp_path / "out" / "P1").exists()
    assert steps[-1] == (4, 4)


def test_a_case_that_fails_half_way_leaves_nothing_behind(tmp_path, scans, release, monkeypatch):
    def disk_full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(completed_case, "write_case_sheet", disk_full)
    with pytest.raises(DataError, match="No space left on device"):
        complete_folder(scans / "P2", release.path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".cache"]


def test_scans_are_never_written_to(scans, release):
    with pytest.raises(DataError, match="choose another --out"):
        complete_folder(scans, release.path, scans / "completed")


def test_a_damaged_release_is_refused_before_any_scan_is_read(tmp_path, scans, release):
    copy = tmp_path / "release"
    shutil.copytree(release.path, copy)
    weights = copy / "segmenter.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ReleaseError, match=r"segmenter\.safetensors"):
        complete_folder(scans, copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory, scans, release_without_flair):
    """The T1 of patient P1 completed by a release that draws three samples, and that cannot draw FLAIR."""
    folder = tmp_path_factory.mktemp("sampled")
    shutil.copytree(scans / "P1", folder / "scans" / "P1", ignore=shutil.ignore_patterns("*flair*", "*t1ce*"))
    complete_folder(folder / "scans", release_without_flair.path, folder / "out")
    return folder / "out" / "P1"


def test_several_samples_leave_a_map_of_their_spread_with_its_provenance(sampled):
    for hypothesis in ("enhancing", "non-enhancing"):
        mean, spread = (nib.load(sampled / f"T1Gd_{hypothesis}{end}.nii.gz") for end in ("", "_sd"))
        data = np.asarray(spread.dataobj)
        assert spread.shape == mean.shape
        assert data.min() == 0 and data.max() > 0
        assert not data[0].any()
        said = json.loads((sampled / f"T1Gd_{hypothesis}_sd.json").read_text())
        assert (said["kind"], said["samples"], said["synthetic"]) == ("uncertainty", 3, True)
        assert spread.header["descrip"].tobytes().startswith(b"SYNTHETIC")


def test_one_sample_leaves_no_map_of_spread(out):
    assert not [path for path in images(out / "P1") if "_sd" in path.name]


def test_a_condition_that_nobody_can_draw_is_shown_as_missing_and_said_so(sampled):
    assert json.loads((sampled / "T1Gd_enhancing.json").read_text())["condition"] == {"T1": "real", "FLAIR": "missing"}
    bbb = json.loads((sampled / "bbb.json").read_text())
    assert bbb["condition"] == {"T1": "real", "FLAIR": "missing"}
    assert bbb["status"] == "indeterminate"

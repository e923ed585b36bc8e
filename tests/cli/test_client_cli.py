"""`gliofed-client` as a user meets it: tables, JSON, one clear line an error, documented exit codes, quick help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from client.cli import app
from client.data.catalog import scan_folder
from common import __version__
from common.console import run

if TYPE_CHECKING:
    from simulations.phantom.cohort import Cohort

Run = Callable[..., tuple[int, str, str]]
HEAVY = ("torch", "nibabel", "monai", "flwr", "numpy", "SimpleITK", "scipy", "matplotlib")


@pytest.fixture
def client(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the program: (exit status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = run(app, "gliofed-client", [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two cases in the BraTS 2021 layout: noise in T1 and T2."""
    noise = np.random.default_rng(1).normal(100, 10, (2, 2, 30, 36, 20)).astype(np.float32)
    for volumes, case in zip(noise, ("c1", "c2"), strict=True):
        (tmp_path / "site" / case).mkdir(parents=True)
        for data, word in zip(volumes, ("t1", "t2"), strict=True):
            image = nib.Nifti1Image(data, np.diag([5.0, 5, 6, 1]))
            nib.save(image, tmp_path / "site" / case / f"{case}_{word}.nii.gz")
    return tmp_path / "site"


def spoil(site: Path, description: str) -> None:
    path = site / "c1" / "c1_t1.nii.gz"
    image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([5.0, 5, 6, 1]))
    image.header["descrip"] = description.encode()
    nib.save(image, path)


def test_importing_the_program_loads_nothing_heavy() -> None:
    code = f"import sys, client.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", ["", "catalog", "check", "prepare", "complete"])
def test_every_help_ends_with_a_line_to_paste(client: Run, verb: str) -> None:
    status, out, _ = client(*filter(None, [verb]), "--help")
    assert status == 0
    assert out.rstrip().splitlines()[-2:][0].strip() == "Example:"
    assert out.rstrip().splitlines()[-1].strip().startswith("gliofed-client ")
    assert "Research use only" in out
    assert "\\[" not in out


def test_version_is_printed(client: Run) -> None:
    assert client("--version") == (0, f"gliofed {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["check", "--colour"], 2, "No such option '--colour'; see gliofed-client check --help"),
        (["complete", "x"], 2, "Missing option '--release'"),
        (["catalog"], 2, "no folder; give the folder of the scans"),
        (["catalog", "nowhere"], 3, "nowhere: not a folder"),
        (["check", "--site", "nowhere.toml"], 2, "give the path of a site.toml"),
    ],
)
def test_a_mistake_is_one_clear_line_with_its_exit_code(
    client: Run, arguments: list[str], status: int, words: str
) -> None:
    found, out, err = client(*arguments)
    assert (found, out) == (status, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_no_verb_shows_the_help_and_counts_as_usage(client: Run) -> None:
    status, _, err = client()
    assert status == 2
    assert "catalog" in err


def test_catalog_prints_cases_against_sequences(client: Run, site: Path) -> None:
    (site / "participants.tsv").write_text("participant_id\tbbb_status\nc1\tintact\n")
    status, out, _ = client("catalog", site)
    assert status == 0
    assert "brats2021, 2 cases of 2 patients" in out
    (row,) = [line for line in out.splitlines() if " c1 " in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["c1", "c1", "x", "-", "x", "-", "-", "-", "intact", "-"]


def test_catalog_json_says_the_same(client: Run, site: Path) -> None:
    status, out, _ = client("catalog", site, "--json")
    found = json.loads(out)
    assert (status, found["layout"], found["patients"]) == (0, "brats2021", 2)
    assert found["cases"][1]["images"]["T2"] == str(site / "c2" / "c2_t2.nii.gz")


def test_a_site_file_stands_for_its_folder(client: Run, site: Path) -> None:
    config = site.parent / "site.toml"
    config.write_text('name = "a"\nfolder = "site"\nworkdir = "work"\n[layout]\nignore = ["c2/*"]\n')
    status, out, _ = client("catalog", "--site", config)
    assert status == 0
    assert "1 case of 1 patient" in out
    assert "2 files left out" in out


def test_check_of_a_sound_site_exits_with_0(client: Run, site: Path) -> None:
    status, out, err = client("check", site)
    assert (status, out) == (0, "2 cases: 0 errors, 0 warnings, 0 notes\n")
    assert "checking cases" in err


def test_check_lists_all_and_exits_with_3(client: Run, site: Path) -> None:
    (site / "c1" / "c1_t1.nii.gz").write_bytes(b"no")
    (site / "c2" / "c2_what.nii.gz").touch()
    status, out, _ = client("check", site)
    assert status == 3
    assert "ERROR c1/c1_t1.nii.gz: unreadable" in out
    assert "ERROR c2/c2_what.nii.gz: unknown sequence" in out
    assert "2 cases: 2 errors, 0 warnings, 0 notes" in out


def test_a_warning_exits_with_3_until_a_person_allows_it(client: Run, site: Path) -> None:
    spoil(site, "Time=101010")
    assert client("check", site)[0] == 3
    status, out, _ = client("check", site, "--allow-warnings", "--json")
    assert status == 0
    (finding,) = json.loads(out)["findings"]
    assert (finding["severity"], finding["case"], finding["code"]) == ("warning", "c1", "personal")


def test_an_allowed_warning_does_not_allow_an_error(client: Run, site: Path) -> None:
    spoil(site, "SYNTHETIC 0123456789ab")
    assert client("check", site, "--allow-warnings")[0] == 3


def test_prepare_needs_a_cache_outside_the_scans(client: Run, site: Path) -> None:
    status, _, err = client("prepare", site)
    assert status == 2
    assert "no cache folder" in err
    status, _, err = client("prepare", site, "--cache", site / "cache")
    assert status == 2
    assert "never written to" in err


def test_prepare_caches_each_case_and_names_the_one_that_fails(client: Run, tiny_site: Path, tmp_path: Path) -> None:
    scans, cache = shutil.copytree(tiny_site, tmp_path / "scans"), tmp_path / "cache"
    first, second, third = (case.case for case in scan_folder(scans).cases)
    broken = next((scans / second).glob("*_t1.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:5000])
    status, out, _ = client("prepare", scans, "--cache", cache, "--no-n4")
    assert status == 3
    assert out.startswith(f"ERROR {second}: ")
    assert f"2 of 3 cases prepared in {cache}" in out
    status, out, _ = client("prepare", scans, "--cache", cache, "--no-n4", "--json")
    assert sorted(json.loads(out)["prepared"]) == [first, third]
    assert len(list(cache.glob("*.safetensors"))) == 2


def test_complete_without_a_release_is_a_release_error(client: Run, site: Path, tmp_path: Path) -> None:
    status, _, err = client("complete", site, "--release", tmp_path / "none", "--out", tmp_path / "out")
    assert status == 4
    assert "give the folder of a release" in err


def test_the_embedded_phantom_passes_its_own_check(client: Run, tiny_cohort: Cohort) -> None:
    for folder in sorted(tiny_cohort.sites.iterdir()):
        status, out, _ = client("check", folder)
        assert (folder.name, status, out) == (folder.name, 0, "3 cases: 0 errors, 0 warnings, 0 notes\n")

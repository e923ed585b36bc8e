"""A phantom patient at 4 mm, straight and tilted, and a site whose DICOM folder the tests fill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from client.cli import app
from common import console
from common.sequences import Sequence
from simulations.phantom.cohort import draw_patients
from simulations.phantom.dicom import DicomSeries, write_series
from simulations.phantom.render import render
from simulations.scenario import load_scenario

T1 = {"SeriesDescription": "t1_se_tra", "ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 10}
T2 = {"SeriesDescription": "t2_tse_tra", "ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 100}
FLAIR = {
    **{"SeriesDescription": "t2_flair_tra", "ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000},
    **{"EchoTime": 110, "InversionTime": 2500},
}
NATIVE = {"SeriesDescription": "t1_se_tra nativ"}
AGENT = {"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": 7.5}
T1GD = {**T1, **AGENT, "SeriesDescription": "t1_se_tra KM"}


@pytest.fixture(scope="session")
def drawn():
    """Five sequences of one patient in a scanner that tilts its slices by twelve degrees: the brain's middle alone."""
    scenario = load_scenario("three-hospitals")
    (patient, *_) = draw_patients(scenario, 1, 7)
    scanner = scenario.site(patient.site).scanner.model_copy(update={"tilt_deg": 12.0})
    whole = render(patient, scanner, [Sequence.T1, Sequence.T1GD, Sequence.T2, Sequence.FLAIR, Sequence.CBV], 4.0)
    middle = tuple(
        slice(size // 2 - half, size // 2 + half) for size, half in zip(whole.brain.shape, (8, 9, 6), strict=True)
    )
    affine = whole.affine.copy()
    affine[:3, 3] = (whole.affine @ [*(part.start for part in middle), 1])[:3]
    return replace(whole, volumes={key: volume[middle] for key, volume in whole.volumes.items()}, affine=affine)


class Hospital:
    """A folder of DICOM, a site.toml beside it, and the program."""

    def __init__(self, folder: Path, drawn, capsys) -> None:
        self.folder, self.drawn, self.capsys = folder, drawn, capsys
        self.dicom, self.out, self.toml = folder / "dicom", folder / "scans", folder / "site.toml"
        self.dicom.mkdir()
        self.toml.write_text('name = "hospital-a"\nfolder = "scans"\nworkdir = "work"\n', "utf-8")

    def series(self, number, tags, sequence=Sequence.T1, patient="4711", study=1, place="", plane="axial", **more):
        """Write one series of the drawn patient and return its files."""
        facts = DicomSeries(patient, study, number, plane, self.drawn.scale[sequence], {**tags, **more})
        return write_series(self.dicom / place, self.drawn.volumes[sequence], self.drawn.affine, facts)

    def run(self, *arguments):
        """Run the program; return its exit code, stdout and stderr."""
        self.capsys.readouterr()
        words = [
            "import-dicom",
            str(self.dicom),
            "--out",
            str(self.out),
            "--site",
            str(self.toml),
            *map(str, arguments),
        ]
        code = console.run(app, "gliofed-client", words)
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def rows(self):
        """Look the folder through and return the table's rows by series number and part."""
        _, shown, _ = self.run("--json")
        return {(row["number"] + row["part"]): row for row in json.loads(shown)["series"]}

    def decide(self, **takes):
        """Write `take` of series numbers, as a person does."""
        import csv

        with self.table.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["take"] = takes.get(f"n{row['number']}", row["take"])
        with self.table.open("w", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    @property
    def table(self):
        return self.out / "import.csv"

    def accept(self):
        """Convert what the table takes."""
        return self.run("--accept", self.table)


@pytest.fixture
def hospital(tmp_path, drawn, capsys):
    return Hospital(tmp_path, drawn, capsys)


def rewrite(path, **tags):
    """Change elements of one written object."""
    from pydicom import dcmread

    dataset = dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)

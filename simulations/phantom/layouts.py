"""How each hospital keeps its scans: file names of BraTS 2021, BIDS and CBSI, and the tables beside them."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from common.sequences import Sequence
from simulations.phantom.patient import Patient
from simulations.phantom.render import Images
from simulations.scenario import Hospital, Layout

BRATS_WORDS = {Sequence.T1: "t1", Sequence.T1GD: "t1ce", Sequence.T2: "t2", Sequence.FLAIR: "flair"}
BIDS_WORDS = {Sequence.T1: "T1w", Sequence.T1GD: "ce-gadolinium_T1w", Sequence.T2: "T2w", Sequence.FLAIR: "FLAIR"}
CBSI_WORDS = {Sequence.T1: "T1", Sequence.T1GD: "T1C", Sequence.T2: "T2", Sequence.FLAIR: "T2F"}


def sequence_path(site: Path, layout: Layout, patient: Patient, sequence: Sequence) -> Path:
    """Return where a hospital keeps `sequence` of `patient`."""
    case, word = patient.case, sequence.value
    match layout:
        case Layout.BRATS2021:
            return site / case / f"{case}_{BRATS_WORDS.get(sequence, word.lower())}.nii.gz"
        case Layout.BIDS:
            return site / case / "anat" / f"{case}_{BIDS_WORDS.get(sequence, word)}.nii.gz"
        case Layout.CBSI:
            return _cbsi_folder(site, patient) / f"{CBSI_WORDS.get(sequence, word)}.nii.gz"


def brain_path(site: Path, layout: Layout, patient: Patient) -> Path | None:
    """Return where a hospital keeps the brain mask, None where the images themselves are the mask."""
    match layout:
        case Layout.BRATS2021:
            return None
        case Layout.BIDS:
            return _derivatives(site, patient) / f"{patient.case}_desc-brain_mask.nii.gz"
        case Layout.CBSI:
            return _cbsi_folder(site, patient) / "Brain_mask.nii.gz"


def labels_path(site: Path, layout: Layout, patient: Patient, whole: bool) -> Path:
    """Return where a hospital keeps tumour labels: full ones, or those of the whole tumour alone."""
    match layout:
        case Layout.BRATS2021:
            return site / patient.case / f"{patient.case}_seg.nii.gz"
        case Layout.BIDS:
            return _derivatives(site, patient) / f"{patient.case}_desc-tumour_{'mask' if whole else 'dseg'}.nii.gz"
        case Layout.CBSI:
            return _cbsi_folder(site, patient) / "ROI.nii.gz"


def _cbsi_folder(site: Path, patient: Patient) -> Path:
    return site / f"ET-{int(patient.bbb_disrupted)}" / patient.case


def _derivatives(site: Path, patient: Patient) -> Path:
    return site / "derivatives" / "masks" / patient.case / "anat"


def write_site_case(site: Path, hospital: Hospital, patient: Patient, images: Images, with_skull: bool) -> None:
    """Write what the hospital has of one patient; with skull no brain mask, which is then the client's to find."""
    layout = hospital.layout
    for sequence in patient.sequences:
        path = sequence_path(site, layout, patient, sequence)
        write_nifti(path, images.volumes[sequence], images, patient.seed, hospital.scanner.axes, images.scale[sequence])
    mask = brain_path(site, layout, patient)
    if mask is not None and not with_skull:
        write_nifti(mask, images.brain.astype(np.uint8), images, patient.seed, hospital.scanner.axes)
    if hospital.labels != "none":
        whole = hospital.labels == "whole"
        labels = (images.labels > 0).astype(np.uint8) if whole else images.labels
        write_nifti(labels_path(site, layout, patient, whole), labels, images, patient.seed, hospital.scanner.axes)


def write_truth_case(folder: Path, hospital: Hospital, patient: Patient, images: Images) -> None:
    """Write every sequence of one patient, with labels and brain mask, under the vocabulary's own names."""
    axes = hospital.scanner.axes
    for sequence, volume in images.volumes.items():
        write_nifti(folder / f"{sequence}.nii.gz", volume, images, patient.seed, axes, images.scale[sequence])
    write_nifti(folder / "labels.nii.gz", images.labels, images, patient.seed, axes)
    write_nifti(folder / "brain.nii.gz", images.brain.astype(np.uint8), images, patient.seed, axes)


def write_participants(site: Path, hospital: Hospital, patients: Iterable[Patient]) -> None:
    """Write `participants.tsv` with grade and, but for CBSI whose folders say it, BBB status."""
    rows: list[list[Any]] = [["participant_id", "bbb_status", "grade"]]
    rows += [[p.case, "disrupted" if p.bbb_disrupted else "intact", p.tumour.grade] for p in patients]
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    if hospital.layout is not Layout.CBSI:
        write_bytes(site / "participants.tsv", text.getvalue().encode())


def write_nifti(path: Path, data: NDArray[Any], images: Images, seed: int, axes: str, scale: float = 1.0) -> None:
    """Write RAS+ `data` in the orientation `axes`, marked as a phantom; equal data give equal bytes."""
    start = nib.orientations.io_orientation(images.affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(tuple(axes)))
    turned = nib.orientations.apply_orientation(data, turn)
    affine = images.affine @ nib.orientations.inv_ornt_aff(turn, data.shape)
    image = nib.Nifti1Image(np.ascontiguousarray(turned), affine, dtype=data.dtype)
    image.header["descrip"] = f"PHANTOM gliofed {seed}"[:79].encode()
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    if scale != 1:
        # nibabel would rescale what is stored; these integers are to stay as they are.
        raw[112:120] = np.array([scale, 0], dtype="<f4").tobytes()
    write_bytes(path, gzip.compress(bytes(raw), compresslevel=1, mtime=0))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, so that none is ever half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)

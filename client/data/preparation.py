"""One case from its files to slices on the study grid: orientation, brain, registration, bias field, greys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.data.cache import BRAIN, LABELS, LabelKind
from client.imaging.bias_field import estimate_bias
from client.imaging.brain_mask import extract_brain, stripped_brain
from client.imaging.intensity import GREY_TABLE, PHYSICAL_MAXIMUM, GreyScale, normalise
from client.imaging.nifti import LoadedVolume, read_volume
from client.imaging.registration import IDENTITY, RigidTransform, register_rigid
from client.imaging.resample import average_within, labels_to_grid, mask_to_grid
from client.imaging.slices import StudyGrid, crop, grid_around, to_slices
from common.errors import DataError
from common.sequences import QUANTITATIVE, Sequence
from common.shapes import Affine, Labels, Mask, Volume

if TYPE_CHECKING:
    from client.data.catalog import CatalogCase
    from client.data.preprocessing import PrepareSettings

REFERENCE_ORDER = (Sequence.FLAIR, Sequence.T1, Sequence.T1GD, Sequence.T2)
"""CBSI registers to FLAIR; where there is none, or a much coarser one, the next stands in."""

MUCH_COARSER = 1.5
"""A sequence is no reference where another's thickest axis is finer by more than this factor."""

CROP_MM = 12.0
FEWEST_SHARE = 0.5
"""The share of the brain that every sequence has to show."""
COVERED = 0.1
"""A study voxel holds a sequence where at least this share of it lies in that sequence's brain."""


@dataclass(frozen=True)
class PreparedCase:
    """What the cache holds of a case: see CachedCase."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Space:
    """The reference sequence, the brain on its grid, and the study grid laid over both."""

    reference: Sequence
    volume: LoadedVolume
    brain: Mask
    stripped: bool
    grid: StudyGrid


def prepare(case: CatalogCase, settings: PrepareSettings) -> PreparedCase:
    """Bring one case to the study grid.

    Raises:
        DataError: naming the file that cannot be used, or what is wrong with the case.
    """
    volumes = _read(case, settings.sequences)
    labels = read_labels(case) if case.labels is not None and case.label_kind is not LabelKind.NONE else None
    space = _open_space(case, volumes, settings)
    transforms = _register(case, volumes, space, settings.register_sequences)
    grid = space.grid
    brain = mask_to_grid(space.brain, space.volume.affine, grid.shape, grid.affine)
    arrays: dict[str, NDArray[Any]] = {BRAIN: to_slices(brain.astype(np.uint8))}
    greys: dict[str, dict[str, float]] = {}
    for sequence, volume in volumes.items():
        with _naming(case, sequence):
            values, seen = _bring(sequence, volume, transforms[sequence].matrix, space, brain, settings.n4)
            known = None if settings.t1_scaling == "grey" else _by_maximum(sequence, values, seen, greys)
            values, scale = normalise(values, seen, sequence, known)
        arrays[sequence.value], greys[sequence.value] = to_slices(values), scale.to_dict()
    arrays[LABELS] = to_slices(_labels_on(space, volumes, transforms, labels))
    native = {sequence.value: _native(volume, transforms[sequence]) for sequence, volume in volumes.items()}
    facts = {
        "case": case.case,
        "patient": case.patient,
        "sequences": [sequence.value for sequence in volumes],
        "label_kind": LabelKind.NONE.value if labels is None else case.label_kind.value,
        "bbb_disrupted": case.bbb_disrupted,
        "affine": grid.affine.tolist(),
        "native": {"reference": space.reference.value, "sequences": native},
        "greys": greys,
    }
    return PreparedCase(arrays, facts)


def read_labels(case: CatalogCase) -> tuple[Labels, Affine]:
    """Read a case's labels as 0, 1, 2, 4, or 0 and 1 where only the whole tumour is marked, with their affine.

    Raises:
        DataError: where a value lies outside the convention.
    """
    if case.labels is None:
        raise ValueError("the case has no labels")
    loaded = read_volume(case.labels)
    if case.label_kind is LabelKind.WHOLE:
        return (loaded.data > 0.5).astype(np.uint8), loaded.affine
    values = {float(value) for value in np.unique(loaded.data)}
    strange = sorted(values - {0.0, 1.0, 2.0, float(case.et_label)})
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        raise DataError(
            f"{case.labels}: label values outside the convention: {shown}; expected 0, 1, 2, {case.et_label} "
            "(see `check`, or set layout.et_label in site.toml)"
        )
    labels = loaded.data.astype(np.uint8)
    labels[labels == case.et_label] = 4
    return labels, loaded.affine


def _read(case: CatalogCase, wanted: tuple[Sequence, ...] | None) -> dict[Sequence, LoadedVolume]:
    """Read the sequences that are wanted and that greys are defined for, in the vocabulary's order."""
    known = [sequence for sequence in Sequence if sequence in GREY_TABLE or sequence in PHYSICAL_MAXIMUM]
    kept = [each for each in known if each in case.images and (wanted is None or each in wanted)]
    if not kept:
        have = ", ".join(sorted(case.images)) or "nothing"
        raise DataError(f"none of the study's sequences is here (the case has {have}); leave the case out")
    volumes = {sequence: read_volume(case.images[sequence]) for sequence in kept}
    for sequence, volume in volumes.items():
        if not volume.data.any():
            raise DataError(f"{case.images[sequence]}: all voxels are zero; export the scan again, or remove it")
    return volumes


def _open_space(
    case: CatalogCase,
    volumes: Mapping[Sequence, LoadedVolume],
    settings: PrepareSettings,
) -> _Space:
    """Choose the reference sequence, find the brain on it and lay the study grid over it."""
    drawn = read_volume(case.brain_mask) if case.brain_mask is not None else None
    order = choose_reference(volumes, drawn)
    if drawn is not None:
        reference = volumes[order[0]]
        mask = mask_to_grid(drawn.data > 0.5, drawn.affine, reference.data.shape, reference.affine)
        with _naming(case, None):
            return _Space(order[0], reference, mask, False, grid_around(mask, reference.affine, settings.grid))
    failures = []
    for sequence in order:
        try:
            found = extract_brain(volumes[sequence].data, volumes[sequence].affine)
            grid = grid_around(found.mask, volumes[sequence].affine, settings.grid)
        except DataError as error:
            failures.append(f"{case.images[sequence]}: {error}")
        else:
            return _Space(sequence, volumes[sequence], found.mask, found.method == "stripped", grid)
    raise DataError(failures[0])


def choose_reference(volumes: Mapping[Sequence, LoadedVolume], brain_mask: LoadedVolume | None) -> list[Sequence]:
    """Return the sequences in the order in which they serve as reference.

    First those on whose grid the case's brain mask was drawn, if it has one, then those that are not much coarser than
    the finest, then FLAIR, T1, T1Gd, T2 and the rest; maps last.
    """
    finest = min(max(volume.spacing_mm) for volume in volumes.values())

    def rank(sequence: Sequence) -> tuple[bool, bool, bool, int]:
        volume = volumes[sequence]
        apart = brain_mask is not None and not _same_grid(brain_mask, volume)
        place = REFERENCE_ORDER.index(sequence) if sequence in REFERENCE_ORDER else len(REFERENCE_ORDER)
        return sequence in QUANTITATIVE, apart, max(volume.spacing_mm) > MUCH_COARSER * finest, place

    return sorted(volumes, key=rank)


def _register(
    case: CatalogCase, volumes: Mapping[Sequence, LoadedVolume], space: _Space, policy: str
) -> dict[Sequence, RigidTransform]:
    """Return how each sequence is carried to the reference; by its header alone where that is known to suffice."""
    settled = case.brain_mask is not None or all(
        space.stripped if volume is space.volume else stripped_brain(volume.data, volume.affine) is not None
        for volume in volumes.values()
    )
    transforms = {}
    for sequence, volume in volumes.items():
        together = _same_grid(volume, space.volume)
        if sequence == space.reference or policy == "never" or (policy == "auto" and together and settled):
            transforms[sequence] = IDENTITY
        else:
            with _naming(case, sequence):
                transforms[sequence] = register_rigid(
                    space.volume.data, space.volume.affine, volume.data, volume.affine, space.brain
                )
    return transforms


def _bring(
    sequence: Sequence, volume: LoadedVolume, to_reference: Affine, space: _Space, brain: Mask, n4: bool
) -> tuple[Volume, Mask]:
    """Return one sequence on the study grid, its bias field divided out, and where it shows brain.

    Greys are measured there too: there all sites' scans are equally sharp.
    """
    carried = to_reference @ volume.affine
    own = mask_to_grid(space.brain, space.volume.affine, volume.data.shape, carried)
    if not own.any():
        raise DataError("shows no part of the brain that the reference sequence shows; check its header, or remove it")
    data, own, carried = crop(volume.data, carried, own, CROP_MM)
    # Zeros at the edge are where that sequence was stripped; the maps' zeros inside are theirs.
    inside = own & (data != 0) if sequence not in QUANTITATIVE else own
    values, share = average_within(data, inside, carried, space.grid.shape, space.grid.affine)
    seen = brain & (share >= COVERED)
    if np.count_nonzero(seen) < FEWEST_SHARE * np.count_nonzero(brain):
        raise DataError("shows less than half of the brain that the reference sequence shows; remove it from the case")
    if n4 and sequence not in QUANTITATIVE:
        values = values / estimate_bias(data, inside, carried).on(space.grid.shape, space.grid.affine)
    return values, seen


def _by_maximum(
    sequence: Sequence, values: Volume, seen: Mask, greys: Mapping[str, Mapping[str, float]]
) -> GreyScale | None:
    """Return the scale of T1 by its maximum, and of T1Gd by that of the case's T1 (its own where there is none).

    None for all other sequences, which are normalised as ever.
    """
    if sequence not in (Sequence.T1, Sequence.T1GD):
        return None
    of_t1 = greys.get(Sequence.T1.value)
    if sequence is Sequence.T1GD and of_t1 is not None:
        return GreyScale(**of_t1)
    return GreyScale.fit_maximum(values, seen)


def _labels_on(
    space: _Space,
    volumes: Mapping[Sequence, LoadedVolume],
    transforms: Mapping[Sequence, RigidTransform],
    labels: tuple[Labels, Affine] | None,
) -> Labels:
    """Return the labels on the study grid, carried like the sequence on whose grid they were drawn."""
    grid = space.grid
    if labels is None:
        return np.zeros(grid.shape, dtype=np.uint8)
    values, affine = labels
    order = sorted(volumes, key=lambda sequence: sequence != space.reference)
    alike = [each for each in order if _lie_together(values, affine, volumes[each].data, volumes[each].affine)]
    carry = transforms[alike[0]].matrix if alike else np.eye(4)
    return labels_to_grid(values, carry @ affine, grid.shape, grid.affine)


def _native(volume: LoadedVolume, transform: RigidTransform) -> dict[str, Any]:
    return {
        "shape": list(volume.data.shape),
        "affine": volume.affine.tolist(),
        "orientation": volume.orientation,
        "to_reference": transform.matrix.tolist(),
    }


def _same_grid(one: LoadedVolume, other: LoadedVolume) -> bool:
    return _lie_together(one.data, one.affine, other.data, other.affine)


def _lie_together(data: NDArray[Any], affine: Affine, other: NDArray[Any], other_affine: Affine) -> bool:
    return data.shape == other.shape and bool(np.allclose(affine, other_affine, atol=1e-3))


@contextmanager
def _naming(case: CatalogCase, sequence: Sequence | None) -> Iterator[None]:
    """Put the file's path before what went wrong with it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{case.images[sequence] if sequence is not None else case.brain_mask}: {error}") from None

"""From a case's files to its cached slices: RAS+, registration, brain, bias field, greys, study grid."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from client.data.cache import BRAIN, LABELS, CachedCase, LabelKind, open_case, write_case
from client.data.catalog import CatalogCase
from client.imaging.bias_field import correct_bias
from client.imaging.brain_mask import extract_brain, stripped_brain
from client.imaging.intensity import GreyScale, normalise
from client.imaging.nifti import LoadedVolume, read_volume
from client.imaging.registration import IDENTITY, RigidTransform, register_rigid
from client.imaging.resample import average_within, labels_to_grid, mask_to_grid
from common.errors import DataError
from common.sequences import QUANTITATIVE, STRUCTURAL, Sequence
from common.shapes import Affine, Labels, Mask
from common.study import Grid

PIPELINE = "1"
"""Changes whenever the same files and settings would give other slices: older caches are then left aside."""

REFERENCE_ORDER = (Sequence.FLAIR, Sequence.T1, Sequence.T1GD, Sequence.T2)
"""CBSI registers to FLAIR; where there is none the next stands in, and a map only where there is nothing else."""

CUT_OFF = 0.02
"""The share of the brain that may lie beyond the study grid."""

OnCase = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""


class PrepareSettings(BaseModel):
    """What decides, beside the files, how the cached slices look.

    Attributes:
        grid: the study's.
        n4: whether structural images are corrected for the coil's bias field.
        register_sequences: `auto` trusts sequences that lie on one grid and are stripped, or come with a brain mask, as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: Grid = Grid()
    n4: bool = True
    register_sequences: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class PrepareOutcome:
    """What became of a list of cases: the prepared ones in the given order, and why others failed, by case."""

    cases: tuple[CachedCase, ...]
    failures: dict[str, str]


@dataclass(frozen=True)
class _Placed:
    """One sequence with the rigid transform that carries its world to the reference image's."""

    volume: LoadedVolume
    transform: RigidTransform

    @property
    def affine(self) -> Affine:
        """Voxel indices to the reference image's world."""
        return np.asarray(self.transform.matrix @ self.volume.affine, dtype=np.float64)


def digest_of(case: CatalogCase, settings: PrepareSettings) -> str:
    """Return the SHA-256 of all that decides the cached slices: the files' bytes, the case's facts, the settings.

    Raises:
        DataError: where a file cannot be read.
    """
    files = {sequence.value: path for sequence, path in case.images.items()}
    files |= {"mask": case.brain_mask} if case.brain_mask else {}
    files |= {"labels": case.labels} if case.labels else {}
    facts = {
        "pipeline": PIPELINE,
        "settings": settings.model_dump(mode="json"),
        "case": [case.case, case.patient, case.label_kind, case.bbb_disrupted, case.et_label],
        "files": {role: _file_digest(path) for role, path in sorted(files.items())},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run catalog to see what is there") from None


def prepare_cases(
    cases: Iterable[CatalogCase],
    settings: PrepareSettings,
    cache_dir: Path,
    workers: int = 1,
    on_case: OnCase | None = None,
) -> PrepareOutcome:
    """Prepare each case that is not in the cache yet; the result does not depend on `workers`.

    A case that fails is named with its reason, and the others go on. After an interruption the same call goes on.
    """
    listed = list(cases)
    for stale in cache_dir.glob(".*.part"):
        stale.unlink(missing_ok=True)
    done: dict[int, CachedCase] = {}
    failures: dict[str, str] = {}
    for count, (index, result) in enumerate(_results(listed, settings, cache_dir, workers), start=1):
        if isinstance(result, CachedCase):
            done[index] = result
        else:
            failures[listed[index].case] = result
        if on_case is not None:
            on_case(count, len(listed))
    return PrepareOutcome(tuple(done[index] for index in sorted(done)), failures)


def _results(
    cases: list[CatalogCase], settings: PrepareSettings, cache_dir: Path, workers: int
) -> Iterator[tuple[int, CachedCase | str]]:
    """Yield each case's index with its cached case, or with why it failed, as they come."""
    todo: list[int] = []
    for index, case in enumerate(cases):
        try:
            path = _cache_path(case, settings, cache_dir)
            if path.is_file():
                yield index, open_case(path)
            else:
                todo.append(index)
        except DataError as error:
            yield index, str(error)
    if workers <= 1 or len(todo) <= 1:
        for index in todo:
            yield index, _attempt(cases[index], settings, cache_dir)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=spawn) as pool:
        running: dict[Future[Path | str], int] = {
            pool.submit(_attempt_path, cases[index], settings, cache_dir): index for index in todo
        }
        for future in as_completed(running):
            try:
                result = future.result()
            except BrokenProcessPool:
                result = "its process was ended, likely for lack of memory; run prepare again with fewer workers"
            yield running[future], open_case(result) if isinstance(result, Path) else result


def _attempt(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> CachedCase | str:
    try:
        return prepare_case(case, settings, cache_dir)
    except DataError as error:
        return str(error)


def _attempt_path(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> Path | str:
    """What a worker process returns: memory maps stay where they are."""
    result = _attempt(case, settings, cache_dir)
    return result if isinstance(result, str) else result.path


def _cache_path(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> Path:
    return cache_dir / f"{digest_of(case, settings)}.safetensors"


def prepare_case(case: CatalogCase, settings: PrepareSettings, cache_dir: Path) -> CachedCase:
    """Prepare one case and return it from the cache, where a second call finds it.

    Raises:
        DataError: where a file is wrong, no brain is found, sequences do not overlap, or the disk is full.
    """
    path = _cache_path(case, settings, cache_dir)
    if path.is_file():
        return open_case(path)
    volumes = {sequence: read_volume(image) for sequence, image in sorted(case.images.items())}
    reference = reference_sequence(volumes)
    brain = _brain_of(case, volumes, reference)
    placed = _place(case, volumes, reference, brain, settings)
    affine, depth = _study_grid(volumes[reference], brain, settings.grid)
    shape = (*settings.grid.shape, depth)
    on_grid = mask_to_grid(brain, volumes[reference].affine, shape, affine)
    arrays = {
        BRAIN: _slices(on_grid.astype(np.uint8)),
        LABELS: _slices(_labels_on(case, placed, reference, affine, shape)),
    }
    greys: dict[str, dict[str, float]] = {}
    for sequence, each in placed.items():
        try:
            image, scale = _grey(sequence, each, brain, volumes[reference], settings, affine, shape)
        except DataError as error:
            raise DataError(f"{case.images[sequence]}: {error}") from None
        arrays[sequence.value] = _slices(np.where(on_grid, image, np.float32(-1)))
        greys[sequence.value] = scale.to_dict()
    write_case(path, arrays, _facts(case, placed, reference, affine, greys))
    return open_case(path)


def reference_sequence(volumes: dict[Sequence, LoadedVolume]) -> Sequence:
    """Return the sequence whose grid and world all others are brought to."""
    order: tuple[Sequence, ...] = (*REFERENCE_ORDER, *Sequence)
    return next(sequence for sequence in order if sequence in volumes)


def _brain_of(case: CatalogCase, volumes: dict[Sequence, LoadedVolume], reference: Sequence) -> Mask:
    """Return the brain on the reference grid: as given, as stripped, or as found."""
    image = volumes[reference]
    if case.brain_mask is None:
        try:
            return extract_brain(image.data, image.affine).mask
        except DataError as error:
            raise DataError(f"{case.images[reference]}: {error}") from None
    given = read_volume(case.brain_mask)
    brain = mask_to_grid(given.data > 0, given.affine, image.data.shape, image.affine)
    if not brain.any():
        raise DataError(f"{case.brain_mask}: marks nothing on the grid of {reference}; give the mask of this scan")
    return brain


def _place(
    case: CatalogCase,
    volumes: dict[Sequence, LoadedVolume],
    reference: Sequence,
    brain: Mask,
    settings: PrepareSettings,
) -> dict[Sequence, _Placed]:
    """Register every sequence to the reference, unless the settings trust the case as it lies."""
    fixed = volumes[reference]
    together = all(_same_grid(fixed, each) for each in volumes.values())
    stripped = case.brain_mask is not None or stripped_brain(fixed.data, fixed.affine) is not None
    trusted = settings.register_sequences == "never" or (
        settings.register_sequences == "auto" and together and stripped
    )
    placed: dict[Sequence, _Placed] = {}
    for sequence, volume in volumes.items():
        transform = IDENTITY
        if sequence != reference and not trusted:
            try:
                transform = register_rigid(fixed.data, fixed.affine, volume.data, volume.affine, brain)
            except DataError as error:
                raise DataError(f"{case.images[sequence]}: {error}") from None
        placed[sequence] = _Placed(volume, transform)
    return placed


def _same_grid(a: LoadedVolume, b: LoadedVolume) -> bool:
    return a.data.shape == b.data.shape and np.allclose(a.affine, b.affine, atol=1e-3)


def _grey(
    sequence: Sequence,
    placed: _Placed,
    brain: Mask,
    reference: LoadedVolume,
    settings: PrepareSettings,
    affine: Affine,
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, GreyScale]:
    """Return a sequence's greys on the study grid; its bias and greys are settled on its own voxels first."""
    data = placed.volume.data
    mask = mask_to_grid(brain, reference.affine, data.shape, placed.affine)
    if settings.n4 and sequence not in QUANTITATIVE:
        data = correct_bias(data, mask, placed.volume.affine)
    greys, scale = normalise(data, mask, sequence)
    image, _ = average_within(greys, mask, placed.affine, shape, affine)
    return image, scale


def _study_grid(reference: LoadedVolume, brain: Mask, grid: Grid) -> tuple[Affine, int]:
    """Return the study grid's affine and its number of slices: the reference's axes, centred on the brain's box."""
    found = np.argwhere(brain)
    first, last = found.min(axis=0), found.max(axis=0)
    step = np.asarray(grid.spacing_mm) / np.asarray(reference.spacing_mm)
    extent = (last - first + 1) / step
    depth = max(1, int(np.ceil(extent[2])))
    shape = np.array([*grid.shape, depth])
    affine = reference.affine @ np.diag([*step, 1.0])
    corner = (first + last) / 2 - step * (shape - 1) / 2
    affine[:3, 3] = (reference.affine @ [*corner, 1.0])[:3]
    inside = np.all(np.abs((found - (first + last) / 2) / step)[:, :2] <= shape[:2] / 2, axis=1)
    if 1 - inside.mean() > CUT_OFF:
        size = " x ".join(f"{edge:.0f}" for edge in extent[:2] * np.asarray(grid.spacing_mm[:2]))
        raise DataError(f"the brain is {size} mm wide, more than the study's grid; raise grid.shape or check the mask")
    return affine, depth


def _labels_on(
    case: CatalogCase, placed: dict[Sequence, _Placed], reference: Sequence, affine: Affine, shape: tuple[int, int, int]
) -> Labels:
    """Return tumour labels (0, NCR 1, ED 2, ET 4, or 1 for a whole tumour) on the study grid.

    Labels lie in the world of the sequence whose grid they share, else in the reference's.
    """
    if case.labels is None or case.label_kind is LabelKind.NONE:
        return np.zeros(shape, dtype=np.uint8)
    loaded = read_volume(case.labels)
    values = np.round(loaded.data).astype(np.int64)
    if case.label_kind is LabelKind.WHOLE:
        values = (values > 0).astype(np.int64)
    elif case.et_label != 4:
        values = np.where(values == case.et_label, 4, values)
    if not set(np.unique(values).tolist()) <= {0, 1, 2, 4}:
        raise DataError(f"{case.labels}: label values outside the convention; run check on the folder")
    drawn_on = [each for _, each in sorted(placed.items()) if _same_grid(each.volume, loaded)]
    reference_alike = _same_grid(placed[reference].volume, loaded)
    transform = IDENTITY if reference_alike or not drawn_on else drawn_on[0].transform
    return labels_to_grid(values.astype(np.uint8), transform.matrix @ loaded.affine, shape, affine)


def _facts(
    case: CatalogCase,
    placed: dict[Sequence, _Placed],
    reference: Sequence,
    affine: Affine,
    greys: dict[str, dict[str, float]],
) -> dict[str, object]:
    """Return what `CachedCase` reads back beside the slices."""
    native = {
        sequence.value: {
            "shape": list(each.volume.data.shape),
            "affine": each.volume.affine.tolist(),
            "orientation": each.volume.orientation,
            "to_reference": each.transform.matrix.tolist(),
        }
        for sequence, each in placed.items()
    }
    ordered = [s for s in (*STRUCTURAL, *Sequence) if s in placed]
    return {
        "case": case.case,
        "patient": case.patient,
        "sequences": list(dict.fromkeys(s.value for s in ordered)),
        "label_kind": case.label_kind.value,
        "bbb_disrupted": case.bbb_disrupted,
        "affine": affine.tolist(),
        "native": {"reference": reference.value, "sequences": native},
        "greys": greys,
    }


def _slices(volume: np.ndarray) -> np.ndarray:
    """Return a volume (I, J, K) as slices (K, H, W)."""
    return np.ascontiguousarray(volume.transpose(2, 0, 1))

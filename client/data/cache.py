"""The cache of slices: one memory-mapped safetensors file a case, named by the digest of its input and settings."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.sequences import Sequence

BRAIN = "brain"
LABELS = "labels"


class CacheFullError(DataError):
    """The cache cannot be written: the disk is full, or the folder refuses; no case can be prepared then."""


class LabelKind(StrEnum):
    """How much of the tumour a case's labels name: nothing, the whole tumour as 1, or NCR 1 / ED 2 / ET 4."""

    NONE = "none"
    WHOLE = "whole"
    FULL = "full"


@dataclass(frozen=True)
class CachedCase:
    """One prepared case: slices on the study grid, axes (K, H, W), greys in [-1, 1] with -1 outside the brain.

    Attributes:
        path: the cache file.
        case: the case's name at the site; never leaves it.
        patient: the patient key that joins a patient's cases; never leaves the site.
        sequences: the real sequences that the case holds.
        label_kind: what `labels()` means.
        bbb_disrupted: the BBB status, None where unknown.
        affine: study-grid voxel (I, J, K) to millimetres RAS+, shape (4, 4).
        native: shape, affine and orientation of the reference sequence and, per sequence, its rigid transform to it.
        greys: per sequence the constants that undo the grey normalisation.
    """

    path: Path
    case: str
    patient: str
    sequences: tuple[Sequence, ...]
    label_kind: LabelKind
    bbb_disrupted: bool | None
    affine: NDArray[np.float64]
    native: Mapping[str, Any]
    greys: Mapping[str, Any]

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        return _map_arrays(self.path)

    def slices(self, sequence: Sequence) -> NDArray[np.float32]:
        """Return the memory-mapped slices of `sequence`, (K, H, W). Raises KeyError where the case lacks it."""
        return self._arrays[sequence.value]

    def brain(self) -> NDArray[np.uint8]:
        """Return the brain mask, (K, H, W), 0 or 1."""
        return self._arrays[BRAIN]

    def labels(self) -> NDArray[np.uint8]:
        """Return the tumour labels, (K, H, W), zeros where `label_kind` is none."""
        return self._arrays[LABELS]

    @property
    def depth(self) -> int:
        """Number of slices K."""
        return int(self.brain().shape[0])


def write_case(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write one case aside, fsync it, and rename it to `path`.

    Args:
        path: final name, `<digest>.safetensors`.
        arrays: sequences (float32), `brain` and `labels` (uint8), all of axes (K, H, W).
        facts: JSON-serialisable attributes of CachedCase other than `path`.
    Raises:
        CacheFullError: where the disk is full or the folder cannot be written; nothing stays behind.
    """
    from safetensors.numpy import save

    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    blob = save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        {"case": json.dumps(facts, sort_keys=True)},
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be the trouble
            aside.unlink(missing_ok=True)
        raise CacheFullError(
            f"{path.parent}: cannot write the cache ({error.strerror}); free space or choose another cache folder"
        ) from None


def open_case(path: Path) -> CachedCase:
    """Open a cached case without reading its slices. Raises DataError where the file is damaged."""
    try:
        header, start = _read_header(path)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if path.stat().st_size != start + max(ends, default=0):
            raise ValueError("cut short")
        facts = json.loads(header["__metadata__"]["case"])
        return CachedCase(
            path=path,
            case=facts["case"],
            patient=facts["patient"],
            sequences=tuple(Sequence(name) for name in facts["sequences"]),
            label_kind=LabelKind(facts["label_kind"]),
            bbb_disrupted=facts["bbb_disrupted"],
            affine=np.array(facts["affine"], dtype=np.float64),
            native=facts["native"],
            greys=facts["greys"],
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: damaged cache file ({type(error).__name__}); delete it and run prepare again"
        ) from None


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the safetensors header and the offset of the first tensor byte."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= 1 << 20:
            raise ValueError("header size")
        header: dict[str, Any] = json.loads(file.read(size))
    return header, 8 + size


def _map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Memory-map every tensor of a safetensors file (its own reader copies what it returns as NumPy)."""
    header, start = _read_header(path)
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    kinds = {"F32": np.float32, "U8": np.uint8}
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = (start + offset for offset in entry["data_offsets"])
            arrays[name] = whole[first:last].view(kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays

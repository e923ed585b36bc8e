"""The cache of slices: whole or absent, mapped from disk, refused when damaged; and batches drawn from it."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from client.data.cache import CachedCase, LabelKind, open_case, write_case
from client.data.dataset import CaseStore
from common.errors import DataError
from common.sequences import STRUCTURAL, Sequence


def facts(case: str, sequences: tuple[str, ...], patient: str | None = None, kind: str = "full") -> dict[str, object]:
    return {
        "case": case,
        "patient": patient or case,
        "sequences": list(sequences),
        "label_kind": kind,
        "bbb_disrupted": None,
        "affine": np.eye(4).tolist(),
        "native": {},
        "greys": {},
    }


def write(folder: Path, case: str, sequences: tuple[str, ...] = ("T1",), patient: str | None = None) -> CachedCase:
    arrays = {name: np.full((3, 4, 5), 0.1 * index, np.float32) for index, name in enumerate(sequences)}
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 2] = 4
    path = folder / f"{case}.safetensors"
    write_case(
        path, {**arrays, "brain": np.ones((3, 4, 5), np.uint8), "labels": labels}, facts(case, sequences, patient)
    )
    return open_case(path)


def test_what_is_written_is_read_back_from_the_mapped_file(tmp_path: Path):
    case = write(tmp_path, "p1", ("T1", "FLAIR"))
    assert case.sequences == (Sequence.T1, Sequence.FLAIR)
    assert case.label_kind is LabelKind.FULL
    assert case.depth == 3
    assert (case.slices(Sequence.FLAIR) == np.float32(0.1)).all()
    assert isinstance(case.slices(Sequence.T1).base, np.ndarray)
    assert case.labels()[1, 2, 2] == 4
    with pytest.raises(KeyError):
        case.slices(Sequence.T2)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, old[1]))
    try:
        with pytest.raises(DataError, match="cannot write the cache") as caught:
            write(tmp_path, "p1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 7, 60])
def test_a_truncated_cache_file_is_refused(tmp_path: Path, keep: int):
    path = write(tmp_path, "p1").path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="run prepare again"):
        open_case(path)


def test_absent_sequences_are_marked_and_empty(tmp_path: Path):
    store = CaseStore([write(tmp_path, "p1", ("T1",)), write(tmp_path, "p2", ("T1", "T2"))], STRUCTURAL)
    batch = store.take([(0, 0), (1, 2)])
    assert batch.present[Sequence.T2].tolist() == [False, True]
    assert (batch.images[Sequence.T2][0] == -1).all()
    assert batch.bbb.tolist() == [-1, -1]
    assert batch.whole_tumour[1].sum() == 0


def test_patients_are_drawn_evenly_however_many_cases_they_have(tmp_path: Path):
    cases = [write(tmp_path, f"s{n}", ("T1",), patient="often") for n in range(9)] + [write(tmp_path, "once")]
    store = CaseStore(cases, STRUCTURAL)
    drawn = store.draw(400, torch.Generator().manual_seed(0)).case_index
    assert 0.4 < float((drawn == 9).float().mean()) < 0.6
    assert list(store.patients()) == ["often", "once"]


def test_a_store_looks_once_for_what_fits_and_draws_the_same(tmp_path: Path):
    store = CaseStore([write(tmp_path, f"p{n}") for n in range(3)], STRUCTURAL)
    asked: list[str] = []

    def fits(case: object) -> bool:
        asked.append(case.case)
        return case.case != "p1"

    drawn = [store.draw(4, torch.Generator().manual_seed(0), fits).case_index.tolist() for _ in range(2)]
    assert drawn[0] == drawn[1] and set(drawn[0]) == {0, 2}
    assert asked == ["p0", "p1", "p2"]


def test_a_store_without_a_fitting_case_says_so(tmp_path: Path):
    store = CaseStore([write(tmp_path, "p1")], STRUCTURAL)
    with pytest.raises(ValueError, match="no case"):
        store.draw(1, torch.Generator(), lambda case: False)

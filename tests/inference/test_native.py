"""From the study grid to native space: constants stay constant, and what was not redrawn comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest

from client.data.catalog import scan_folder
from client.data.preprocessing import PrepareSettings, prepare_cases
from client.inference.native import native_image, open_native
from common.errors import DataError
from common.sequences import Sequence
from common.study import Grid


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, scans):
    case = scan_folder(scans / "P1").cases[0]
    (cached,) = prepare_cases([case], PrepareSettings(grid=Grid(), n4=False), tmp_path_factory.mktemp("cache")).cases
    return case, cached, open_native(case, cached)


def test_a_constant_stays_constant_up_to_the_edge_of_the_brain(prepared):
    _, cached, space = prepared
    slices = np.where(cached.brain() > 0, np.float32(0.25), np.float32(-1))
    native = space.image(slices)
    assert np.allclose(native[space.brain], 0.25, atol=1e-4)
    assert (native[~space.brain] == -1).all()


def test_an_image_that_was_not_redrawn_keeps_its_native_detail(prepared):
    case, cached, space = prepared
    native = native_image(case, cached, space, Sequence.FLAIR)
    back = space.sharpened(cached.slices(Sequence.FLAIR), space.detail(native))
    plain = space.image(cached.slices(Sequence.FLAIR))
    inside = space.brain
    sharp_error, plain_error = (127.5 * np.abs(each - native)[inside].mean() for each in (back, plain))
    assert sharp_error < 3
    assert sharp_error < plain_error


def test_the_native_mask_covers_the_brain(prepared, scans):
    _, _, space = prepared
    truth, found = space.like.data > 0, space.whole(space.brain)
    overlap = 2 * (truth & found).sum() / (truth.sum() + found.sum())
    assert overlap > 0.95
    assert found.sum() == space.brain.sum()
    assert space.voxel_ml == pytest.approx(0.128)


def test_a_scan_that_changed_since_it_was_prepared_is_refused(prepared):
    case, cached, _ = prepared
    facts = {name: dict(entry) for name, entry in cached.native["sequences"].items()}
    facts[cached.native["reference"]]["shape"] = [1, 2, 3]
    changed = type(cached)(**{**vars_of(cached), "native": {**cached.native, "sequences": facts}})
    with pytest.raises(DataError, match="changed since it was prepared"):
        open_native(case, changed)


def vars_of(cached):
    return {name: getattr(cached, name) for name in cached.__dataclass_fields__}

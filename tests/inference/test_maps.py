"""Maps drawn from whatever a case holds: which inputs are used, what is said of them, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from client.inference.complete import complete_folder
from client.inference.complete_case import complete_case
from client.inference.maps import draw_map, map_of_case, usable_inputs
from client.inference.models import open_models
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import MapsStage

T1, T1GD, T2, FLAIR = STRUCTURAL
ADC, CBV = Sequence.ADC, Sequence.CBV
ANY, ALL = MapsStage(), MapsStage(subsets="all-inputs", inputs=(T1, T1GD, ADC))


@pytest.fixture(scope="module")
def release(maps_release):
    return maps_release


@pytest.fixture(scope="module")
def models(release):
    return open_models(release)


def test_a_model_of_any_subset_uses_what_there_is_and_one_of_all_inputs_wants_them_all() -> None:
    assert usable_inputs(ANY, (CBV, FLAIR, T1)) == (T1, FLAIR)
    assert usable_inputs(ANY, (CBV,)) == ()
    assert usable_inputs(ALL, (T1, T1GD)) == ()
    assert usable_inputs(ALL, (ADC, T1GD, T1, T2)) == (T1, T1GD, ADC)


def test_a_volume_is_drawn_as_its_slices_and_is_background_outside_the_brain(models, make_case) -> None:
    case = make_case(T1, FLAIR)
    given, brain = {sequence: case.slices(sequence) for sequence in (T1, FLAIR)}, case.brain()
    whole = draw_map(models.maps, ANY.inputs, given, brain, batch=5)
    singly = draw_map(models.maps, ANY.inputs, given, brain, batch=1)
    assert whole.shape == brain.shape and np.allclose(whole, singly, atol=0.02)
    assert (whole[brain == 0] == -1).all()
    assert np.abs(whole).max() <= 1 and whole[brain > 0].std() > 0


def test_a_case_that_has_the_target_keeps_its_own(release, models, make_case) -> None:
    assert complete_case(make_case(T1, CBV), release, "hospital-a", models).drawn_map is None


def test_a_drawn_map_names_its_inputs_and_those_that_need_gadolinium(release, models, make_case) -> None:
    free = complete_case(make_case(T1, FLAIR, ADC), release, "hospital-a", models).drawn_map
    assert (free.sequence, free.inputs, free.gadolinium_inputs) == (CBV, (T1, FLAIR, ADC), ())
    given = complete_case(make_case(T1, T1GD), release, "hospital-a", models).drawn_map
    assert (given.inputs, given.gadolinium_inputs) == ((T1, T1GD), (T1GD,))


def test_a_fill_is_no_input(models, make_case, release) -> None:
    """T2 alone is completed to all sequences by the generator, and still the map rests on T2."""
    done = complete_case(make_case(T2), release, "hospital-a", models)
    assert {T1, T1GD, FLAIR} <= set(done.fills)
    assert done.drawn_map.inputs == (T2,)
    alone = map_of_case(models.maps, ANY, {T2: make_case(T2).slices(T2)}, make_case(T2).brain())
    assert np.array_equal(done.drawn_map.slices, alone.slices)


def test_why_nothing_was_drawn_is_said(release, models, make_case) -> None:
    study = release.study
    maps = study.stages.maps.model_copy(update={"subsets": "all-inputs"})
    study = study.model_copy(update={"stages": study.stages.model_copy(update={"maps": maps})})
    strict = replace(release, manifest=release.manifest.model_copy(update={"study": study}))
    done = complete_case(make_case(T1), strict, "hospital-a", models)
    assert done.drawn_map is None
    assert "CBV: not drawn by the maps model, which needs all of T1, T2, T1Gd, FLAIR, ADC" in done.remarks


def test_complete_writes_the_map_in_its_units_with_its_provenance(tmp_path, scans, release) -> None:
    complete_folder(scans, release.path, tmp_path / "out")
    for case, inputs, gadolinium in (("P1", ["T1", "T1Gd", "FLAIR"], ["T1Gd"]), ("P2", ["T2"], [])):
        facts = json.loads((tmp_path / "out" / case / "CBV_drawn.json").read_text())
        assert facts["synthetic"] is True and facts["stage"] == "maps" and facts["sources"] == inputs
        assert (facts["gadolinium_inputs"], facts["contrast_free"]) == (gadolinium, not gadolinium)
        drawn = np.asarray(nib.load(tmp_path / "out" / case / "CBV_drawn.nii.gz").dataobj)
        assert drawn.min() >= 0 and drawn.max() <= 15  # relative to normal white matter

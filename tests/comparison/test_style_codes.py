"""The codes of held-out pictures, and the plane on which they are shown."""

import numpy as np
import pytest
import torch

from common.nets.first_weights import initialise
from common.nets.ummgat import Ummgat
from common.sequences import STRUCTURAL, Domain, Sequence, with_twins
from simulations.comparison import style_codes
from simulations.comparison.style_codes import SLICES_A_PATIENT, StyleMap, lay_out, map_styles, read_codes
from simulations.comparison.subject import Pencil
from simulations.report.charts import colour
from simulations.report.style_chart import style_charts

A_T1, B_T1 = Domain("a", Sequence.T1), Domain("b", Sequence.T1)


@pytest.fixture
def model():
    game = Ummgat(with_twins(tuple(Domain(site, s) for site in ("a", "b") for s in STRUCTURAL)), "tiny")
    initialise(game, torch.Generator().manual_seed(1))
    return game.eval()


@pytest.fixture
def pencil(model):
    return Pencil(model, tuple(domain for domain in model.domains if not domain.lesion), "a")


def read(subject, pencil, model):
    return {(code.source, code.domain, code.drawn) for code in read_codes(subject, pencil, model)}


def test_each_sequence_is_read_as_it_is_filled_and_harmonized_whole_and_in_its_lesion(toy, pencil, model):
    found = read(toy.subject("b", "p1", sequences=(Sequence.T1, Sequence.T2)), pencil, model)
    b_t2 = Domain("b", Sequence.T2)
    views = {(B_T1, B_T1, False), (b_t2, B_T1, True), (B_T1, A_T1, True)}
    of_t1 = {view for view in found if view[1].sequence == Sequence.T1}
    assert of_t1 == views | {(source, domain.twin, drawn) for source, domain, drawn in views}


def test_at_the_reference_centre_nothing_is_harmonized(toy, pencil, model):
    assert read(toy.subject("a", "p1", sequences=(Sequence.T1,)), pencil, model) == {
        (A_T1, A_T1, False),
        (A_T1, A_T1.twin, False),
    }


def test_a_code_is_the_encoders_of_the_picture_in_black_surroundings(toy, pencil, model):
    subject = toy.subject("a", "p1", sequences=(Sequence.T1,))
    codes = [code for code in read_codes(subject, pencil, model) if not code.domain.lesion]
    assert len(codes) == SLICES_A_PATIENT
    shown = torch.tensor(subject.truth.slices(Sequence.T1)[subject.fullest_slice])[None, None]
    with torch.inference_mode():
        expected = model.encoder(shown, torch.tensor([model.number(A_T1)]))[0].numpy()
    assert min(np.abs(code.code - expected).max() for code in codes) < 0.02


def test_too_few_patients_have_no_map(toy, pencil, model):
    assert map_styles([toy.subject("a", "p1")] * 9, pencil, model, seed=1) is None


@pytest.fixture
def shown(toy, pencil, model, monkeypatch):
    monkeypatch.setattr(style_codes, "lay_out", lambda vectors, seed: vectors[:, :2])
    monkeypatch.setattr(style_codes, "MOST_CODES", 50)
    return map_styles([toy.subject("a", f"p{n}") for n in range(4)], pencil, model, seed=1)


def test_a_map_holds_a_bounded_number_of_codes_of_every_patient(shown):
    assert isinstance(shown, StyleMap)
    assert 25 < len(shown.codes) <= 50
    assert len(shown.by_code) == len(shown.by_features) == len(shown.codes)


def test_each_panel_shows_every_code_once(shown):
    charts = style_charts(shown.codes, shown.by_code, {"a": colour(0), "b": colour(1)})
    assert len(charts) == 4
    assert {chart.count("h0") for chart in charts} == {len(shown.codes)}
    assert "T1Gd" in charts[0] and "hospital" in charts[1] and "drawn" in charts[2] and "lesion" in charts[3]


@pytest.mark.slow
def test_umap_keeps_far_clusters_apart_and_gives_the_same_places_again():
    noise = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    vectors = noise + 20 * (np.arange(60) % 2)[:, None].astype(np.float32)
    places = lay_out(vectors, seed=2**40 + 1)
    np.testing.assert_array_equal(places, lay_out(vectors, seed=2**40 + 1))
    ones, others = places[::2], places[1::2]
    apart = np.linalg.norm(ones.mean(0) - others.mean(0))
    assert apart > 3 * max(ones.std(), others.std())

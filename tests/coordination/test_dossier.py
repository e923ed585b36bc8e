"""The dossier for people: figures with the worst site, what privacy cost, what attacks achieved; and its pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.assessment.attack_figures import AttackRow
from common.assessment.dossier import Distance, Figure, MatrixRow, Roc, RocArea, RocPoint
from common.errors import ReleaseError
from common.release import StagePrivacy, load_release
from common.settings.stages import Stage
from common.spent import Spent
from server.consortium.folder import Consortium
from server.dossier import ReleaseDossier, dossier_of, pictures_of, read_release_dossier, render_page
from server.dossier.dossier import Withdrawn
from server.journal import Journal


def figure(mean: float) -> Figure:
    return Figure(patients=6, mean=mean, deviation=0.1)


def row(model: str, of: str, measure: str, a: float, b: float, worst: str) -> MatrixRow:
    sites = {"hospital-a": figure(a), "hospital-b": figure(b)}
    return MatrixRow(
        assessor="translation",
        model=model,
        of=of,
        measure=measure,
        pooled=figure((a + b) / 2),
        sites=sites,
        withheld=(),
        worst_site=worst,
    )


@pytest.fixture(scope="module")
def bare(played: Consortium) -> ReleaseDossier:
    out = played.run("first")
    with Journal.look_into(out) as journal:
        return dossier_of(load_release(out), journal, "north", "SHA256:abc", datetime(2026, 11, 22, tzinfo=UTC))


@pytest.fixture(scope="module")
def full(bare: ReleaseDossier) -> ReleaseDossier:
    """The same of a release that sites have judged and attacked, one stage of it private."""
    area = {"low": 0.7, "high": 0.72, "interval_low": 0.4, "interval_high": 0.9, "disrupted": 6, "intact": 6}
    point = {"threshold": 0.5, "false_positive_low": 0.1, "false_positive_high": 0.2}
    roc = Roc(
        bins=8,
        areas=(RocArea(site="all", **area), RocArea(site="hospital-a", **area)),
        curve=(RocPoint(**point, true_positive_low=0.5, true_positive_high=0.6),),
    )
    spent = Spent(delta=1e-5, steps=40, stage_epsilon=3.25, study_epsilon=4.5)
    privacy = StagePrivacy(noise_multiplier=1.1, clip_norm=1.0, sampling_rate=0.1, sites={"hospital-b": spent})
    distance = Distance(
        site="all",
        sequence="T1",
        encoder="trunk",
        patients=12,
        real_slices=9,
        drawn_slices=9,
        value=4e-9,
        relative=0.06,
    )
    return bare.model_copy(
        update={
            "assessed": {"hospital-a": "ok", "hospital-b": "ok", "<script>": "late"},
            "metrics": (
                row("copy", "T1", "mae", 45.0, 40.7, "hospital-a"),
                row("released", "T1", "mae", 9.39, 19.4, "hospital-b"),
                row("released", "T2", "ssim", 0.911, 0.673, "hospital-b"),
            ),
            "distances": (distance,),
            "roc": roc,
            "attacks": (AttackRow("membership generator/drawn", "area under ROC", 0.622, 0.761, "31 trained on"),),
            "privacy": {Stage.GENERATOR: privacy},
            "withdrawn": (Withdrawn(site="hospital-a", whole_site=False, rounds=2),),
        }
    )


def test_the_page_names_the_worst_site_of_every_measure_the_release_before_what_it_is_compared_with(
    full: ReleaseDossier,
) -> None:
    page = render_page(full)
    assert page.index("hospital-b 19.4") < page.index("hospital-a 45.0"), "the copy stands below"
    assert "hospital-b 0.673" in page and "this is no fid" in page.lower()


def test_the_page_says_what_privacy_cost_and_what_attacks_achieved(full: ReleaseDossier) -> None:
    page = render_page(full)
    assert all(figure in page for figure in ("3.25", "4.50", "1e-05", "membership generator/drawn", "0.761"))
    assert "nothing here is called private" not in page and "patients of hospital-a (2 rounds touched)" in page


def test_what_a_site_sent_is_text_on_the_page_and_never_markup(full: ReleaseDossier) -> None:
    assert "<script>" not in render_page(full) and "&lt;script&gt;" in render_page(full)


def test_stages_stand_in_the_order_in_which_they_are_trained(bare: ReleaseDossier) -> None:
    page = render_page(bare)
    assert page.index("<h3>Generator") < page.index("<h3>Synthesiser")


def test_the_pictures_are_drawings_that_need_nothing_else_with_the_worst_site_in_red(full: ReleaseDossier) -> None:
    pictures = pictures_of(full)
    assert set(pictures) == {"sites.svg", "roc.svg"}
    for text in pictures.values():
        ElementTree.fromstring(text)  # noqa: S314 (a drawing of our own)
        assert "href" not in text and "<script" not in text
    assert pictures["sites.svg"].count('fill="#a93226"') == 4, "a dot and a name, for each of two measures"


def test_a_release_that_nobody_judged_has_no_pictures(bare: ReleaseDossier) -> None:
    assert pictures_of(bare) == {}


def test_a_dossier_reads_back_as_it_was_and_a_damaged_one_is_refused(full: ReleaseDossier, tmp_path: Path) -> None:
    path = tmp_path / "dossier.json"
    path.write_bytes(full.to_bytes())
    assert read_release_dossier(path).to_bytes() == full.to_bytes()
    path.write_bytes(full.to_bytes()[:-20])
    with pytest.raises(ReleaseError, match="promote the release again"):
        read_release_dossier(path)
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_release_dossier(tmp_path / "none.json")

import pytest

from common.assessment.attack_figures import MembershipFigure, MembershipFigures
from common.assessment.dossier import Distance, Dossier, Figure, MatrixRow, Roc, RocArea, SiteStatus
from common.sequences import Sequence
from simulations.report.assessment_table import heat_tables
from simulations.report.page import render_page


def figure(mean: float, patients: int = 6) -> Figure:
    return Figure(patients=patients, mean=mean, deviation=1.0)


def row(model: str, measure: str, of: str, sites: dict[str, float], **more) -> MatrixRow:
    return MatrixRow(
        assessor="segmentation" if measure == "dice" else "translation",
        model=model,
        of=of,
        measure=measure,
        pooled=figure(sum(sites.values()) / len(sites), 6 * len(sites)),
        sites={site: figure(mean) for site, mean in sites.items()},
        **{"withheld": (), "worst_site": None, **more},
    )


@pytest.fixture
def dossier() -> Dossier:
    errors = {"hospital-a": 11.0, "hospital-b": 14.0, "hospital-c": 19.0}
    return Dossier(
        study_digest="0" * 64,
        weights="0" * 64,
        sites={
            **{site: SiteStatus(code="ok") for site in ("hospital-a", "hospital-b")},
            "hospital-c": SiteStatus(code="ok", failed={"segmentation": "data"}),
            "hospital-d": SiteStatus(code="late"),
        },
        matrix=(
            row("released", "mae", "T1", errors, worst_site="hospital-c"),
            row("released", "mae", "T2", {"hospital-a": 9.0}, withheld=("hospital-b",)),
            row("copy", "mae", "T1", {site: error + 8 for site, error in errors.items()}, worst_site="hospital-c"),
            row("site-alone", "mae", "T1", {site: error + 3 for site, error in errors.items()}),
            row("released", "dice", "WT", {"hospital-a": 0.82, "hospital-b": 0.74}, worst_site="hospital-b"),
        ),
        distances=(
            Distance(site="all", sequence=Sequence.T1, encoder="toy", patients=18, real_slices=200, drawn_slices=200,
                     value=0.0031, relative=0.31),
        ),
        roc=Roc(
            bins=40,
            areas=(
                RocArea(site="all", low=0.71, high=0.78, interval_low=0.5, interval_high=0.9, disrupted=9, intact=8),
            ),
            curve=(),
        ),
    )  # fmt: skip


def test_every_site_and_model_has_its_row_and_every_sequence_its_column(dossier):
    errors, dice = heat_tables(dossier)
    assert (errors.columns, dice.columns) == (("T1", "T2"), ("WT",))
    named = [(site, model) for site, model, *_ in errors.rows]
    assert named[:3] == [("all", "released"), ("all", "site-alone"), ("all", "copy")]
    assert len(named) == 3 * 4


def test_too_few_patients_are_shown_as_withheld_and_none_as_a_dash(dossier):
    errors, _ = heat_tables(dossier)
    cells = {(site, model): each for site, model, _, each in errors.rows}
    assert [cells[site, "released"][1].text for site in ("hospital-a", "hospital-b", "hospital-c")] == [
        "9.0",
        "withheld",
        "–",
    ]


def test_the_best_of_a_column_is_green_the_worst_red_whichever_way_the_measure_runs(dossier):
    errors, dice = ({(site, model): each[0] for site, model, _, each in table.rows} for table in heat_tables(dossier))
    assert errors["hospital-a", "released"].colour == dice["hospital-a", "released"].colour == "rgba(31,122,77,0.45)"
    assert errors["hospital-c", "copy"].colour == dice["hospital-b", "released"].colour == "rgba(169,50,38,0.45)"
    assert errors["hospital-c", "released"].is_worst and not errors["hospital-a", "released"].is_worst


def test_the_page_shows_them_and_names_who_said_nothing(summary, gallery, dossier):
    page = render_page(summary, gallery, dossier=dossier)
    section = page[page.index('id="assessment"') : page.index('id="sites"')]
    assert "hospital-d (late)" in section and "hospital-c could not measure segmentation" in section
    assert "No FID" in section and "0.310" in section and "0.710 … 0.780" in section
    assert 'id="assessment"' not in render_page(summary, gallery)


def test_the_page_shows_what_attacks_achieved_beside_their_bounds(summary, gallery, dossier):
    figure = MembershipFigure(members=30, strangers=10, auc=0.51, auc_at_most=0.66, caught=0.1,
                              sites={"hospital-a": 0.51})  # fmt: skip
    attacked = dossier.model_copy(
        update={"membership": MembershipFigures(confidence=0.95, attacks={"segmenter/loss": figure})}
    )
    page = render_page(summary, gallery, dossier=attacked)
    assert "membership segmenter/loss" in page and "30 trained on, 10 held out" in page
    assert "0.66" in page and "What attacks achieved" not in render_page(summary, gallery, dossier=dossier)

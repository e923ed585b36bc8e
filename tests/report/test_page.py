import re

import numpy as np
import pytest

from common.errors import GliofedError
from common.sequences import STRUCTURAL, Domain, Sequence
from simulations.comparison.style_codes import StyleCode, StyleMap
from simulations.report.build import unjudged
from simulations.report.page import (
    byte_text,
    dice_rows,
    figure,
    measured_sequences,
    method_rows,
    render_page,
    seconds_text,
    site_matrices,
    write_page,
)
from simulations.report.pictures import Gallery


def test_the_page_needs_no_other_file(summary, gallery):
    page = render_page(summary, gallery)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_missed_targets_lead_the_page_by_name(summary, gallery):
    page = render_page(summary, gallery)
    verdict = page[page.index("<h2>Verdict") : page.index("<table")]
    assert "missed: core change" in verdict
    assert page.index("✗ missed") < page.index('id="translation"')


def test_a_page_of_a_resubstitution_judges_nothing_and_says_so(summary, gallery):
    data = summary.data.model_copy(update={"evaluation": "resubstitution"})
    targets = tuple(map(unjudged, summary.targets))
    page = render_page(summary.model_copy(update={"data": data, "targets": targets}), gallery)
    assert "No target is judged" in page and "✓ met" not in page
    assert '<span class="badge warn">resubstitution evaluation' in page


def test_the_page_says_what_the_data_are_and_that_it_is_for_research_only(summary, gallery):
    page = render_page(summary, gallery)
    assert "synthetic phantom" in page and "held-out evaluation" in page
    assert summary.research_use_only in page


def test_the_worst_site_is_marked(summary, gallery):
    page = render_page(summary, gallery)
    marked = re.findall(r'>([\w-]+)</span><span class="worst">', page)
    assert set(marked) == {"hospital-c"}


SITES = ("hospital-a", "hospital-b", "hospital-c")


def test_a_map_of_the_codes_is_shown_where_there_is_one(summary, gallery):
    vector = np.zeros(2, np.float32)
    codes = tuple(StyleCode(Domain(site, Sequence.T2), Domain(site, Sequence.T1), vector, vector) for site in SITES)
    places = np.arange(2 * len(SITES), dtype=np.float32).reshape(-1, 2)
    page = render_page(summary, gallery, StyleMap(codes, places, places))
    assert page.count('aria-label="style codes') == 8
    assert 'id="styles"' not in render_page(summary, gallery)


def test_a_map_that_some_site_holds_has_a_column_and_the_structural_ones_always_do(summary, gallery):
    first, *rest = summary.data.sites
    held = {Sequence.T1: 3, Sequence.CBV: 2}
    data = summary.data.model_copy(update={"sites": (first.model_copy(update={"sequences": held}), *rest)})
    assert measured_sequences(summary) == STRUCTURAL
    assert measured_sequences(summary.model_copy(update={"data": data})) == (*STRUCTURAL, Sequence.CBV)
    assert "<th>CBV</th>" in render_page(summary.model_copy(update={"data": data}), gallery)


def test_a_run_that_could_measure_nothing_still_has_a_page(summary):
    bare = summary.model_copy(
        update={
            "fidelity": (), "identity": (), "hypotheses": (), "segmentation": (), "identification": None,
            "maps": (), "fill_gap": None, "stages": (), "failures": ("hospital-a: <no> patient held out",),
        }
    )  # fmt: skip
    page = render_page(bare, Gallery())
    assert "hospital-a: &lt;no&gt; patient held out" in page
    assert 'id="translation"' not in page


def test_maps_stand_subset_by_subset_beside_what_needs_no_network(summary, gallery):
    page = render_page(summary, gallery)
    section = page[page.index('<section id="maps">') : page.index('<section id="sites">')]
    assert "<td>model</td><td>T1 + T1Gd + ADC</td>" in section
    assert "<td>constant</td><td>nothing</td>" in section
    assert '<td class="n">-18</td><td class="n">24</td>' in section
    assert 'id="maps"' not in render_page(summary.model_copy(update={"maps": ()}), gallery)


def test_a_matrix_holds_twelve_pairs_and_the_identity_on_its_diagonal(summary):
    first, *_ = site_matrices(summary)
    assert len(first.cells) == 12
    assert set(first.identity.values()) == {6.5}


def test_the_method_with_the_smallest_error_wins_its_row(summary):
    for _, errors, best in method_rows(summary.fidelity, "brain"):
        assert best == "generator"
        assert errors["generator"] == min(errors.values())


def test_the_worst_fill_decides_a_sites_row(summary):
    every, *_ = dice_rows(summary.segmentation)
    assert (every.site, every.real, every.filled) == ("all", 0.84, (0.82,) * 4)
    assert every.ratio == pytest.approx(0.82 / 0.84)


def test_counts_are_shown_whole_and_measures_with_two_decimals():
    assert [figure(value) for value in (12, 9.0, 0.8, None)] == ["12", "9", "0.80", "–"]


def test_sizes_and_times_read_well():
    assert [byte_text(count) for count in (0, 999, 1500, 2_500_000, 3.2e9)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "3.20 GB",
    ]
    assert (seconds_text(9.94), seconds_text(125)) == ("9.9 s", "2 min 05 s")


def test_a_folder_that_cannot_be_written_is_one_clear_error(summary, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GliofedError, match="cannot be written"):
        write_page(tmp_path / "file" / "report.html", summary, Gallery())

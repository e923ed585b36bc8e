"""The release tells the thresholds that were fitted on the sites' sums, or why it tells the study's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.metrics.operating_point import DECISIONS, TABLE_SHAPE, best_operating_point
from common.metrics.platt import BINS, fit_platt
from common.settings.stages import IdentifierStage, Stage
from server.operating_facts import NO_SHARES, NOBODY_KEPT, NOBODY_SENT, ONE_STATUS, fitted_facts, identifier_facts

SETTINGS = IdentifierStage(slice_threshold=0.4, volume_threshold=0.6, abstain_margin=0.1)


def sums() -> tuple[np.ndarray, np.ndarray]:
    """Ten patients: a disrupted half called so up to the 15th volume threshold, an intact half from the 8th on."""
    decisions = np.zeros(TABLE_SHAPE)
    decisions[:, :15, 1, DECISIONS.index("disrupted")] = 0.5
    decisions[:, 15:, 1, DECISIONS.index("intact")] = 0.5
    decisions[:, :8, 0, DECISIONS.index("disrupted")] = 0.5
    decisions[:, 8:, 0, DECISIONS.index("intact")] = 0.5
    scores = np.zeros((2, BINS))
    scores[0, 3], scores[1, 7] = 0.5, 0.5
    return decisions, scores


def test_the_facts_are_what_was_fitted() -> None:
    decisions, scores = sums()
    facts = fitted_facts(SETTINGS, decisions, scores, {"a": 6, "b": 4})
    best, curve = best_operating_point(decisions), fit_platt(10 * scores)
    assert best is not None and curve is not None and facts.calibration is not None
    assert (facts.slice_threshold, facts.volume_threshold, facts.f1) == (0.5, best.volume_threshold, 1.0)
    assert (facts.calibration.slope, facts.calibration.intercept) == (curve.slope, curve.intercept)
    assert facts.fitted and facts.validation == {"a": 6, "b": 4} and "10 validation patients" in facts.note
    assert facts.curve == curve and facts.abstain_margin == 0.1


def test_one_status_alone_leaves_the_study_s_thresholds() -> None:
    decisions, scores = sums()
    decisions[:, :, 1] += decisions[:, :, 0]
    decisions[:, :, 0] = 0
    facts = fitted_facts(SETTINGS, decisions, scores, {"a": 5})
    assert (facts.slice_threshold, facts.volume_threshold) == (0.4, 0.6)
    assert not facts.fitted and facts.note == ONE_STATUS and facts.calibration is None


@pytest.mark.parametrize("share", [1e308, -0.5, float("nan")])
def test_a_sum_that_is_no_share_of_patients_leaves_the_study_s_thresholds(share: float) -> None:
    decisions, scores = sums()
    decisions[3, 3, 1] = share
    facts = fitted_facts(SETTINGS, decisions, scores, {"a": 5})
    assert (facts.slice_threshold, facts.note, facts.fitted) == (0.4, NO_SHARES, False)


@pytest.mark.parametrize(
    ("fraction", "records", "note"),
    [(0.0, [], NOBODY_KEPT), (0.2, [{"sites": {"a": {"code": "nothing-to-train"}}}], NOBODY_SENT)],
)
def test_without_validation_patients_the_study_s_thresholds_hold(
    tiny: SimpleNamespace, fraction: float, records: list[dict[str, Any]], note: str
) -> None:
    study = tiny.make_study(
        stages__synthesiser="rounds = 1",
        stages__segmenter="rounds = 1",
        stages__identifier=f"slice_threshold = 0.3\nvalidation_fraction = {fraction}",
    )
    facts = identifier_facts(SimpleNamespace(study=study, records=lambda stage: records))
    assert facts is not None and (facts.note, facts.fitted, facts.slice_threshold) == (note, False, 0.3)


def test_a_study_without_an_identifier_has_no_facts(tiny: SimpleNamespace) -> None:
    assert identifier_facts(SimpleNamespace(study=tiny.make_study())) is None


def test_a_run_goes_on_where_no_site_has_a_validation_patient(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(
        stages__generator="rounds = 1\nlocal_steps = 1",
        stages__synthesiser="rounds = 1\nlocal_steps = 1",
        stages__segmenter="rounds = 1\nlocal_steps = 1",
        stages__identifier="rounds = 1\nlocal_steps = 1",
    )

    def builder(stage: Stage) -> Any:
        return tiny.linear_step(lambda store: stage is not Stage.CALIBRATION)(stage)

    done = consortium.run(study, bench=tiny.bench.__class__(tiny.build, builder, tiny.bench.device))
    assert done.status == "complete" and done.faults == ()

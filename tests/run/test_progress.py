from pathlib import Path

import pytest

from common.plan import Plan, SiteInventory
from common.settings.stages import Stage
from server.events import (
    AssessmentStarted,
    RoundFinished,
    RoundStarted,
    RunPlanned,
    SiteAnswered,
    SiteAssessed,
    SiteProgress,
    StageFinished,
    StageStarted,
)
from simulations.progress import StepCount, total_steps, training_progress

SITES = ("hospital-a", "hospital-b")


def one_round(stage, number, rounds, steps):
    yield RoundStarted(stage, number, rounds, SITES)
    for site in SITES:
        for step in range(1, steps + 1):
            yield SiteProgress(stage, number, rounds, site, step, steps, {"loss": 1.0})
        yield SiteAnswered(stage, number, site, "ok")
    yield RoundFinished(stage, number, rounds, {"seconds": 1.25, "metrics": {"training.loss": 0.5}})


def whole_run():
    yield StageStarted(Stage.GENERATOR, 3, 0)
    for number in (1, 2, 3):
        yield from one_round(Stage.GENERATOR, number, 3, 10)
    yield StageFinished(Stage.GENERATOR, 3, Path("weights"))
    yield StageStarted(Stage.SYNTHESISER, 2, 0)
    for number in (1, 2):
        yield from one_round(Stage.SYNTHESISER, number, 2, 5)


def test_a_whole_run_counts_every_step_of_every_site_once(study):
    count = StepCount(study)
    for event in whole_run():
        count.hear(event)
    assert count.done == total_steps(study) == (3 * 10 + 2 * 5) * 2


def test_where_no_step_is_heard_rounds_are_counted(study):
    count = StepCount(study)
    for event in whole_run():
        if not isinstance(event, SiteProgress):
            count.hear(event)
    assert count.done == total_steps(study)


def test_a_resumed_run_begins_where_it_was_left(study):
    count = StepCount(study)
    count.hear(StageStarted(Stage.GENERATOR, 3, 3))
    assert count.done == 60
    count.hear(StageStarted(Stage.SYNTHESISER, 2, 1))
    assert count.done == 70


def test_a_round_leaves_a_line_with_its_time_and_losses_and_a_lost_site_one_with_its_reason(study):
    count = StepCount(study)
    _, line = count.hear(RoundFinished(Stage.GENERATOR, 1, 3, {"seconds": 2.0, "metrics": {"training.cycle": 0.25}}))
    assert line == "generator 1/3  2.0 s  training.cycle 0.250"
    _, line = count.hear(SiteAnswered(Stage.GENERATOR, 1, "hospital-b", "data"))
    assert line == "generator 1: hospital-b does not count (data)"


def test_the_plan_says_how_many_patients_train_at_each_site(study):
    entry = SiteInventory(site="hospital-a", training_patients=9, sequences={"T1": 9})
    _, line = StepCount(study).hear(RunPlanned("run", Plan(study_digest=study.digest, inventory=(entry,)), ()))
    assert line == "plan: training patients hospital-a 9"


def test_progress_is_shown_on_stderr_alone(study, capsys):
    with training_progress(study) as listen:
        for event in whole_run():
            listen(event)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "generator 3/3  1.2 s" in shown.err


@pytest.mark.parametrize("text", ["generator 1/3 hospital-b"])
def test_the_bar_says_which_site_is_at_work(study, text):
    count = StepCount(study)
    shown = [count.hear(event)[0] for event in one_round(Stage.GENERATOR, 1, 3, 1)]
    assert text in shown


def test_the_assessment_is_named_and_a_site_without_figures_leaves_a_line(study):
    count = StepCount(study)
    assert count.hear(AssessmentStarted(SITES)) == ("the sites judge the release", "")
    assert count.hear(SiteAssessed("hospital-a", "ok"))[1] == ""
    assert count.hear(SiteAssessed("hospital-b", "late"))[1] == "assessment: hospital-b does not count (late)"

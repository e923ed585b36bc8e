"""What the coordinator makes of the sites' sums, and when it lets a release be."""

import pytest

from client.assessment.memorisation import called_copied
from common.assessment import limits, membership, memorisation
from common.assessment.attack_figures import MembershipFigure
from common.assessment.dossier import Dossier, SiteStatus
from common.assessment.findings import Findings, Histogram, Sums
from common.settings.stages import Stage
from common.study import parse_study

WEIGHTS = "0" * 64
NAME = "membership/segmenter/loss"
STUDY = """
name = "s"
sites = ["a", "b"]
reference_site = "a"
[assessment]
enabled = true
[stages.generator]
[stages.segmenter]
[attacks]
"""


def study(more="", **attacks):
    return parse_study(STUDY + "".join(f"{key} = {value}\n" for key, value in attacks.items()) + more)


def sums(patients, *totals):
    return Sums(patients=patients, totals=totals, squares=totals)


def told(members, area, strangers, caught=((10,), None)):
    """One site's findings of the segmenter: `caught` are the ends of its groups of bins and their counts."""
    ends, counts = caught
    return Findings(
        weights=WEIGHTS,
        sums={f"{NAME}/members": sums(members, members * area), f"{NAME}/strangers": sums(strangers, strangers * area)},
        histograms={f"{NAME}/curve": Histogram(ends=ends, counts=counts or (members,))},
    )


def drawn(patients, copied):
    entry = sums(patients, float(copied), float(patients))
    return Findings(weights=WEIGHTS, sums={memorisation.copies_name(Stage.GENERATOR): entry})


def dossier(statuses, findings, asked):
    return Dossier(
        study_digest=WEIGHTS,
        weights=WEIGHTS,
        sites={site: SiteStatus(**status) for site, status in statuses.items()},
        membership=membership.reduce(asked, findings),
        memorisation=memorisation.reduce(asked, findings),
    )


OK = {"a": {"code": "ok"}, "b": {"code": "ok"}}


PRIVATE = '[privacy]\nstages = ["generator"]\n'


@pytest.mark.parametrize(
    ("limit", "attacked"),
    [
        ({}, {"membership/segmenter"}),
        ({"membership_limit": 0.9}, {"membership/segmenter", "membership/generator"}),
        ({"memorised_limit": 0.9}, {"membership/segmenter", "memorisation/generator"}),
    ],
)
def test_a_stage_that_is_trained_privately_is_attacked_only_where_a_limit_asks_for_it(limit, attacked):
    asked = study(PRIVATE, **limit)
    names = {**membership.declare(asked, None, "a"), **memorisation.declare(asked, None, "a")}
    assert {"/".join(name.split("/")[:2]) for name in names} == attacked


def test_areas_are_averaged_by_the_size_of_both_classes():
    figures = membership.reduce(study(), {"a": told(30, 0.6, 10), "b": told(10, 0.4, 10)}).attacks["segmenter/loss"]
    assert figures.auc == pytest.approx((7.5 * 0.6 + 5 * 0.4) / 12.5)
    assert (figures.members, figures.strangers) == (40, 20) and figures.sites == {"a": 0.6, "b": 0.4}


def test_members_whose_bins_were_merged_may_all_have_been_caught():
    sharp, blurred = told(30, 0.5, 10, ((1, 10), (6, 24))), told(10, 0.5, 10, ((4, 10), (5, 5)))
    figures = membership.reduce(study(), {"a": sharp, "b": blurred}).attacks["segmenter/loss"]
    assert figures.caught == pytest.approx(11 / 40)


def test_the_share_caught_is_told_without_a_bound_for_few_strangers_show_no_tenth_of_false_alarms():
    assert {name for name in MembershipFigure.model_fields if name.endswith("_at_most")} == {"auc_at_most"}


def test_a_site_that_could_tell_only_half_is_passed_over():
    half = Findings(weights=WEIGHTS, sums={f"{NAME}/members": sums(9, 9.0)})
    assert set(membership.reduce(study(), {"a": told(30, 0.5, 10), "b": half}).attacks["segmenter/loss"].sites) == {"a"}
    assert membership.reduce(study(), {"b": half}) is None


def test_copies_add_up_and_their_share_is_bounded_exactly():
    figure = memorisation.reduce(study(), {"a": drawn(10, 0), "b": drawn(15, 0)}).stages[Stage.GENERATOR]
    assert (figure.patients, figure.copied) == (25, 0)
    assert figure.share_at_most == pytest.approx(1 - 0.05 ** (1 / 25))


def test_the_bound_is_judged_and_not_the_estimate():
    asked = study(membership_limit=0.6)
    found = {"a": told(20, 0.52, 10)}
    figures = membership.reduce(asked, found)
    everything = figures.model_copy(
        update={"attacks": {**figures.attacks, "generator/drawn": figures.attacks["segmenter/loss"]}}
    )
    assert everything.attacks["segmenter/loss"].auc < 0.6 < everything.attacks["segmenter/loss"].auc_at_most
    assert "44 of each would be needed" in membership.refusal(asked, everything)
    assert membership.refusal(study(membership_limit=0.8), everything) is None


def test_a_released_model_that_nobody_attacked_keeps_no_limit():
    asked = study(membership_limit=0.9)
    assert "no membership attack on generator" in membership.refusal(
        asked, membership.reduce(asked, {"a": told(90, 0.5, 90)})
    )
    copies = study(memorised_limit=0.9)
    assert "no drawing of generator" in memorisation.refusal(copies, None)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"code": "late"}, "b: late"),
        ({"code": "ok", "failed": {"memorisation": "data"}}, "b: memorisation failed with data"),
    ],
)
def test_a_site_that_says_nothing_refuses_under_a_limit_and_only_under_one(status, said):
    found = {"a": drawn(90, 0)}
    asked = study(memorised_limit=0.5)
    assert limits.refusal(asked, dossier(OK, found, asked)) is None
    silent = OK | {"b": status}
    assert said in limits.refusal(asked, dossier(silent, found, asked))
    assert limits.refusal(study(), dossier(silent, found, study())) is None


def test_an_attack_that_is_not_limited_may_fail():
    asked = study(memorised_limit=0.5)
    failed = OK | {"b": {"code": "ok", "failed": {"membership": "data"}}}
    assert limits.refusal(asked, dossier(failed, {"a": drawn(90, 0)}, asked)) is None


@pytest.mark.parametrize(("near", "said"), [(0, 0), (1, 3), (2, 3), (3, 3), (6, 6), (8, 10), (10, 10)])
def test_copies_are_said_as_nobody_or_as_enough_and_never_as_all_but_a_few(near, said):
    ratios = {f"p{number}": 0.1 if number < near else 0.9 for number in range(10)}
    copied = called_copied(ratios, minimum=3)
    assert len(copied) == said and {patient for patient, ratio in ratios.items() if ratio < 0.5} <= copied

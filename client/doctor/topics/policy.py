"""Whether what the site allows and what the study asks meet: sequences, patients, privacy, approval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.data.splits import split_one_by_one, split_patients
from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from client.privacy.policy import patients_behind_training
from common.console import count
from common.errors import DataError, PolicyError
from common.sequences import Sequence
from common.settings.stages import Stage
from common.study import Study

if TYPE_CHECKING:
    from client.privacy.ledger import Entry

NOISY_MOVES = {Stage.GENERATOR: 2, Stage.MAPS: 2}
"""Networks that move in a step: drawer and critic; of any other stage one. At most: maps may have no critic."""


def everything(around: Surroundings) -> Finding:
    """Whether a person must approve what runs here."""
    if around.config.policy.approve_everything:
        what = "policy.approve_everything lets any study run here; it is for simulations, and `serve` refuses it"
        return failed("approve-everything", what, "remove the line from site.toml, and approve each plan")
    return passed("nothing runs here that nobody approved")


def patients(around: Surroundings) -> Finding:
    """Whether enough patients hold each sequence."""
    study, policy = around.study, around.config.policy
    counts = training_patients(around)
    least = policy.minimum_patients if study is None else patients_behind_training(policy, study)
    offered = {sequence: count for sequence, count in counts.items() if count >= least}
    said = ", ".join(f"{sequence.value} {count}" for sequence, count in counts.items()) or "no sequence"
    figures = {sequence.value: float(count) for sequence, count in counts.items()} | {"least": float(least)}
    what = f"training patients by sequence: {said}; {least} are needed"
    remedy = "add patients, or lower policy.minimum_patients where your rules allow it; those short are not offered"
    if not offered:
        return failed("too-few", what, remedy, **figures)
    if len(offered) < len(counts):
        return warned("some-too-few", what, remedy, **figures)
    return passed(what, **figures)


def training_patients(around: Surroundings) -> dict[Sequence, int]:
    """Return, per sequence that policy and study use and the site has, the patients that would train."""
    study, policy, cases = around.study, around.config.policy, around.catalog.cases
    keys = set(around.catalog.patients)
    if study is not None:
        divide = split_one_by_one if study.privacy.stages else split_patients
        keys = set(divide(keys, study.data.holdout_fraction, study.seed).training)
    wanted = tuple(Sequence) if study is None else study.sequences
    held = {
        sequence: len({case.patient for case in cases if sequence in case.images and case.patient in keys})
        for sequence in wanted
        if policy.allows(sequence)
    }
    return {sequence: count for sequence, count in held.items() if count}


def sequences(around: Surroundings) -> Finding:
    """Whether site and policy have what the study's stages need."""
    study = around.wanted
    refused = [sequence.value for sequence in study.sequences if not around.config.policy.allows(sequence)]
    held = set(training_patients(around))
    idle = [stage for stage in (Stage.SYNTHESISER, Stage.MAPS) if not _needs(study, stage) <= held]
    if len(refused) == len(study.sequences):
        what = f"the policy allows none of the study's sequences ({', '.join(refused)})"
        return failed("no-sequence", what, "change policy.sequences in site.toml, or take no part")
    if idle:
        what = f"the site will sit out {', '.join(idle)}: no patient who trains holds a sequence that it needs"
        remedy = "nothing, if the sequences do not exist here; else look at policy.sequences and at the catalog"
        return warned("sits-out", what, remedy, stages=len(idle), refused=len(refused))
    if refused:
        what = f"the policy keeps {', '.join(refused)} back from the study"
        return warned(
            "kept-back", what, "nothing, if that is meant; else change policy.sequences", refused=len(refused)
        )
    return passed(f"the policy allows the study's {len(study.sequences)} sequences", sequences=len(study.sequences))


def _needs(study: Study, stage: Stage) -> set[Sequence]:
    if stage is Stage.SYNTHESISER and study.stages.synthesiser is not None:
        return {Sequence.T1GD}
    if stage is Stage.MAPS and study.stages.maps is not None:
        return {study.stages.maps.target}
    return set()


def budget(around: Surroundings) -> Finding:
    """Whether what the study will spend of the patients' privacy is allowed."""
    from client.privacy.budget import spent
    from client.privacy.ledger import Ledger

    study, policy = around.wanted, around.config.policy
    private = study.privacy
    if not private.stages:
        return passed("the study trains nothing under differential privacy")
    done = Ledger(around.config.workdir).entries()
    planned = _planned(study)
    epsilon = spent(planned, private.delta)
    total = spent([*(each for each in done if each.study != study.digest), *planned], policy.budget_delta)
    figures = {"study_epsilon": round(epsilon, 3), "all_epsilon": round(total, 3), "delta": policy.budget_delta}
    if policy.epsilon_budget is not None and total > policy.epsilon_budget:
        what = (
            f"with this study a patient's epsilon would be {total:.3g}, above the budget of {policy.epsilon_budget:g}"
        )
        remedy = (
            "ask the study for fewer rounds or more noise, or raise the budget; else rounds are left out at its end"
        )
        return failed("budget", what, remedy, **figures)
    if epsilon > private.epsilon:
        what = f"the study would cost epsilon {epsilon:.3g}, its own limit is {private.epsilon:g}: it ends early here"
        return warned("study-budget", what, "tell the coordinator: fewer rounds or more noise", **figures)
    if policy.epsilon_budget is None:
        what = f"the study costs a patient epsilon {epsilon:.3g}, and site.toml sets no limit over all studies"
        return warned("no-budget", what, "set policy.epsilon_budget in site.toml", **figures)
    return passed(f"the study costs a patient epsilon {epsilon:.3g}, {total:.3g} with all others", **figures)


def _planned(study: Study) -> list[Entry]:
    """Return what the ledger would hold after the whole study."""
    from client.privacy.ledger import Entry

    private, entries = study.privacy, []
    for stage in private.stages:
        settings = study.stages.of(stage)
        if settings is None:
            continue
        steps = settings.rounds * settings.local_steps * NOISY_MOVES.get(stage, 1)
        noise = (steps, private.sampling_rate, private.noise_multiplier, private.delta)
        entries.append(Entry(study.digest, study.name, "planned", stage.value, settings.rounds, *noise))
    return entries


def approval(around: Surroundings) -> Finding:
    """Whether the study's plan is approved, and whether others wait for a person."""
    from client.consent.approvals import FOLDER, approvals
    from client.consent.offers import offers
    from common.identity.signing import VerifyKey

    config, site = around.config, around.site
    if not site.signing_pub.exists():
        raise NotCheckedError("the site has not joined")
    held = approvals(config.workdir)
    agreed = {each.plan.digest for each in held}
    damaged = len(list((config.workdir / FOLDER).glob("*.json"))) - len(held)
    waiting = [
        each.plan for each in offers(config.workdir, VerifyKey.load(site.signing_pub)) if each.plan.digest not in agreed
    ]
    figures = {"approved": len(agreed), "waiting": len(waiting), "damaged": damaged}
    if damaged:
        return failed(
            "damaged-approval",
            f"{count(damaged, 'approval')} cannot be read and approve nothing",
            "approve anew",
            **figures,
        )
    if around.study is not None and not any(each.plan.study_digest == around.study.digest for each in held):
        what = f"no plan of study {around.study.name} is approved, so it trains nothing here"
        return warned("not-approved", what, "read it with `gliofed-client show PLAN`, then approve it", **figures)
    if waiting:
        named = ", ".join(plan.digest[:12] for plan in waiting)
        what = f"{count(len(agreed), 'plan')} approved, {len(waiting)} waiting for a person: {named}"
        return warned(
            "waiting", what, "read them with `gliofed-client show PLAN`; approve those you agree to", **figures
        )
    return passed(f"{count(len(agreed), 'plan')} approved, none waits", **figures)


TOPIC = Topic(
    "policy",
    (
        Check("approve-everything", "site.toml does not approve whatever comes", everything, PolicyError),
        Check("patients", "enough training patients hold each sequence, for policy and study", patients, DataError),
        Check("sequences", "policy and scans have the sequences that the study needs", sequences, PolicyError),
        Check("budget", "the epsilon of the whole study against the site's and its own", budget, PolicyError),
        Check("approval", "the study's plan is approved; none waits; none is damaged", approval, PolicyError),
    ),
)

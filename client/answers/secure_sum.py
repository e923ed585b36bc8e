"""A site's answers around a secure sum: unpack, let `Masking` act, pack. No update leaves here but under its masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import MetricRecord, RecordDict
from pydantic import BaseModel

from client.config import Policy, SiteConfig
from client.consent.approvals import require_approval
from client.privacy.masking import Masking
from client.privacy.masking_checks import MaskingRefusalError
from client.privacy.masking_state import KeptUpdate, MaskingFolder, Rules
from client.privacy.outbound import Outgoing, allow_sum, allow_update, check_kept
from client.privacy.policy_digest import policy_digest
from client.privacy.withdrawal import withdrawn_from
from client.site import Site
from client.stopping import refuse_if_stopped
from client.training.update import LocalUpdate
from common.approval.study_plan import Leaving
from common.errors import StudyError
from common.parameters import DOMAIN_PREFIX, NORMS, by_group
from common.records import ANSWER, METRICS, UPDATE, Answer, Task, WireError, declare, pack_tensors, pack_text, read_text
from common.roster_file import load_roster
from common.secure.attempt import Attempt
from common.secure.fixed_point import check_range
from common.secure.given import attempt_of, given_by
from common.secure.messages import (
    ADVERT,
    AGAINST,
    AGREE,
    ATTEMPT,
    MASKED,
    SHARES,
    UNMASK,
    Adverts,
    AttemptNumber,
    Boxes,
    Signatures,
    Survivors,
)
from common.secure.signatures import load_signing_key
from common.secure.words import pack_words
from common.study import Study

NOTHING_MAY_LEAVE = "nothing-may-leave"


def advertise(
    content: RecordDict,
    config: SiteConfig,
    site: Site,
    task: Task,
    norms: str | None,
    train: Callable[[], LocalUpdate],
) -> RecordDict:
    """Train unless the update is kept, keep it, and answer with metrics and with the keys of this attempt.

    Args:
        norms: digest of the norms that the site began the stage with, where each site keeps its own.
    """
    attempt = attempt_of(task, read_text(content, ATTEMPT, AttemptNumber).attempt)
    masking = _masking(config, attempt)
    groups = {group: digest for group, digest in task.groups.items() if group != NORMS}
    received = given_by(task, groups | ({NORMS: norms} if norms else {}))
    policy = policy_digest(config.policy)
    kept = masking.folder.update(received, policy, site.cohort)
    leaving = None if site.approved is None else site.approved.leaving(task.stage)
    if kept is None:
        if task.study.privacy.covers(task.stage) and masking.folder.update(received, None, site.cohort):
            # training it once more would spend the patients' privacy twice
            return _nothing(config)
        # counted before the round: whoever is withdrawn while it trains is in it, and is counted in the next
        withdrawn = withdrawn_from(config.workdir, task.run)
        kept = replace(_allowed(train(), config.name, config.policy, task, leaving), withdrawn=withdrawn)
        masking.folder.forget_other_rounds()
        masking.folder.keep_update(kept, received, policy, site.cohort)
    outgoing = kept.outgoing
    _check_covered(outgoing, leaving)
    if not outgoing.patients:
        return _nothing(config)
    advert = masking.advertise(attempt, _rules(task.study), outgoing.patients, received)
    answer = Answer(
        site=config.name,
        patients=outgoing.patients,
        withheld=outgoing.withheld,
        withdrawn=kept.withdrawn,
        spent=outgoing.spent,
    )
    metrics = MetricRecord(outgoing.metrics)  # type: ignore[arg-type]
    return RecordDict({ANSWER: pack_text(answer), METRICS: metrics, ADVERT: pack_text(advert)})


def answer_phase(phase: str, content: RecordDict, config: SiteConfig) -> RecordDict:
    """Answer a message of one of the phases after training. Raises WireError where it is malformed."""
    answered: BaseModel
    if phase == SHARES:
        adverts = read_text(content, phase, Adverts)
        if not adverts.adverts:
            raise WireError("malformed", "no site's keys came")
        answered = _masking(config, adverts.adverts[0].attempt).deal(adverts)
    elif phase == MASKED:
        return _masked(config, read_text(content, phase, Boxes))
    elif phase == AGREE:
        survivors = read_text(content, phase, Survivors)
        answered = _masking(config, survivors.attempt).agree(survivors)
    else:
        signatures = read_text(content, UNMASK, Signatures)
        answered = _masking(config, signatures.attempt).reveal(signatures)
    return RecordDict({ANSWER: pack_text(Answer(site=config.name)), phase: pack_text(answered)})


def _masked(config: SiteConfig, boxes: Boxes) -> RecordDict:
    """Return the update: groups of several sites under masks, the site's own heads in clear where they may leave so."""
    masking = _masking(config, boxes.attempt)
    state = masking.folder.state()
    kept = None if state is None else masking.folder.update(state.advert.received, policy_digest(config.policy))
    if kept is None:
        raise MaskingRefusalError("other-attempt", "no update of this round is kept here, or under another policy")
    approved = require_approval(config.workdir, config.policy, boxes.attempt.study_digest)
    _check_covered(kept.outgoing, None if approved is None else approved.leaving(boxes.attempt.stage))
    if withdrawn_from(config.workdir, boxes.attempt.run) != kept.withdrawn:
        raise MaskingRefusalError("patient-withdrawn", "a patient of this update was withdrawn; it stays here")
    words, signed = masking.mask(boxes, kept.by_group())
    heads = [tensors for group, tensors in kept.by_group().items() if group.startswith(DOMAIN_PREFIX)]
    clear = {name: tensor for tensors in heads for name, tensor in tensors.items()}
    answer = pack_text(Answer(site=config.name))
    arrays = {MASKED: pack_words(words), UPDATE: pack_tensors(clear)}
    return RecordDict({ANSWER: answer, AGAINST: pack_text(signed), **arrays})


def _check_covered(outgoing: Outgoing, leaving: Leaving | None) -> None:
    """Raise NotCoveredError where the plan that is approved now does not name all of a kept update."""
    forms = {name: (form.dtype, form.shape) for name, form in declare(outgoing.tensors).items()}
    check_kept(forms, outgoing.metrics, leaving)


def _nothing(config: SiteConfig) -> RecordDict:
    return RecordDict({ANSWER: pack_text(Answer(site=config.name, code=NOTHING_MAY_LEAVE))})


def _masking(config: SiteConfig, attempt: Attempt) -> Masking:
    refuse_if_stopped(config.workdir, attempt.run)
    approved = require_approval(config.workdir, config.policy, attempt.study_digest)
    if config.signing_key is None or (approved is None and config.roster is None):
        raise StudyError(
            "the study wants secure aggregation; name signing_key in site.toml, and without an approved plan roster"
        )
    roster = approved.roster if approved is not None else load_roster(config.roster or Path())
    pinned = {site: entry.signing_key for site, entry in roster.sites.items()}
    folder = MaskingFolder.of(config.workdir, attempt)
    return Masking(folder, config.name, load_signing_key(config.signing_key), pinned)


def _rules(study: Study) -> Rules:
    settings = study.secure_aggregation
    return Rules(
        needed=settings.needed(len(study.sites)),
        weight_cap_patients=study.federation.weight_cap_patients,
        fraction_bits=settings.fraction_bits,
    )


def _allowed(update: LocalUpdate, site: str, policy: Policy, task: Task, leaving: Leaving | None) -> KeptUpdate:
    """Return what of an update may be summed or leave in clear, once it is known to fit into fixed-point numbers."""
    allowed = allow_update(update, site, policy, task.study, task.plan, leaving)
    outgoing = allow_sum(allowed, update.grouping, policy)
    for tensor in outgoing.tensors.values():
        check_range(tensor.double().numpy(), task.study.secure_aggregation.clip)
    return KeptUpdate(outgoing, by_group(outgoing.tensors, update.grouping))

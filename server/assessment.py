"""The assessment of a release before it becomes one: ask every site once, add up what they say, write it down.

What was written down stands: a run that is resumed after it asks nobody again, unless it ended in a refusal. Then a
site that was silent may speak, and the others repeat the answers that they keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.app.message_type import MessageType

from common.assessment import limits, membership, memorisation
from common.assessment.catalogue import all_declared
from common.assessment.distances import distances_of
from common.assessment.dossier import DOSSIER, WITHDRAWN, Dossier, SiteStatus, read_dossier
from common.assessment.findings import Findings, check_findings
from common.assessment.matrix import matrix_of
from common.assessment.request import FINDINGS, AssessmentRequest, weights_digest
from common.assessment.roc import roc_of
from common.files import write_whole
from common.logs import logger
from common.plan import Plan
from common.records import (
    ANSWER,
    NEEDS_TENSORS,
    OK,
    TASK,
    Answer,
    WireError,
    pack_text,
    read_text,
)
from common.release import file_digest
from common.settings.stages import Stage
from common.study import Study
from server.earlier_models import EarlierModels
from server.events import AssessmentStarted, Listener, SiteAssessed, ignore
from server.exchange import Exchange, Reply
from server.holdings import Holdings
from server.journal import Journal
from server.roster import Roster
from server.withdrawn_patients import note_withdrawn

log = logger(__name__)

Weights = Mapping[Stage, tuple[Path, str]]
Refusal = Callable[[Study, Dossier], str | None]

REFUSALS: tuple[Refusal, ...] = (limits.refusal,)
"""Each says why a release must not be, or None; the first that speaks is heard."""

GROUP = "assessment"


def assess_release(
    exchange: Exchange,
    journal: Journal,
    plan: Plan,
    roster: Roster,
    holdings: Holdings,
    on_event: Listener = ignore,
) -> Dossier | None:
    """Return what the sites say of the run's averaged weights, also in `<out>/assessment.json`; None if not asked for.

    Every site of the plan may have shaped the weights, so each is named with its code: one that is silent, one that
    says what it may not, one that is not even there. A site that was withdrawn is named as such, and not asked.

    Raises:
        ReleaseError: where an `assessment.json` is there and damaged.
    """
    study = journal.study
    if not study.assessment.enabled:
        return None
    weights = {stage: (path, file_digest(path)) for stage in study.stages.released for path in [journal.weights(stage)]}
    digest = weights_digest({stage: each for stage, (_, each) in weights.items()})
    written = read_dossier(journal.out / DOSSIER)
    if written is not None and written.weights == digest and written.refusal is None:
        return written
    withdrawn = journal.requests.withdrawn_sites()
    heard: dict[str, Findings | str] = {
        entry.site: WITHDRAWN if entry.site in withdrawn else "no-answer" for entry in plan.inventory
    }
    asked = replace(roster, members={site: each for site, each in roster.members.items() if site not in withdrawn})
    on_event(AssessmentStarted(tuple(asked.members)))
    for reply in _ask(exchange, journal, plan, asked, weights, holdings):
        site = roster.site_of(reply.node)
        heard[site] = _read(reply, site, study, plan, digest)
        on_event(SiteAssessed(site, _status(heard[site]).code))
    dossier = reduced(study, digest, heard)
    write_whole(journal.out / DOSSIER, dossier.to_bytes())
    return dossier


def reduced(study: Study, weights: str, heard: Mapping[str, Findings | str]) -> Dossier:
    """Add up what the sites said, each its findings or a code why there are none, and judge it."""
    findings = {site: each for site, each in sorted(heard.items()) if isinstance(each, Findings)}
    dossier = Dossier(
        study_digest=study.digest,
        weights=weights,
        sites={site: _status(each) for site, each in sorted(heard.items())},
        matrix=matrix_of(findings),
        distances=distances_of(findings),
        roc=roc_of(findings),
        membership=membership.reduce(study, findings),
        memorisation=memorisation.reduce(study, findings),
    )
    reasons = (reason for refuses in REFUSALS if (reason := refuses(study, dossier)) is not None)
    return dossier.model_copy(update={"refusal": next(reasons, None)})


def _status(heard: Findings | str) -> SiteStatus:
    if isinstance(heard, str):
        return SiteStatus(code=heard)
    return SiteStatus(code=OK, withheld=heard.withheld, failed=heard.failed)


def _ask(
    exchange: Exchange, journal: Journal, plan: Plan, roster: Roster, weights: Weights, holdings: Holdings
) -> Iterator[Reply]:
    """Ask every member, with the models that it is not known to hold; one that lacks some is asked once more."""
    study, models = journal.study, EarlierModels(weights)
    request = AssessmentRequest(
        run=journal.run,
        study=study,
        study_digest=study.digest,
        plan=plan,
        weights=models.digests,
    )

    def content(site: str) -> RecordDict:
        records: dict[str, ArrayRecord | ConfigRecord] = {TASK: pack_text(request)}
        return RecordDict({**records, **models.lacking(holdings.of(site))})

    def again(reply: Reply) -> RecordDict | None:
        if _code(reply) != NEEDS_TENSORS:
            return None
        site = roster.site_of(reply.node)
        holdings.note(site, reply.content, models.digests.values())
        return content(site)

    first = {member.node: content(site) for site, member in roster.members.items()}
    for reply in exchange.ask(first, MessageType.EVALUATE, GROUP, study.assessment.deadline_s, again=again):
        note_withdrawn(journal, roster.site_of(reply.node), reply.content)
        yield reply


def _code(reply: Reply) -> str:
    """Return the code of an answer, or why there is none."""
    if reply.content is None:
        return reply.code
    try:
        return read_text(reply.content, ANSWER, Answer).code
    except WireError as error:
        return error.code


def _read(reply: Reply, site: str, study: Study, plan: Plan, weights: str) -> Findings | str:
    """Return a site's findings, checked, or the code of what is wrong."""
    code = _code(reply)
    if code != OK or reply.content is None:
        return code
    try:
        answer = read_text(reply.content, ANSWER, Answer)
        findings = read_text(reply.content, FINDINGS, Findings)
        if answer.site != site or findings.weights != weights:
            raise WireError("wrong-site", f"{site} answered as {answer.site}, or about other weights")
        check_findings(findings, all_declared(study, plan, site), study.reporting.minimum_count)
    except WireError as error:
        log.warning("assessment: %s does not count: %s", site, error)
        return error.code
    return findings

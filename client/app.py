"""The Flower ClientApp: unpack, call, pack. Errors stay here as text and leave as codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from client.assessment import catalogue
from client.assessment.answer import AssessorOf, assess_once
from client.config import SiteConfig, load_site
from client.consent.approvals import require_approval
from client.consent.decisions import pinned_key
from client.consent.offers import keep_offer
from client.limits import require_disk, require_hours
from client.privacy.audit_message import Subject, note_message, sole_subject
from client.privacy.outbound import allow_inventory, allow_planned, allow_update, check_kept, code_of
from client.privacy.withdrawal import note_participation, withdrawn_from, withdrawn_patients
from client.secure_phases import NOTHING_MAY_LEAVE, advertise, answer_phase
from client.site import Site, open_site
from client.stopping import refuse_if_stopped, stop_run
from client.training.coded_update import code_update, keep_residuals, load_residuals
from client.training.held_tensors import HeldTensors
from client.training.starting_point import check_task, starting_point
from client.training.tasks import Bench, SiteState, fresh_model, state_of, train_locally
from client.training.update import LocalUpdate
from common.approval.study_plan import Leaving
from common.assessment.request import FINDINGS, AssessmentRequest
from common.errors import GliofedError, StudyError
from common.frozen_message import freeze, thaw
from common.logs import logger
from common.parameters import NORMS, Grouping, StateDict, group_of, grouping_of, travelling
from common.parcel import unwrap, wrap
from common.records import (
    ANSWER,
    EARLIER,
    GLOBAL,
    METRICS,
    NEEDS_TENSORS,
    PLAN,
    STOP,
    TASK,
    UPDATE,
    Answer,
    Question,
    StopOrder,
    Task,
    arrays_of,
    declare,
    join_arrays,
    pack_coded,
    pack_tensors,
    pack_text,
    read_metrics,
    read_text,
    size_bytes,
    unpack_tensors,
)
from common.secure.messages import AGREE, MASKED, SHARES, UNMASK
from common.settings.stages import Stage
from common.study import Study
from common.wire.selection import coding_of

log = logger(__name__)

SITE_KEY = "site"
"""Key of the node configuration: the path of `site.toml`. It is set at the site, never by the coordinator."""

Opener = Callable[[Path, Study], Site]
Handler = Callable[[Message, Site], RecordDict]


def open_from_file(path: Path, study: Study) -> Site:
    """Read a `site.toml` and open the site for `study`."""
    return open_site(load_site(path), study)


def make_app(
    opener: Opener = open_from_file, bench: Bench | None = None, assessor_of: AssessorOf = catalogue.assessor
) -> ClientApp:
    """Return the ClientApp; a test gives its own way to open a site, its own models and its own assessors."""
    app = ClientApp()
    opened = _Opened(opener)

    @app.query()
    def inventory(message: Message, context: Context) -> Message:
        """Answer what the site has, in counts of patients."""
        return _guarded(message, context, lambda: _answer_query(message, context, opened))

    @app.query(STOP)
    def stop(message: Message, context: Context) -> Message:
        """End a run at this site."""
        return _guarded(message, context, lambda: _answer_stop(message, context))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Train one round and score the held-out patients, in one message."""
        return _guarded(message, context, lambda: _answer_task(message, context, opened, bench or Bench()))

    @app.evaluate()
    def assess(message: Message, context: Context) -> Message:
        """Judge the weights that are to become a release, once, on the site's own patients."""
        return _guarded(
            message, context, lambda: _answer_assessment(message, context, opened, bench or Bench(), assessor_of)
        )

    for phase in (SHARES, MASKED, AGREE, UNMASK):
        app.train(phase)(_phase_handler(phase))
    return app


def _phase_handler(phase: str) -> Callable[[Message, Context], Message]:
    """Return what answers a phase of a secure sum; it needs the site's keys and folder, not its cases."""

    def handle(message: Message, context: Context) -> Message:
        return _guarded(message, context, lambda: answer_phase(phase, message.content, load_site(_site_file(context))))

    return handle


class OtherCodeError(StudyError):
    """Coordinator and site do not run the same code, so that no digest of a study could agree."""

    code = "other-code"


class _Opened:
    """The sites that this process has opened, by file and study: later rounds need not read the folder again.

    Unless a patient was withdrawn meanwhile.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._sites: dict[tuple[Path, str], Site] = {}

    def get(self, context: Context, study: Study, digest: str, incoming: int = 0) -> Site:
        """Return the site under the plan that is approved now, if its policy lets it work, on `incoming` bytes more."""
        if study.digest != digest:
            raise OtherCodeError(f"study {study.name!r}: the coordinator runs other code; install the same version")
        key, config = (_site_file(context), digest), load_site(_site_file(context))
        approved = require_approval(config.workdir, config.policy, digest)
        require_hours(config.policy)
        require_disk(config.workdir, config.policy, incoming)
        site = self._sites.get(key)
        if site is None or site.withdrawn != withdrawn_patients(site.workdir):
            site = self._sites[key] = self._opener(key[0], study)
        return replace(site, approved=approved)


def _site_file(context: Context) -> Path:
    path = context.node_config.get(SITE_KEY)
    if not isinstance(path, str) or not path:
        raise StudyError(
            f"the node configuration names no site.toml; start the node with --node-config '{SITE_KEY}=\"…\"'"
        )
    return Path(path)


def _answer_query(message: Message, context: Context, opened: _Opened) -> RecordDict:
    question = read_text(message.content, TASK, Question)
    _keep_plan(_site_file(context), message.content)
    site = opened.get(context, question.study, question.study_digest)
    inventory, greys = allow_inventory(site.inventory, site.greys, site.policy, question.study)
    holds = SiteState.of(site, question.run).held.digests() if question.run else ()
    gone = withdrawn_from(site.workdir, question.run) if question.run else 0
    answer = Answer(site=site.name, inventory=inventory, greys=greys, holds=holds, withdrawn=gone)
    return RecordDict({ANSWER: pack_text(answer)})


def _keep_plan(site_file: Path, content: RecordDict) -> None:
    """Keep the study plan that came with a question for a person to read; one that is not signed is thrown away."""
    record = content.get(PLAN)
    text = record.get("json") if isinstance(record, ConfigRecord) else None
    if isinstance(text, str):
        try:
            keep_offer(load_site(site_file).workdir, text.encode(), pinned_key(site_file))
        except GliofedError as error:
            log.warning("the study plan that came with a question is not kept: %s", error)


def _answer_stop(message: Message, context: Context) -> RecordDict:
    config = load_site(_site_file(context))
    run = read_text(message.content, TASK, StopOrder).run
    stop_run(config.workdir, run)
    return RecordDict({ANSWER: pack_text(Answer(site=config.name, withdrawn=withdrawn_from(config.workdir, run)))})


def _answer_task(message: Message, context: Context, opened: _Opened, bench: Bench) -> RecordDict:
    """Answer with the update that was kept for this very task, or train; refuse where the run was stopped."""
    task = read_text(message.content, TASK, Task)
    refuse_if_stopped(load_site(_site_file(context)).workdir, task.run)
    site = opened.get(context, task.study, task.study_digest, size_bytes(message.content))
    state, model = state_of(site, task), fresh_model(task, bench)
    check_task(site.name, task, model)
    _take_in(message.content, state.held, task, model, bench)
    finished = state.kept.find(task, site.cohort)
    if finished is not None:
        return _covered(thaw(finished), site, task)
    received = _starting_point(task, state, model)
    if received is None:
        lacking = Answer(site=site.name, code=NEEDS_TENSORS, holds=state.held.digests())
        return RecordDict({ANSWER: pack_text(lacking)})
    if task.study.privacy.covers(task.stage) and state.kept.has_under_another_policy(task, site.cohort):
        # training it once more would spend the patients' privacy twice
        return RecordDict({ANSWER: pack_text(Answer(site=site.name, code=NOTHING_MAY_LEAVE))})
    model.load_state_dict(received, strict=False)
    if task.study.secure_aggregation.enabled:
        return _answer_securely(message.content, load_site(_site_file(context)), site, task, model, bench)
    withdrawn = withdrawn_from(site.workdir, task.run)
    update = train_locally(site, task, model, bench)
    note_participation(site.workdir, task.run, task.stage, task.round, site.patients)
    answer = _pack(site, task, withdrawn, update, received)
    state.kept.keep(task, site.cohort, freeze(answer))
    return answer


def _answer_securely(
    content: RecordDict, config: SiteConfig, site: Site, task: Task, model: nn.Module, bench: Bench
) -> RecordDict:
    """Answer with the keys of a secure sum; the update itself stays until its masks are agreed on."""

    def train() -> LocalUpdate:
        update = train_locally(site, task, model, bench)
        note_participation(site.workdir, task.run, task.stage, task.round, site.patients)
        return update

    return advertise(content, config, site, task, state_of(site, task).norms_begun_with(task), train)


def _answer_assessment(
    message: Message, context: Context, opened: _Opened, bench: Bench, assessor_of: AssessorOf
) -> RecordDict:
    request = read_text(message.content, TASK, AssessmentRequest)
    refuse_if_stopped(load_site(_site_file(context)).workdir, request.run)
    site = opened.get(context, request.study, request.study_digest, size_bytes(message.content))
    task, held = request.task(), state_of(site, request.task()).held
    _take_in_models(message.content, held, task, bench)
    held.forget_but(request.weights.values())
    if held.missing(request.weights.values()):
        return RecordDict({ANSWER: pack_text(Answer(site=site.name, code=NEEDS_TENSORS, holds=held.digests()))})
    findings = assess_once(site, request, bench, assessor_of)
    planned = None if site.approved is None else site.approved.findings
    findings = allow_planned(findings, planned, site.policy)
    answer = Answer(site=site.name, withdrawn=withdrawn_from(site.workdir, request.run))
    return RecordDict({ANSWER: pack_text(answer), FINDINGS: pack_text(findings)})


def _covered(content: RecordDict, site: Site, task: Task) -> RecordDict:
    """Return an answer that was kept, if the plan that is approved now lets all of it leave."""
    arrays, leaving = arrays_of(content, UPDATE), _leaving(site, task)
    check_kept(
        {name: (array.dtype, tuple(array.shape)) for name, array in arrays.items()}, read_metrics(content), leaving
    )
    return content


def _leaving(site: Site, task: Task) -> Leaving | None:
    return None if site.approved is None else site.approved.leaving(task.stage)


def _take_in(content: RecordDict, held: HeldTensors, task: Task, model: nn.Module, bench: Bench) -> None:
    """Keep the global groups and the earlier models that the message carries, and nothing that no task needs now."""
    grouping = grouping_of(model)
    known = declare(travelling(model.state_dict(), grouping))
    coding = coding_of(known, task.groups, task.study.wire.down, grouping)
    for group, digest in task.groups.items():
        if GLOBAL + group in content:
            declared = {name: tensor for name, tensor in known.items() if group_of(name, grouping) == group}
            held.keep(unpack_tensors(arrays_of(content, GLOBAL + group), declared, coding), digest)
    _take_in_models(content, held, task, bench)
    held.forget_but((*task.groups.values(), *task.earlier.values()))


def _take_in_models(content: RecordDict, held: HeldTensors, task: Task, bench: Bench) -> None:
    """Keep the released models of earlier stages that the message carries."""
    for stage, digest in task.earlier.items():
        if EARLIER + stage.value in content:
            declared = declare(fresh_model(task.model_copy(update={"stage": Stage(stage)}), bench).state_dict())
            held.keep(unpack_tensors(arrays_of(content, EARLIER + stage.value), declared), digest)


def _starting_point(task: Task, state: SiteState, model: nn.Module) -> StateDict | None:
    """Return what the site starts from, None where it lacks tensors, or norms to begin the stage with (FedBN)."""
    begins = state.last_before(task.stage, task.round) is None
    if begins and grouping_of(model).norms and NORMS not in task.groups:
        return None
    return starting_point(state.held, task.groups, task.earlier.values())


def _pack(site: Site, task: Task, withdrawn: int, update: LocalUpdate, received: StateDict) -> RecordDict:
    outgoing = allow_update(update, site.name, site.policy, task.study, task.plan, _leaving(site, task))
    answer = Answer(
        site=site.name,
        run=task.run,
        stage=task.stage,
        round=task.round,
        global_sha256=task.global_sha256,
        patients=outgoing.patients,
        withheld=outgoing.withheld,
        withdrawn=withdrawn,
        spent=outgoing.spent,
    )
    return RecordDict(
        {
            ANSWER: pack_text(answer),
            UPDATE: _coded(outgoing.tensors, received, task, state_of(site, task), update.grouping),
            METRICS: MetricRecord(outgoing.metrics),  # type: ignore[arg-type]
        }
    )


def _coded(tensors: StateDict, received: StateDict, task: Task, state: SiteState, grouping: Grouping) -> ArrayRecord:
    """Return the update as it travels. What its coding rounds off is kept under this round before anything leaves."""
    coding = coding_of(declare(tensors), task.groups, task.study.wire.up, grouping)
    exact = pack_tensors({name: tensor for name, tensor in tensors.items() if name not in coding})
    if not coding:
        return exact
    previous = state.last_before(task.stage, task.round)
    before = load_residuals(None if previous is None else state.rounded_off(task.stage, previous))
    coded = code_update(tensors, received, before, coding)
    keep_residuals(state.rounded_off(task.stage, task.round), coded.residuals)
    return join_arrays([exact, pack_coded(coded.changes, declare(tensors))])


def _guarded(message: Message, context: Context, work: Callable[[], RecordDict]) -> Message:
    """Do the work; whatever goes wrong is logged here in full and leaves as a code."""
    try:
        message.content = unwrap(message.content)
        subject = sole_subject(message.content)
        content = work()
        _allow_still(message, context, subject)
    except Exception as error:
        if isinstance(error, GliofedError):
            log.warning("a message of the coordinator is answered with %s: %s", error.code, error)
        else:
            log.exception("a message of the coordinator could not be answered")
        content = _error(context, error)
    return Message(wrap(_audited(message, context, content)), reply_to=message)


def _allow_still(message: Message, context: Context, subject: Subject) -> None:
    """Raise where consent was taken back, or the run stopped, while the answer was made: the answer stays here."""
    config = load_site(_site_file(context))
    if subject.study_digest is not None:
        require_approval(config.workdir, config.policy, subject.study_digest)
    if subject.run is not None and message.metadata.message_type.partition(".")[0] != MessageType.QUERY:
        refuse_if_stopped(config.workdir, subject.run)


def refuse(message: Message, context: Context, error: Exception, keep_plan: bool) -> Message:
    """Answer with an error's code and nothing else, written down like every answer.

    Args:
        keep_plan: whether a study plan that comes with the message is kept for a person to read.
    """

    def work() -> RecordDict:
        if keep_plan:
            _keep_plan(_site_file(context), message.content)
        raise error

    return _guarded(message, context, work)


def _audited(message: Message, context: Context, content: RecordDict) -> RecordDict:
    """Return what may leave once it is in the audit log; where it cannot be written there, the error's code alone.

    That code is the one answer that is in no log.
    """
    try:
        note_message(load_site(_site_file(context)).workdir, message, content)
    except Exception as error:
        log.exception("an answer stays here: it could not be written into the audit log")
        return _error(context, error)
    return content


def _error(context: Context, error: Exception) -> RecordDict:
    return RecordDict({ANSWER: pack_text(Answer(site=_name_of(context), code=code_of(error)))})


def _name_of(context: Context) -> str:
    """Return the site's name for an error's answer, or `unknown` where not even that can be read."""
    try:
        return load_site(_site_file(context)).name
    except Exception:  # whatever it is, its text must not leave, and this answer must
        return "unknown"


app = make_app()

"""The edge of every answer: an error leaves as a code, and nothing leaves that is not in the audit log first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flwr.app import Context, Message, MessageType, RecordDict

from client.answers.site_file import site_file
from client.config import load_site
from client.consent.approvals import NotApprovedError, approved_plan, require_same_approval
from client.privacy.audit_message import Subject, note_message, sole_subject
from client.privacy.outbound import code_of
from client.stopping import refuse_if_stopped
from common.approval.study_plan import StudyPlan
from common.errors import GliofedError
from common.logs import logger
from common.parcel import unwrap, wrap
from common.records import ANSWER, Answer, pack_text

log = logger(__name__)


def guarded(message: Message, context: Context, work: Callable[[], RecordDict]) -> Message:
    """Do the work; whatever goes wrong is logged here in full and leaves as a code."""
    try:
        message.content = unwrap(message.content)
        subject = sole_subject(message.content)
        begun = _approved_plan(context, subject)
        content = work()
        plan, allow = None if begun is None else begun.digest, partial(_allow_still, message, context, subject, begun)
        note_message(load_site(site_file(context)).workdir, message, content, plan, allow)
    except Exception as error:
        if isinstance(error, GliofedError):
            log.warning("a message of the coordinator is answered with %s: %s", error.code, error)
        else:
            log.exception("a message of the coordinator could not be answered")
        content = _refusal(message, context, error)
    return Message(wrap(content), reply_to=message)


def _approved_plan(context: Context, subject: Subject) -> StudyPlan | None:
    """Return the plan of the message's study that is approved now, None where there is none."""
    try:
        workdir = load_site(site_file(context)).workdir
        return None if subject.study_digest is None else approved_plan(workdir, subject.study_digest)
    except NotApprovedError:
        return None


def _allow_still(message: Message, context: Context, subject: Subject, begun: StudyPlan | None) -> None:
    """Raise where consent was taken back or given to another plan, or the run stopped, while the answer was made."""
    config = load_site(site_file(context))
    if subject.study_digest is not None:
        require_same_approval(config.workdir, config.policy, subject.study_digest, begun)
    if subject.run is not None and message.metadata.message_type.partition(".")[0] != MessageType.QUERY:
        refuse_if_stopped(config.workdir, subject.run)


def _refusal(message: Message, context: Context, error: Exception) -> RecordDict:
    """Return the error's code, written down; where that cannot be done, the code for it: the one answer in no log."""
    content = _coded(context, error)
    try:
        note_message(load_site(site_file(context)).workdir, message, content)
    except Exception as unwritten:
        log.exception("an answer could not be written into the audit log")
        return _coded(context, unwritten)
    return content


def _coded(context: Context, error: Exception) -> RecordDict:
    return RecordDict({ANSWER: pack_text(Answer(site=_name_of(context), code=code_of(error)))})


def _name_of(context: Context) -> str:
    """Return the site's name for an error's answer, or `unknown` where not even that can be read."""
    try:
        return load_site(site_file(context)).name
    except Exception:  # whatever it is, its text must not leave, and this answer must
        return "unknown"

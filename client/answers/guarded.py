"""The edge of every answer: an error leaves as a code, and nothing leaves that is not in the audit log first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flwr.app import Context, Message, MessageType, RecordDict

from client.answers.site_file import site_file
from client.config import load_site
from client.consent.approvals import require_approval
from client.privacy.audit_message import Subject, note_message, sole_subject
from client.privacy.outbound import code_of
from client.stopping import refuse_if_stopped
from common.errors import GliofedError
from common.logs import logger
from common.parcel import unwrap, wrap
from common.records import ANSWER, Answer, pack_text

log = logger(__name__)


def guarded(message: Message, context: Context, work: Callable[[], RecordDict]) -> Message:
    """Do the work; whatever goes wrong is logged here in full and leaves as a code."""
    try:
        message.content = unwrap(message.content)
        allow = partial(_allow_still, message, context, sole_subject(message.content))
        content = work()
        note_message(load_site(site_file(context)).workdir, message, content, allow)
    except Exception as error:
        if isinstance(error, GliofedError):
            log.warning("a message of the coordinator is answered with %s: %s", error.code, error)
        else:
            log.exception("a message of the coordinator could not be answered")
        content = _refusal(message, context, error)
    return Message(wrap(content), reply_to=message)


def _allow_still(message: Message, context: Context, subject: Subject) -> None:
    """Raise where consent was taken back, or the run stopped, while the answer was made: the answer stays here."""
    config = load_site(site_file(context))
    if subject.study_digest is not None:
        require_approval(config.workdir, config.policy, subject.study_digest)
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

"""Answers to what the coordinator asks before a run: what the site has, and which plan it is asked to approve."""

from __future__ import annotations

from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.answers.guarded import guarded
from client.answers.opened import OpenedSites
from client.answers.site_file import site_file
from client.config import load_site
from client.consent.decisions import pinned_key
from client.consent.offers import keep_offer
from client.privacy.outbound import allow_inventory
from client.privacy.withdrawal import withdrawn_from
from client.stopping import stop_run
from client.training.tasks import SiteState
from common.errors import GliofedError
from common.logs import logger
from common.records import ANSWER, PLAN, TASK, Answer, Question, StopOrder, pack_text, read_text

log = logger(__name__)


def answer_question(message: Message, context: Context, opened: OpenedSites) -> RecordDict:
    """Answer what the site has, in counts of patients, and keep the plan that came with the question."""
    question = read_text(message.content, TASK, Question)
    _keep_plan(site_file(context), message.content)
    site = opened.get(context, question.study, question.study_digest)
    inventory, greys = allow_inventory(site.inventory, site.greys, site.policy, question.study)
    holds = SiteState.of(site, question.run).held.digests() if question.run else ()
    gone = withdrawn_from(site.workdir, question.run) if question.run else 0
    answer = Answer(site=site.name, inventory=inventory, greys=greys, holds=holds, withdrawn=gone)
    return RecordDict({ANSWER: pack_text(answer)})


def answer_stop(message: Message, context: Context) -> RecordDict:
    """End a run at this site."""
    config = load_site(site_file(context))
    run = read_text(message.content, TASK, StopOrder).run
    stop_run(config.workdir, run)
    return RecordDict({ANSWER: pack_text(Answer(site=config.name, withdrawn=withdrawn_from(config.workdir, run)))})


def refuse(message: Message, context: Context, error: Exception, keep_plan: bool) -> Message:
    """Answer with an error's code and nothing else, written down like every answer.

    Args:
        keep_plan: whether a study plan that comes with the message is kept for a person to read.
    """

    def work() -> RecordDict:
        if keep_plan:
            _keep_plan(site_file(context), message.content)
        raise error

    return guarded(message, context, work)


def _keep_plan(path: Path, content: RecordDict) -> None:
    """Keep the study plan that came with a question for a person to read; one that is not signed is thrown away."""
    record = content.get(PLAN)
    text = record.get("json") if isinstance(record, ConfigRecord) else None
    if isinstance(text, str):
        try:
            keep_offer(load_site(path).workdir, text.encode(), pinned_key(path))
        except GliofedError as error:
            log.warning("the study plan that came with a question is not kept: %s", error)

"""Answers to a request to judge the weights that are to become a release, on the site's own patients."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict

from client.answers.opened import OpenedSites
from client.answers.received import take_in_models
from client.answers.site_file import site_file
from client.assessment.answer import AssessorOf, assess_once
from client.config import load_site
from client.privacy.outbound import allow_planned
from client.privacy.withdrawal import withdrawn_from
from client.stopping import refuse_if_stopped
from client.training.tasks import Bench, state_of
from common.assessment.request import FINDINGS, AssessmentRequest
from common.records import ANSWER, NEEDS_TENSORS, TASK, Answer, pack_text, read_text, size_bytes


def answer_assessment(
    message: Message, context: Context, opened: OpenedSites, bench: Bench, assessor_of: AssessorOf
) -> RecordDict:
    """Answer with counts and summed figures, as far as the approved plan lets them leave."""
    request = read_text(message.content, TASK, AssessmentRequest)
    refuse_if_stopped(load_site(site_file(context)).workdir, request.run)
    site = opened.get(context, request.study, request.study_digest, size_bytes(message.content))
    task, held = request.task(), state_of(site, request.task()).held
    take_in_models(message.content, held, task, bench)
    held.forget_but(request.weights.values())
    if held.missing(request.weights.values()):
        return RecordDict({ANSWER: pack_text(Answer(site=site.name, code=NEEDS_TENSORS, holds=held.digests()))})
    findings = assess_once(site, request, bench, assessor_of)
    planned = None if site.approved is None else site.approved.findings
    findings = allow_planned(findings, planned, site.policy)
    answer = Answer(site=site.name, withdrawn=withdrawn_from(site.workdir, request.run))
    return RecordDict({ANSWER: pack_text(answer), FINDINGS: pack_text(findings)})
